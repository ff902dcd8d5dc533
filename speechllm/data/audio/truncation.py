"""Detection of truncated audio files: libsndfile reads truncated files of most formats without an error.

libsndfile reports a truncated FLAC file when its last sample is read. For the other formats the container is
checked: the sizes in a WAV header, the last page of an Ogg file, every frame header of an MP3.
"""

import re
from pathlib import Path

import soundfile

from speechllm.data.audio import mp3

_LARGEST_OGG_PAGE = 65_307  # bytes: 27 of header, 255 of segment table, 255 * 255 of data
_UNKNOWN_WAV_SIZE = 0x7FFFF000  # bytes; programs that write to a pipe state this size or more
_MP3_TRIMMED = 4 * 1152  # samples; maximum of encoder delay, padding and the Xing frame


def missing_end(file: soundfile.SoundFile, path: Path) -> str | None:
    """Return a description of the missing end of ``path``, open as ``file``; None if the file is complete.

    The position of ``file`` may change. MP3 is not covered: see ``missing_end_mp3``.

    Raises:
        soundfile.LibsndfileError: for a FLAC file whose last sample cannot be reached.
    """
    if file.format == "FLAC":
        file.seek(file.frames - 1)
        return None if len(file.read(1)) == 1 else "no last sample"
    if file.format == "OGG":
        return None if _ogg_ends(path) else "an incomplete last Ogg page, or one not marked as the last"
    cut = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if cut and int(cut[2]) < int(cut[1]) < _UNKNOWN_WAV_SIZE:
        return f"{cut[2]} bytes of samples, expected {cut[1]}"
    return None


def missing_end_mp3(file: soundfile.SoundFile, path: Path, num_decoded: int) -> str | None:
    """Return a description of the missing end of an MP3 of one stream, decoded to ``num_decoded`` samples, or None.

    If the file does not state its length, libsndfile estimates it from the first bit rate and stops there, even if
    the audio continues.
    """
    data = path.read_bytes()
    frames = list(mp3.frames(data))
    num_samples = sum(frame.num_samples for frame in frames if frame.end <= len(data))
    if frames and frames[-1].end > len(data):
        return f"an incomplete last frame after {num_samples} samples"
    is_stated = bool(frames) and mp3.stated_frames(data, frames[0]) is not None
    expected = file.frames if is_stated else num_samples - _MP3_TRIMMED
    if num_decoded < expected:
        return f"{num_decoded} samples decoded by libsndfile, expected at least {expected}"
    return None


def _ogg_ends(path: Path) -> bool:
    """Whether the file ends with a complete page that has the end-of-stream flag (RFC 3533, section 6)."""
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
