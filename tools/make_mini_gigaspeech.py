"""Synthesise a mini corpus of short commands in GigaSpeech's layout, with possible errors.

    python tools/make_mini_gigaspeech.py downloads/mini_gigaspeech

writes OUT/GigaSpeech/GigaSpeech.json and audio/podcast/P0000/POD*.opus: the corpus of make_mini_librispeech.py with 20
successive utterances in each file, and with punctuation tags. The training set XS also has invalid recordings: a
missing file, a truncated file, a wrong checksum, and segments that are garbage, reversed, beyond the end, overlapping,
without text or with an unknown tag. A complete corpus is kept.
"""

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mini_corpus
import numpy as np
import soundfile

RATE = 16_000  # Hz
PAUSE = 0.3  # seconds between utterances
TOGETHER = 20  # utterances per file
FLAWS = (  # utterance of a valid recording, start and end as fractions of it, and text
    (0, 0.1, 0.9, "ON TOP OF ANOTHER <PERIOD>"),
    (1, 0.0, 1.0, "<MUSIC>"),
    (2, 1.0, 0.0, "REVERSED <PERIOD>"),
    (3, 0.0, 1000.0, "BEYOND THE END <PERIOD>"),
    (4, 0.0, 1.0, "<COMMA>"),
    (5, 0.0, 1.0, "AN <UNKNOWN> TAG"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus; return the exit status."""
    return mini_corpus.make(argv, __doc__, "GigaSpeech", convert)


def convert(source: Path, target: Path) -> None:
    """Convert LibriSpeech's layout to GigaSpeech's, with errors."""
    audios: list[dict[str, Any]] = []
    by_subset = itertools.groupby(mini_corpus.spoken(source), lambda utt: utt.subset)
    for subset, utts in by_subset:
        for together in mini_corpus.batches(utts, TOGETHER):
            subsets = ["{XS}", "{S}", "{M}", "{L}", "{XL}"] if subset == "train" else [f"{{{subset.upper()}}}"]
            audios.append(write_recording(target, len(audios), together, subsets))
    first = next(audio for audio in audios if "{XS}" in audio["subsets"])
    audios += flawed(target, first, len(audios))
    meta = {"dataset": "GigaSpeech", "language": "EN", "version": "v1.0.0"}
    (target / "GigaSpeech.json").write_text(json.dumps({**meta, "audios": audios}, indent=2), encoding="utf-8")


def write_recording(
    target: Path, number: int, utts: Sequence[mini_corpus.Spoken], subsets: list[str]
) -> dict[str, Any]:
    """Write successive utterances to a file; return its entry."""
    aid = f"POD{number:010d}"
    pause_N = np.zeros(round(PAUSE * RATE))
    parts, segments, place = [pause_N], [], PAUSE
    for k, utt in enumerate(utts, start=1):
        samples_N, rate = soundfile.read(utt.audio)
        assert rate == RATE
        end = place + len(samples_N) / RATE
        words = utt.text.split()
        tagged = [*words[:2], "<COMMA>", *words[2:], "<PERIOD>"] if len(words) > 2 else [*words, "<PERIOD>"]
        segments.append(segment(aid, k, place, end, " ".join(tagged), subsets))
        parts += [samples_N, pause_N]
        place = end + PAUSE
    path = target / f"audio/podcast/P{number // 1000:04d}/{aid}.opus"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts), RATE, format="OGG", subtype="OPUS")
    return entry(target, path, segments, subsets)


def entry(target: Path, path: Path, segments: list[dict[str, Any]], subsets: list[str]) -> dict[str, Any]:
    """Return the JSON entry of a recording."""
    return {
        "title": "Commands",
        "url": "",
        "path": path.relative_to(target).as_posix(),
        "aid": path.stem,
        "source": "podcast",
        "codec": "opus",
        "channels": 1,
        "md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
        "duration": soundfile.info(path).duration,
        "sample_rate": RATE,
        "segments": segments,
        "subsets": subsets,
    }


def segment(aid: str, number: int, begin: float, end: float, text: str, subsets: list[str]) -> dict[str, Any]:
    """Return the JSON entry of a segment."""
    times = {"begin_time": round(begin, 3), "end_time": round(end, 3)}
    return {"sid": f"{aid}_S{number:07d}", "speaker": "N/A", **times, "text_tn": text, "subsets": subsets}


def flawed(target: Path, good: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Yield entries like ``good`` with one error in the file or in each segment."""
    content = (target / good["path"]).read_bytes()
    for k, (flaw, found) in enumerate({"missing": None, "cut": content[:-5000], "md5": content, "": content}.items()):
        aid = f"POD{number + k:010d}"
        path = (target / good["path"]).with_stem(aid)
        path.write_bytes(content if found is None else found)
        segments = [{**good["segments"][0], "sid": f"{aid}_S0000001"}]
        for i, (place, first, last, text) in enumerate(() if flaw else FLAWS, start=2):
            begin, end = (good["segments"][place][name] for name in ("begin_time", "end_time"))
            begin, end = begin + first * (end - begin), begin + last * (end - begin)
            segments.append(segment(aid, i, begin, end, text, good["subsets"]))
        made = entry(target, path, segments, good["subsets"])
        if flaw == "missing":
            path.unlink()
        yield {**made, "md5": "0" * 32} if flaw == "md5" else made


if __name__ == "__main__":
    sys.exit(main())
