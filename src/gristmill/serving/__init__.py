"""HTTP API, chat page, terminal chat."""
