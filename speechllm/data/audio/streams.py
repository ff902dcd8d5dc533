"""Files that libsndfile would read only in part: several successive streams, or a header without a length."""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.audio import mp3
from speechllm.data.audio.formats import advice
from speechllm.errors import DataError

_OGG_HEADER = 27  # bytes, before the segment table
_FIRST_PAGE = 2  # flag of an Ogg page
_UNKNOWN = b"\xff" * 4  # size of a WAV chunk that libsndfile interprets as "to the end of the file"


def split_streams(path: Path) -> list[bytes]:
    """Return the contents of each stream as a separate file; an empty list if libsndfile can read the whole file.

    Raises:
        DataError: if it is a FLAC file without a length.
    """
    with path.open("rb") as file:
        head = file.read(42)
    if head.startswith(b"OggS"):
        return _split_ogg(path)
    if head.startswith(b"RIFF"):
        return _finish_wav(path)
    if head.startswith(b"fLaC"):
        _check_flac(path, head)
    if head.startswith(b"ID3") or mp3.frame_at(head, 0):
        return mp3.split(path.read_bytes())
    return []


def _split_ogg(path: Path) -> list[bytes]:
    """Return the links of a chained Ogg file (RFC 3533, section 4); an empty list if it has only one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts, was_first = [0], True
        for page, flags in _ogg_pages(data):
            is_first = bool(flags & _FIRST_PAGE)
            if is_first and not was_first:
                starts.append(page)
            was_first = is_first
        if len(starts) == 1:
            return []
        return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _ogg_pages(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield position and flags of each page; bytes between pages are skipped."""
    page = data.find(b"OggS")
    while page >= 0 and page + _OGG_HEADER <= len(data):
        yield page, data[page + 5]
        lacing = data[page + _OGG_HEADER : page + _OGG_HEADER + data[page + 26]]
        page += _OGG_HEADER + len(lacing) + sum(lacing)
        if data[page : page + 4] != b"OggS":
            page = data.find(b"OggS", page)


def _finish_wav(path: Path) -> list[bytes]:
    """Return a WAV file with the size in its header set to unknown, if the header states 0 although samples follow.

    Programs that write to a pipe or are stopped leave such a header.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        riff, position = file.read(12), 12
        while len(chunk := file.read(8)) == 8 and chunk[:4] != b"data":
            position += 8 + struct.unpack("<I", chunk[4:])[0]
            position += position % 2
            file.seek(position)
        begin = position + 8
        is_unfinished = struct.unpack("<I", riff[4:8])[0] + 8 != size
        if chunk != b"data\0\0\0\0" or not is_unfinished or begin >= size:
            return []
        file.seek(0)
        data = bytearray(file.read())
    data[4:8] = data[begin - 4 : begin] = _UNKNOWN
    return [bytes(data)]


def _check_flac(path: Path, head: bytes) -> None:
    """Raise a DataError unless STREAMINFO, always the first block, states the number of samples (RFC 9639, 8.2)."""
    if int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF == 0:
        raise DataError(f"{path}: the FLAC header states no length, as if written to a pipe; {advice(path)}")


def check_single_flac(path: Path) -> None:
    """Raise a DataError if a second FLAC file follows the first; this reads all bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(b"fLaC\0\0\0\x22", 4) >= 0:  # 0x22: the size of STREAMINFO
            raise DataError(
                f"{path}: found several concatenated FLAC files, expected one (the others would be lost); "
                "split them, or concatenate their sources"
            )
