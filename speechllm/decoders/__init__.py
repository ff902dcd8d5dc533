"""Language models, one kind per file, each with a ``Config`` that builds it."""
