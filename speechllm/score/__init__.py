"""From hypotheses to scores; imports neither torch nor any package of speechllm but the lowest modules."""
