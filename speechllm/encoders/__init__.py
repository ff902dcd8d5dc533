"""Features to states: one speech encoder a file, each with a ``Config`` that builds it."""
