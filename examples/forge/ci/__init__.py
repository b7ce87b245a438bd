"""Creates a pipeline for each push."""
