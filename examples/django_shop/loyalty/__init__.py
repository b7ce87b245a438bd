"""Points for customers who are known."""
