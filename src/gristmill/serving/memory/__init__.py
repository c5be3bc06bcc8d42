"""What is kept of a person, where a request asks for it: facts, conversations, their full-text search."""
