"""Samples to features: one frontend a file, each with a ``Config`` that builds it."""
