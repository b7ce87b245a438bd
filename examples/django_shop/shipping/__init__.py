"""Parcels, for orders with something to send."""
