"""Loyalty: points for customers whom we know."""
