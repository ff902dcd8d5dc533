"""From hypotheses to scores; imports neither torch nor anything of ours but errors."""
