"""Measures whereupon against its peers; `make bench` prints every ratio of the design in one table.

Each row runs both sides by turns, in shuffled order, several rounds, and compares medians: trust the ratios,
not the absolute figures. Durable figures depend on the disk, so that the table begins with a control, and
each durable row notes what one flush cost while it ran. Goals are printed and never asserted.
"""
