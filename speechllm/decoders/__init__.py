"""Language models: one family a file, each with a ``Config`` that builds it."""
