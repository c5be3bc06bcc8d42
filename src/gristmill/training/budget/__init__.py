"""What training takes and what a budget buys: sizes, timing, scaling law, ladder."""
