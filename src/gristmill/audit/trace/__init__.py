"""Which training text holds what was said: an index of all tokens by what follows them."""
