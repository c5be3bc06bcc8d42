"""What a step trains on: rows of tokens, a pure function of the seed and the step."""
