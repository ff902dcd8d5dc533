"""Trained models as portable directories in the style of Hugging Face."""
