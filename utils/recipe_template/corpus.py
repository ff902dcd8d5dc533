"""my_corpus: a sentence about it, and where it can be had.

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
    """Yield the utterances of a set; this is the function to rewrite for another layout.

    A ``Row`` may also have a part of a file (``start``, ``duration``) and an id (``utt_id``); a line that cannot be
    used is a ``BadRow``. Existence and length of the audio are checked later.

    Args:
        root: of the corpus.
        name: of the set: those that run.sh names, train, dev and test.

    Raises:
        DataError: if the set is not there.
    """
    table = root / f"{name}.tsv"
    if not table.is_file():
        raise DataError(f"{table}: no such file, expected the set {name}; is {VARIABLE}={root} where the corpus lies?")
    for number, line in enumerate(table.read_bytes().splitlines(), start=1):
        where = f"{table.name}:{number}"
        try:
            path, text, *speaker = line.decode().split("\t")
        except ValueError:  # UnicodeDecodeError included
            yield BadRow(where, f"not two or three columns of UTF-8: line {number} of {table}")
            continue
        yield Row(where=where, path=root / path, text=text, speaker=speaker[0].strip() if speaker else "")


has_set, download, prepare = corpus_of_rows(parse)
