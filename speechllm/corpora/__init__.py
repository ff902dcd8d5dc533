"""Corpora as their publishers ship them: one corpus a file.

Each module defines

    SETS: tuple[str, ...]                    names of its published sets
    VARIABLE: str                            shell variable that holds the corpus root
    has_set(root, name) -> bool              whether a set is published, or lies under the root all the same
    download(root, sets) -> None             fetch what is free and not yet there
    prepare(root, data, sets) -> None        write one Kaldi directory per set below ``data``

``_rows.corpus_of_rows`` makes the three functions of one that yields the rows of a set, which then has no ``SETS``.
"""
