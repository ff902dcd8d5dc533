"""Kaldi data directories: read, write, validate, fix, select and combine."""
