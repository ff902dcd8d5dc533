"""The 2000 HUB5 English evaluation: telephone conversations of CallHome and Switchboard (LDC2002S09 and LDC2002T43).

Layout: both unpacked anywhere below the root: ``*.sph`` (two channels, mu-law, 8 kHz), ``hub5e00.english*.stm`` with
the segments, and ``en*_hub5.glm``. Each channel is written as a FLAC file to ``<data>/eval2000_audio``.

The data directory also holds ``ref.stm``, ``ref.glm`` and ``reco2file_and_channel`` for NIST's scoring; ``text`` holds
the references of the STM file with their marks.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechllm.data.audio.sph import split_channels
from speechllm.data.kaldi.data_dir import Utterance, is_made, write_data_dir
from speechllm.data.kaldi.dropped import kind, none_left, tell_dropped
from speechllm.data.kaldi.target import check_target
from speechllm.data.kaldi.validate import ROUNDING, overlaps, segment_flaw
from speechllm.errors import DataError
from speechllm.interfaces import Seconds
from speechllm.provenance import files_fingerprint
from speechllm.score.nist.stm import Segment, parse_line, stm_lines
from speechllm.score.transcripts import read_lines

VARIABLE = "EVAL2000"
BEGINNINGS = {"eval2000": "", "callhome": "en", "switchboard": "sw"}
"""Prefixes of the conversation names of each set."""
SETS = tuple(BEGINNINGS)
WHERE_TO_GET = (
    "get LDC2002S09 (speech) and LDC2002T43 (transcripts) from https://www.ldc.upenn.edu, unpack both to one folder, "
    f"and set {VARIABLE} to it"
)


def has_set(root: Path, name: str) -> bool:
    """Return whether the corpus has such a set."""
    return name in SETS


def download(root: Path, sets: list[str]) -> None:
    """Check that the corpus exists; it is sold by LDC.

    Raises:
        DataError: if it is missing; with instructions to get it.
    """
    _find(root)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set; unusable segments are counted and listed in it.

    Args:
        root: root of the corpus.
        data: parent of the data directories ``<data>/<set>`` and of the audio.
        sets: names from ``SETS``.

    Raises:
        DataError: if the corpus is not under ``root``, or no segment of a set is usable.
    """
    conversations, stm, glm = _find(root)
    for name in sets:
        paths = [path for path in conversations if path.stem.startswith(BEGINNINGS[name])]
        fingerprint = f"prepare eval2000 {name}\n{files_fingerprint([stm, glm, *paths])}\n"
        if not is_made(data / name, fingerprint):
            _prepare_set(data, name, paths, stm, glm, fingerprint)


def _find(root: Path) -> tuple[list[Path], Path, Path]:
    """Return the conversations, the STM file and the GLM file."""
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else []
    conversations = [file for file in files if file.suffix.lower() == ".sph"]
    references = [file for file in files if file.suffix == ".stm" and "english" in file.name]
    mappings = [file for file in files if file.name.startswith("en") and file.name.endswith("_hub5.glm")]
    for what, found in (("*.sph", conversations), ("hub5e00.english*.stm", references), ("en*_hub5.glm", mappings)):
        if not found or (what != "*.sph" and len(found) > 1):
            expected = "some" if what == "*.sph" else "one"
            raise DataError(f"{root}: found {len(found)} files {what}, expected {expected}; {WHERE_TO_GET}")
    return conversations, references[0], mappings[0]


def _prepare_set(data: Path, name: str, paths: Sequence[Path], stm: Path, glm: Path, fingerprint: str) -> None:
    check_target(data / name)
    with ThreadPoolExecutor() as pool:
        split = pool.map(lambda path: _split(path, data.absolute() / "eval2000_audio"), paths)
        channels = {key: found for one in split for key, found in one.items()}
    segments, dropped = _segments(stm, BEGINNINGS[name])
    kept: list[Segment] = []
    utts: list[Utterance] = []
    reached: defaultdict[tuple[str, str], Seconds] = defaultdict(float)
    for segment in segments:
        channel = segment.recording, segment.channel
        audio = channels.get(channel, "missing audio")
        result = _utterance(segment, audio, reached[channel])
        if isinstance(result, str):
            dropped[_id(segment)] = result
            continue
        kept.append(segment)
        if segment.scored:
            utts.append(result)
            reached[channel] = max(reached[channel], segment.end)
    kinds = Counter(map(kind, dropped.values()))
    if not utts:
        raise none_left(data / name, kinds, itertools.islice(dropped.items(), 1))
    places = sorted({(utt.recording, *utt.recording.rsplit("-", 1)) for utt in utts})
    files = {
        "ref.stm": stm_lines(kept),
        "ref.glm": glm.read_text(encoding="latin-1"),
        "reco2file_and_channel": "".join(f"{' '.join(place)}\n" for place in places),
    }
    write_data_dir(data / name, utts, dropped, fingerprint, files)
    tell_dropped(data / name, kinds)


def _split(path: Path, folder: Path) -> dict[tuple[str, str], tuple[Path, Seconds] | str]:
    """Return file and duration, or the error, of each channel, A and B."""
    try:
        files, duration = split_channels(path, folder)
    except DataError as error:
        return {(path.stem, channel): f"unusable audio: {error}" for channel in "AB"}
    return {(path.stem, file.stem[-1]): (file, duration) for file in files}


def _segments(stm: Path, beginning: str) -> tuple[list[Segment], dict[str, str]]:
    """Return the segments of conversations with a name prefix, in order, and the errors of malformed lines."""
    segments, dropped = [], {}
    for number, line in read_lines(stm):
        if not line.startswith(";;") and line.startswith(beginning):
            try:
                segments.append(parse_line(line, f"{stm}:{number}"))
            except DataError as error:
                dropped[f"{stm.name}:{number}"] = f"malformed line: {error}"
    return sorted(segments, key=lambda segment: (segment.recording, segment.channel, segment.start)), dropped


def _utterance(segment: Segment, found: tuple[Path, Seconds] | str, reached: Seconds) -> Utterance | str:
    """Return a segment as an utterance, or the reason to drop it; earlier segments end at ``reached``."""
    if isinstance(found, str):
        return found
    path, duration = found
    end = min(segment.end, duration) if segment.end <= duration + ROUNDING else segment.end
    if flaw := segment_flaw(segment.start, end, duration):
        return f"segment {flaw}: {segment.start} s to {end} s of {duration} s in {path}"
    if segment.scored and overlaps(segment.start, end, reached):
        return f"segment overlapping another: {segment.start} s to {end} s, the previous one ends at {reached} s"
    if not segment.text.split():
        return "empty transcript"
    recording = f"{segment.recording}-{segment.channel}"
    return Utterance(
        utt_id=_id(segment),
        speaker=recording,
        path=path,
        start=segment.start,
        end=end,
        duration=end - segment.start,
        text=" ".join(segment.text.split()),
        recording=recording,
    )


def _id(segment: Segment) -> str:
    """Return an id as in Kaldi's recipe: channel of the conversation, and times in hundredths of a second."""
    begin, end = (f"{round(time * 100):06d}" for time in (segment.start, segment.end))
    return f"{segment.recording}-{segment.channel}_{begin}-{end}"
