"""Answers as each API tells them."""
