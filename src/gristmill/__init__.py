"""gristmill: raw web pages in, a chat assistant out."""

__version__ = "0.1.0"
