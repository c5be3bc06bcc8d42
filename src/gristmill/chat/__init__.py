"""Conversations, the chat template, loss masks."""
