"""Corpora as their publishers ship them: one corpus a file.

Each module defines

    SETS: tuple[str, ...]                            names of its data sets
    VARIABLE: str                                    shell variable that holds the corpus root
    download(root: Path, sets: list[str]) -> None    fetch what is free and not yet there
    prepare(root: Path, data: Path, sets: list[str]) -> None    write one Kaldi directory per set
"""
