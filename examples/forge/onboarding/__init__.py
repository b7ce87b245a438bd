"""Welcomes those who push for the first time."""
