"""Billing: one invoice for each order."""
