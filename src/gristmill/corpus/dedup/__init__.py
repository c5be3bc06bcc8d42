"""Stage `dedup`: one copy of each document."""
