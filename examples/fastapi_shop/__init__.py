"""A small shop on FastAPI and SQLAlchemy: orders, billing, shipping and loyalty, joined by events only."""
