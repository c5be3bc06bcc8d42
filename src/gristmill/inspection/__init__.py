"""Looking into a model, and into how it came to be."""
