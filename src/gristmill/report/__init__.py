"""The HTML story of a run."""
