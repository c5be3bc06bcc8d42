"""Byte-level BPE: training, encoding, token shards."""
