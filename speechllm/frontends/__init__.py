"""Frontends from samples to features, one per file, each with a ``Config`` that builds it."""
