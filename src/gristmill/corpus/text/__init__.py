"""What a word is: splitting, folding, n-grams."""
