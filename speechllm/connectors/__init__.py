"""States to LLM embeddings: one connector a file, each with a ``Config`` that builds it."""
