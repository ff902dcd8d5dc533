"""Vocabularies of byte-level BPE."""

import string

LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Translation table of ASCII letters to lower case; other letters of such a vocabulary are bytes."""
