"""Benchmarks by likelihood, for a model that is trained and for one that is finished."""
