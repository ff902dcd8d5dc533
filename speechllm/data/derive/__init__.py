"""Derived data directories: speed, noise, reverberation, codecs, concatenation, non-speech."""
