"""Seeds → pages: frontier, robots, fetching, WARC."""
