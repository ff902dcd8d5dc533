"""Vocabularies of byte-level BPE."""

from tokenizers import pre_tokenizers

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def merged(*words: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary and merges of byte pairs that build words from their left."""
    vocabulary, merges = {byte: i for i, byte in enumerate(BYTES)}, []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    return vocabulary, merges
