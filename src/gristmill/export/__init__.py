"""Model folders for other tools."""
