"""Connect a speech encoder to a large language model for speech recognition (arXiv 2309.13963)."""

__version__ = "0.1.0"
