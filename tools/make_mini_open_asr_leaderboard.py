"""Synthesise a mini test set of short commands as a parquet file, the format of data sets on Hugging Face's hub.

    python tools/make_mini_open_asr_leaderboard.py downloads/mini_open_asr_leaderboard

writes OUT/test/test-00000-of-00001.parquet: the test set of make_mini_librispeech.py with the leaderboard's columns,
and a reference that is not scored. A complete set is kept. Requires the package pyarrow.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import mini_corpus


def main(argv: Sequence[str] | None = None) -> int:
    """Write the set; return the exit status."""
    return mini_corpus.make(argv, __doc__, "test", convert)


def convert(source: Path, target: Path) -> None:
    """Convert the test set in LibriSpeech's layout to a parquet file."""
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"audio": {"bytes": utt.audio.read_bytes(), "path": utt.audio.name}, "text": utt.text, "id": utt.utt_id}
        for utt in mini_corpus.spoken(source)
        if utt.subset == "test"
    ]
    rows.append({**rows[0], "id": "not-scored", "text": "ignore_time_segment_in_scoring"})
    parquet.write_table(pyarrow.Table.from_pylist(rows), target / "test-00000-of-00001.parquet")


if __name__ == "__main__":
    sys.exit(main())
