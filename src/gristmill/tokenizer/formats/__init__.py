"""A tokenizer in the formats of others: Hugging Face, tiktoken, GGUF."""
