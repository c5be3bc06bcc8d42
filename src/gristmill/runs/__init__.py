"""A run folder: its stages, fingerprints, lock and journal; what failed; which of it may be used."""
