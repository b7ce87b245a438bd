"""Invoices: one for each order, exactly."""
