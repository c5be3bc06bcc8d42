"""One reader of pages: charset, tokens, main text."""
