"""What the model memorised."""
