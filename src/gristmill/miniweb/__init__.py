"""A small synthetic web with known truth, served over HTTP."""
