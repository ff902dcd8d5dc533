"""NIST formats of telephone speech and broadcasts, and scoring of recordings as in hubscr."""
