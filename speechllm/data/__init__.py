"""Data sets from audio files to batches: Kaldi data directories, dumps, samplers."""
