"""Files of many kinds, read as records."""
