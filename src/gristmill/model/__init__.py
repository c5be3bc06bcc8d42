"""The transformer, in one file."""
