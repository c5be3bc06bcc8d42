"""Stage `filter`: documents → good documents."""
