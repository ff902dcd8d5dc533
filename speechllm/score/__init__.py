"""Scoring of hypotheses; imports neither torch nor any package of speechllm except the lowest modules."""
