"""The engine: KV cache, batching, sampling."""
