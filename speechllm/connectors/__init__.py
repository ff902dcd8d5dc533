"""States to LLM embeddings: one connector a file, each with a ``Config`` that builds it."""

from speechllm.connectors._base import BaseConnector

__all__ = ["BaseConnector"]
