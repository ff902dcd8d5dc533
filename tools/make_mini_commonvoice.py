"""Speak a mini corpus of short commands in Common Voice's layout, with the flaws that the real one has.

    python tools/make_mini_commonvoice.py downloads/mini_commonvoice

writes OUT/cv-corpus-mini/en/{train,dev,test,validated}.tsv and clips/*.mp3: what make_mini_librispeech.py speaks, as
MP3. One row of the training table each names a clip that is not there, one that is empty, one that is cut, has
no sentence, has too few fields, and begins its sentence with a quotation mark. A complete corpus is left alone.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import make_mini_librispeech
import soundfile

HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\tlocale\tsegment"


def main(argv: Sequence[str] | None = None) -> int:
    """Make the corpus; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory in which cv-corpus-mini/ is made")
    parser.add_argument("--train", type=int, default=2400, help="training clips (%(default)s)")
    parser.add_argument("--dev", type=int, default=60, help="clips for validation (%(default)s)")
    parser.add_argument("--test", type=int, default=240, help="test clips, half by a voice of their own (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores: %(default)s)")
    args = parser.parse_args(argv)
    target = args.out / "cv-corpus-mini"
    if target.is_dir():
        print(f"The mini corpus is already in {target}; delete that directory to make another.")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        counts = [f"--{name}={getattr(args, name)}" for name in ("train", "dev", "test", "jobs")]
        if status := make_mini_librispeech.main([folder, *counts]):
            return status
        convert(Path(folder) / "LibriSpeech", Path(folder) / "new" / "en")
        (Path(folder) / "new").rename(target)
    return 0


def convert(source: Path, language: Path) -> None:
    """Write LibriSpeech's layout as Common Voice's, with its flaws."""
    clips = language / "clips"
    clips.mkdir(parents=True)
    tables: dict[str, list[str]] = {}
    for transcripts in sorted(source.rglob("*.trans.txt")):
        subset = transcripts.relative_to(source).parts[0].removesuffix("-mini")
        rows = tables.setdefault(subset, [])
        for line in transcripts.read_text(encoding="utf-8").splitlines():
            utt, _, text = line.partition(" ")
            samples_N, rate = soundfile.read(transcripts.with_name(f"{utt}.flac"))
            name = f"common_voice_en_{utt.replace('-', '')}.mp3"
            soundfile.write(clips / name, samples_N, rate, format="MP3")
            speaker = f"{subset} {utt.partition('-')[0]}"  # no speaker is in two sets
            client = hashlib.sha512(speaker.encode()).hexdigest()
            rows.append(f"{client}\t{name}\t{text.capitalize()}.\t2\t0\t\t\t\ten\t")
    spoil(tables["train"], clips)
    tables["validated"] = [row for rows in tables.values() for row in rows]
    for name, rows in tables.items():
        (language / f"{name}.tsv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")


def spoil(rows: list[str], clips: Path) -> None:
    """Put the flaws into the first rows of a table."""
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
