"""Lets users find commits and people."""
