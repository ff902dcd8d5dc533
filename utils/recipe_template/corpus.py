"""my_corpus: description and source of the corpus.

Layout: `<root>/<set>.tsv`, a table of `path<TAB>text` or `path<TAB>text<TAB>speaker` for each set, with paths relative
to the table. For another layout, rewrite `parse` and this description.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.corpora._rows import corpus_of_rows
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import DataError

VARIABLE = "MY_CORPUS"


def parse(root: Path, name: str) -> Iterator[Row | BadRow]:
    """Yield the utterances of a set; rewrite this function for another layout.

    A ``Row`` may also be a part of a file (``start``, ``duration``) and have an id (``utt_id``); an unusable line is a
    ``BadRow``. Existence and duration of the audio are checked later.

    Args:
        root: root of the corpus.
        name: name of the set, as in run.sh: train, dev or test.

    Raises:
        DataError: if the set is missing.
    """
    table = root / f"{name}.tsv"
    if not table.is_file():
        raise DataError(f"{table}: no such file, expected the set {name}; check {VARIABLE}={root}")
    for number, line in enumerate(table.read_bytes().splitlines(), start=1):
        where = f"{table.name}:{number}"
        try:
            path, text, *speaker = line.decode().split("\t")
        except ValueError:  # includes UnicodeDecodeError
            yield BadRow(where, f"not two or three columns of UTF-8: line {number} of {table}")
            continue
        yield Row(where=where, path=root / path, text=text, speaker=speaker[0].strip() if speaker else "")


has_set, download, prepare = corpus_of_rows(parse)
