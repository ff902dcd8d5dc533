"""Published corpora in their original layout: one corpus per file.

Each module defines

    SETS: tuple[str, ...]                    names of its published sets
    VARIABLE: str                            shell variable with the corpus root
    has_set(root, name) -> bool              whether a set is published or exists under the root
    download(root, sets) -> None             download missing sets, if they are freely available
    prepare(root, data, sets) -> None        write one Kaldi directory per set below ``data``

``_rows.corpus_of_rows`` makes these functions from one that yields the rows of a set; such a corpus has no ``SETS``.
"""
