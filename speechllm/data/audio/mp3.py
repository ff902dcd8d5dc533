"""MP3 frames (ISO 11172-3, 2.4.1.3): the length of a file, its end, and the parts of concatenated files."""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz, by MPEG version bits
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG 1 layer III
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5 layer III
_HEADER = 4  # bytes
_FEW = 2  # frames after those that the header counts: encoders count differently


class Frame(NamedTuple):
    """One frame of an MP3."""

    start: int
    """Position of the header (bytes)."""
    size: int
    """Size with the header (bytes)."""
    num_samples: int
    sample_rate: int
    header: int
    """Header of 4 bytes, big-endian."""

    @property
    def end(self) -> int:
        """Position of the first byte after the frame."""
        return self.start + self.size


def frame_at(data: bytes, start: int) -> Frame | None:
    """Return the layer III frame at ``start``; None if there is no such header."""
    header = int.from_bytes(data[start : start + _HEADER], "big")
    layout = _layout(header)
    return None if layout is None or start + _HEADER > len(data) else Frame(start, *layout, header)


@functools.lru_cache(maxsize=1024)
def _layout(header: int) -> tuple[int, int, int] | None:
    """Return bytes, samples and sampling rate of a frame; None if ``header`` is not a layer III header."""
    version, kbits, rate = header >> 19 & 3, header >> 12 & 15, header >> 10 & 3
    is_layer_3 = header >> 21 == 0x7FF and version != 1 and header >> 17 & 3 == 1
    if not is_layer_3 or kbits in (0, 15) or rate == 3:
        return None
    bits = (_KBITS_1 if version == 3 else _KBITS_2)[kbits] * 1000
    num_samples, sample_rate = 1152 if version == 3 else 576, _RATES[version][rate]
    return num_samples // 8 * bits // sample_rate + (header >> 9 & 1), num_samples, sample_rate


def frames(data: bytes) -> Iterator[Frame]:
    """Yield all frames; tags and damaged bytes between frames are skipped. The last frame may be truncated."""
    position = _behind_id3(data, 0)
    while position + _HEADER <= len(data):
        frame = frame_at(data, position)
        if frame is None:
            position = _next_frame(data, position)
        else:
            yield frame
            position = frame.end


def stated_frames(data: bytes, first: Frame) -> int | None:
    """Return the number of frames stated by the Xing or Info header in ``first``; None if it states none."""
    start = first.start + _HEADER + _side_info(first.header)
    for at in (start, start + 2):  # after a CRC, if the encoder writes one
        if data[at : at + 4] in (b"Xing", b"Info") and data[at + 7] & 1:
            return int.from_bytes(data[at + 8 : at + 12], "big")
    return None


def split(data: bytes) -> list[bytes]:
    """Return the MP3 files concatenated in ``data``, each with a header that states its length; [] if only one.

    A file ends after the frames that its header counts, or before the next Xing or Info header or a frame with another
    sampling rate.
    """
    if frame_at(data, _behind_id3(data, 0)) is None:
        return []  # another format after a tag
    parts: list[list[Frame]] = [[]]
    counted: int | None = None
    headers = _headers(data)
    for frame in frames(data):
        part = parts[-1]
        stated = stated_frames(data, frame) if frame.start in headers else None
        is_full = counted is not None and len(part) > counted
        if not part or stated is not None or is_full or frame.sample_rate != part[-1].sample_rate:
            parts.append(part := [])
            counted = stated
        part.append(frame)
    parts = [part for part in parts[1:] if len(part) > _FEW or part[0].start in headers or part is parts[1]]
    if len(parts) < 2:
        return []
    return [_with_length(data, part) for part in parts]


def _headers(data: bytes) -> set[int]:
    """Return the candidate positions of frames with a Xing or Info header."""
    found = {match.start() for match in re.finditer(b"Xing|Info", data)}
    return {at - behind for at in found for behind in (13, 15, 21, 23, 36, 38)}


def _with_length(data: bytes, part: list[Frame]) -> bytes:
    """Return the bytes of a part, with a header that counts its frames added if missing."""
    whole = data[part[0].start : part[-1].end]
    if stated_frames(data, part[0]) is not None:
        return whole
    kbits = 8 if part[0].header >> 19 & 3 == 3 else 9  # a frame of some 250 bytes or more has space for the header
    first = part[0].header & ~(0xF << 12) & ~(1 << 9) | kbits << 12 | 1 << 16  # no padding, no CRC
    frame = frame_at(first.to_bytes(4, "big"), 0)
    assert frame is not None
    fields = b"Info" + (1).to_bytes(4, "big") + len(part).to_bytes(4, "big")
    return (first.to_bytes(4, "big") + bytes(_side_info(first)) + fields).ljust(frame.size, b"\0") + whole


def _side_info(header: int) -> int:
    """Return the number of bytes of side information after the header of a frame."""
    is_mono = header >> 6 & 3 == 3
    return (17 if is_mono else 32) if header >> 19 & 3 == 3 else (9 if is_mono else 17)


def _behind_id3(data: bytes, start: int) -> int:
    """Return the end of the ID3v2 tag at ``start``, or ``start``; the size is stored as four groups of seven bits."""
    if data[start : start + 3] != b"ID3":
        return start
    return (
        start
        + 10
        + sum((byte & 0x7F) << shift for byte, shift in zip(data[start + 6 : start + 10], (21, 14, 7, 0), strict=False))
    )


def _next_frame(data: bytes, start: int) -> int:
    """Return the first position after ``start`` of two successive frames of one kind, or the end of the data."""
    start = behind if (behind := _behind_id3(data, start)) > start else start + 1
    while (start := data.find(b"\xff", start)) >= 0:
        frame = frame_at(data, start)
        following = frame and frame_at(data, frame.end)
        if frame and following and following.sample_rate == frame.sample_rate:
            return start
        start += 1
    return len(data)
