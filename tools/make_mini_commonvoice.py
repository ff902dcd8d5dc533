"""Synthesise a mini corpus of short commands in Common Voice's layout, with the errors of the real one.

    python tools/make_mini_commonvoice.py downloads/mini_commonvoice

writes OUT/cv-corpus-mini/en/{train,dev,test,validated}.tsv and clips/*.mp3: the corpus of make_mini_librispeech.py as
MP3. The training table has rows with a missing, an empty and a truncated clip, without a sentence, with too few fields,
and with a sentence that begins with a quotation mark. A complete corpus is kept.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import mini_corpus
import soundfile

HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\tlocale\tsegment"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus; return the exit status."""
    return mini_corpus.make(argv, __doc__, "cv-corpus-mini", convert)


def convert(source: Path, target: Path) -> None:
    """Convert LibriSpeech's layout to Common Voice's, with its errors."""
    clips = target / "en/clips"
    clips.mkdir(parents=True)
    tables: dict[str, list[str]] = {}
    for utt in mini_corpus.spoken(source):
        samples_N, rate = soundfile.read(utt.audio)
        name = f"common_voice_en_{utt.utt_id.replace('-', '')}.mp3"
        soundfile.write(clips / name, samples_N, rate, format="MP3")
        client = hashlib.sha512(f"{utt.subset} {utt.speaker}".encode()).hexdigest()  # a speaker is in only one set
        rows = tables.setdefault(utt.subset, [])
        rows.append(f"{client}\t{name}\t{utt.text.capitalize()}.\t2\t0\t\t\t\ten\t")
    spoil(tables["train"], clips)
    tables["validated"] = [row for rows in tables.values() for row in rows]
    for name, rows in tables.items():
        (clips.parent / f"{name}.tsv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")


def spoil(rows: list[str], clips: Path) -> None:
    """Insert the errors into the first rows of a table."""
    fields = [row.split("\t") for row in rows[:6]]
    (clips / fields[0][1]).unlink()
    (clips / fields[1][1]).write_bytes(b"")
    whole = (clips / fields[2][1]).read_bytes()
    (clips / fields[2][1]).write_bytes(whole[: len(whole) // 2])
    fields[3][2] = ""
    fields[4] = fields[4][:2]
    fields[5][2] = f'"{fields[5][2]}'
    rows[:6] = ["\t".join(row) for row in fields]


if __name__ == "__main__":
    sys.exit(main())
