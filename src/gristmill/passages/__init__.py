"""A person's own pages: passages, search, answers with their sources."""
