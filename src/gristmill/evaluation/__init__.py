"""Scores: bits per byte and question answering."""
