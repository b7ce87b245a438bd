"""Orders: what is for sale, and who has bought it."""
