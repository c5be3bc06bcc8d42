"""How a corpus stage runs over shards, and what it writes down of what it dropped."""
