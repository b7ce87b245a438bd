"""Shipping: a parcel for everything that can be touched."""
