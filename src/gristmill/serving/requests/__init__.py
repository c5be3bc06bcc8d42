"""The bodies of requests, and what they begin."""
