"""Trained models as directories that work on another machine, in the manner of Hugging Face."""
