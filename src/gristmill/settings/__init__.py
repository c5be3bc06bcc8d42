"""What may be set: the settings' descriptions and contradictions, values as people write them, recipe files."""
