"""Speech encoders from features to states, one per file, each with a ``Config`` that builds it."""
