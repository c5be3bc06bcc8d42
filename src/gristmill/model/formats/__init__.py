"""Models as others write them."""
