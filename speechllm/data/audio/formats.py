"""Audio formats that libsndfile reads, and advice on those that it does not read."""

import shlex
from pathlib import Path


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


SUFFIXES = _suffixes("flac wav wave opus ogg oga mp3 aif aiff aifc au snd caf sph nist w64 rf64 bwf voc")
"""Suffixes of audio files that can be read, in lower case."""
OTHER_SUFFIXES = _suffixes(
    "m4a m4b mp4 m4v aac adts webm weba mka mkv mov qt 3gp 3g2 wma wmv asf avi flv f4v amr awb ac3 eac3 dts ape wv tta "
    "tak mpc spx ra rm rmvb mpg mpeg mp1 mp2 ogv ogx alac shn dss ds2 raw pcm gsm g722 g729 ulaw alaw"
)
"""Suffixes of audio and video files that are not read, in lower case."""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MPEG-4 (.m4a, .mp4)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (.wma)"),
    (0, b"#!AMR", "AMR"),
    (0, b"FLV", "Flash video"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA", "True Audio"),
    (0, b".RMF", "RealMedia"),
    (0, b"ajkg", "shorten"),
    (8, b"AVI ", "AVI"),
    (28, b"Speex   ", "Speex"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
)
_ADTS = ((0xFF, 0xF0), (0xFF, 0xF8), (0xFF, 0xF1), (0xFF, 0xF9))  # first bytes of raw AAC


def advice(path: Path) -> str:
    """Return a command that converts a file of an unsupported format."""
    return f"convert it, for example: ffmpeg -i {shlex.quote(str(path))} {shlex.quote(path.stem + '.wav')}"


def foreign_format(path: Path) -> str | None:
    """Return why libsndfile cannot read a file, by its first bytes and suffix; None if unknown."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head.startswith(b"NIST_1A") and b"shorten" in head:
        return "compressed with shorten, expected uncompressed samples; uncompress it with sph2pipe"
    names = [name for start, magic, name in _MAGIC if head[start:].startswith(magic)]
    if not names and tuple(head[:2]) in _ADTS:
        names = ["AAC"]
    if names:
        return f"{names[0]} is an unsupported format; {advice(path)}"
    if path.suffix.lower() in OTHER_SUFFIXES:
        return f"{path.suffix} is an unsupported format; {advice(path)}"
    return None


def left_out(path: Path) -> str | None:
    """Return why a folder entry cannot be read as audio; None if it can, or if it is neither audio nor video.

    Args:
        path: entry from ``speechllm.data.files.entries_below``; it is not opened.
    """
    if path.is_symlink() and not path.exists():
        return "a link to a missing file"
    if path.is_dir():
        return "an unreadable folder; correct its permissions"
    if not path.is_file():
        return "a named pipe, socket or device, expected a file"
    if path.suffix.lower() in OTHER_SUFFIXES:
        return f"{path.suffix} is an unsupported format; {advice(path)}"
    return None
