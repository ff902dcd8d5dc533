"""The 2000 HUB5 English evaluation: telephone conversations of CallHome and Switchboard (LDC2002S09 and LDC2002T43).

Layout: both unpacked anywhere below the root: ``*.sph`` (two channels, mu-law, 8 kHz), ``hub5e00.english*.stm``, which
cuts them into segments, and ``en*_hub5.glm``. A channel becomes a FLAC file of its own in ``<data>/eval2000_audio``.
Beside Kaldi's tables stand ``ref.stm``, ``ref.glm`` and ``reco2file_and_channel``, by which the set is scored as NIST
did; ``text`` holds the references as they are written there, with their marks.
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
"""Of the names of the conversations of each set."""
SETS = tuple(BEGINNINGS)
WHERE_TO_GET = (
    "get LDC2002S09 (speech) and LDC2002T43 (transcripts) from https://www.ldc.upenn.edu, unpack both into one folder, "
    f"and set {VARIABLE} to it"
)


def has_set(root: Path, name: str) -> bool:
    """Return whether the corpus has such a set."""
    return name in SETS


def download(root: Path, sets: list[str]) -> None:
    """Check that the corpus is there; LDC sells it.

    Raises:
        DataError: if it is not; the message says where to get it.
    """
    _find(root)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set; segments that cannot be used are counted and listed in it.

    Args:
        root: of the corpus.
        data: where the directories ``<data>/<set>`` go, and the audio.
        sets: names from ``SETS``.

    Raises:
        DataError: if the corpus is not under ``root``, or nothing of a set can be used.
    """
    conversations, stm, glm = _find(root)
    for name in sets:
        paths = [path for path in conversations if path.stem.startswith(BEGINNINGS[name])]
        fingerprint = f"prepare eval2000 {name}\n{files_fingerprint([stm, glm, *paths])}\n"
        if not is_made(data / name, fingerprint):
            _prepare_set(data, name, paths, stm, glm, fingerprint)


def _find(root: Path) -> tuple[list[Path], Path, Path]:
    """Return the conversations, and the files of references and of global mapping."""
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
        audio = channels.get(channel, "audio that is not there")
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
    """Return file and duration of each channel, A and B, or what is wrong."""
    try:
        files, duration = split_channels(path, folder)
    except DataError as error:
        return {(path.stem, channel): f"unusable audio: {error}" for channel in "AB"}
    return {(path.stem, file.stem[-1]): (file, duration) for file in files}


def _segments(stm: Path, beginning: str) -> tuple[list[Segment], dict[str, str]]:
    """Return the segments of the conversations whose names begin so, in order, and what is wrong with other lines."""
    segments, dropped = [], {}
    for number, line in read_lines(stm):
        if not line.startswith(";;") and line.startswith(beginning):
            try:
                segments.append(parse_line(line, f"{stm}:{number}"))
            except DataError as error:
                dropped[f"{stm.name}:{number}"] = f"wrong line: {error}"
    return sorted(segments, key=lambda segment: (segment.recording, segment.channel, segment.start)), dropped


def _utterance(segment: Segment, found: tuple[Path, Seconds] | str, reached: Seconds) -> Utterance | str:
    """Return a segment as an utterance, or why it cannot be one; up to ``reached`` the channel is taken already."""
    if isinstance(found, str):
        return found
    path, duration = found
    end = min(segment.end, duration) if segment.end <= duration + ROUNDING else segment.end
    if flaw := segment_flaw(segment.start, end, duration):
        return f"segment {flaw}: {segment.start} s to {end} s of {duration} s in {path}"
    if segment.scored and overlaps(segment.start, end, reached):
        return f"segment overlapping another: {segment.start} s to {end} s, the one before reaches {reached} s"
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
    """Return an id like Kaldi's: the channel of the conversation, and the times in hundredths of a second."""
    begin, end = (f"{round(time * 100):06d}" for time in (segment.start, segment.end))
    return f"{segment.recording}-{segment.channel}_{begin}-{end}"
