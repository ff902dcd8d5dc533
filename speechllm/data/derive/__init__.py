"""Data directories derived from others: speed, noise and rooms, codecs, concatenation, non-speech."""
