"""Training with DeepSpeed."""
