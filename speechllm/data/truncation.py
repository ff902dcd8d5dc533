"""Whether the end of an audio file is there: libsndfile gives the rest of most formats without a word.

What FLAC lacks libsndfile does notice, once it is asked for the last sample. For the others the container
is looked at: the sizes in a WAV header, the last page of an Ogg file, every frame header of an MP3.
"""

import re
from pathlib import Path

import soundfile

_LARGEST_OGG_PAGE = 65_307  # bytes: 27 of header, 255 of segment table, 255 * 255 of data
_UNKNOWN_WAV_SIZE = 0x7FFFF000  # bytes: a program that writes into a pipe puts this or more into the header
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz, by MPEG version bits
_MP3_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG 1 layer III
_MP3_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5 layer III
_MP3_TRIMMED = 4 * 1152  # samples: what encoder delay, padding and the Xing frame take, at most


def missing_end(file: soundfile.SoundFile, path: Path) -> str | None:
    """Return what ``path``, open as ``file``, holds instead of its end; None if its end is there.

    ``file`` may be left at another position. An MP3 is not covered: see ``missing_end_mp3``.

    Raises:
        soundfile.LibsndfileError: for a FLAC file whose last sample cannot be reached.
    """
    if file.format == "FLAC":
        file.seek(file.frames - 1)
        return None if len(file.read(1)) == 1 else "no last sample"
    if file.format == "OGG":
        return None if _ogg_ends(path) else "an end that is no whole Ogg page, or one that is not marked as the last"
    cut = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if cut and int(cut[2]) < int(cut[1]) < _UNKNOWN_WAV_SIZE:
        return f"{cut[2]} bytes of samples, expected {cut[1]}"
    return None


def missing_end_mp3(file: soundfile.SoundFile, path: Path, num_decoded: int) -> str | None:
    """Return what an MP3, of which ``num_decoded`` samples could be decoded, holds instead of its end.

    Where the file does not state its length, libsndfile estimates it from the first bit rate, and
    stops there even if the speech goes on.
    """
    data = path.read_bytes()
    num_samples, whole = _walk_mp3(data)
    if not whole:
        return f"an incomplete last frame after {num_samples} samples"
    expected = file.frames if _states_length(data) else num_samples - _MP3_TRIMMED
    if num_decoded < expected:
        return f"{num_decoded} samples that libsndfile decodes, expected {expected} at least"
    return None


def _ogg_ends(path: Path) -> bool:
    """Whether a whole page with the end-of-stream flag ends where the file ends (RFC 3533, section 6)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LARGEST_OGG_PAGE))
        tail = file.read()
    for page in (match.start() for match in re.finditer(b"OggS", tail)):
        header = tail[page : page + 27]
        if len(header) == 27 and header[5] & 4:
            lacing = tail[page + 27 : page + 27 + header[26]]
            if page + 27 + header[26] + sum(lacing) == len(tail):
                return True
    return False


def _first_mp3_frame(data: bytes) -> int:
    """Return where the ID3v2 tag, if there is one, ends: its size is stored in four times seven bits."""
    if data[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))


def _states_length(data: bytes) -> bool:
    """Whether the first frame is the header that counts the frames (Xing, or Info as LAME writes it)."""
    frame = data[_first_mp3_frame(data) :][:64]
    return b"Xing" in frame or b"Info" in frame


def _walk_mp3(data: bytes) -> tuple[int, bool]:
    """Walk from frame header to frame header (ISO 11172-3, 2.4.1.3); stop at what is none, such as a tag.

    Returns:
        The number of samples in whole frames, and whether the last frame is whole.
    """
    position, num_samples = _first_mp3_frame(data), 0
    while position + 4 <= len(data):
        header = int.from_bytes(data[position : position + 4], "big")
        version, kbits, rate = header >> 19 & 3, header >> 12 & 15, header >> 10 & 3
        if header >> 21 != 0x7FF or version == 1 or header >> 17 & 3 != 1 or kbits in (0, 15) or rate == 3:
            break
        bits = (_MP3_KBITS_1 if version == 3 else _MP3_KBITS_2)[kbits] * 1000
        samples = 1152 if version == 3 else 576
        position += samples // 8 * bits // _MP3_RATES[version][rate] + (header >> 9 & 1)
        if position > len(data):
            return num_samples, False
        num_samples += samples
    return num_samples, True
