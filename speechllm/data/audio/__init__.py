"""Audio files of any format: durations, samples, windows."""
