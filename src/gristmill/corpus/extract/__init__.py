"""Stage `extract`: pages → documents."""
