"""A shop in Django: orders publishes, billing, shipping and loyalty hear."""
