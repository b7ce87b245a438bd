"""What is sold and who ordered it. Knows none of the other contexts."""
