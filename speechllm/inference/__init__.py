"""From a trained model to hypotheses."""
