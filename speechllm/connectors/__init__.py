"""Connectors from encoder states to LLM embeddings, one per file, each with a ``Config`` that builds it."""

from speechllm.connectors._base import BaseConnector

__all__ = ["BaseConnector"]
