"""What joins whereupon to one framework or library each; none is imported before it is asked for."""
