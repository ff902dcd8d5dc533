"""File and channel of each recording of a data directory: Kaldi's ``reco2file_and_channel``."""

from collections.abc import Iterable
from pathlib import Path

from speechllm.errors import DataError


def files_and_channels(data_dir: Path, recordings: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the names of file and channel of each recording.

    Without the table a recording is channel 1 of a file of the same name.

    Raises:
        DataError: if a line of the table is malformed, or a recording is missing.
    """
    path = data_dir / "reco2file_and_channel"
    if not path.exists():
        return {recording: (recording, "1") for recording in recordings}
    found = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}), expected a text table") from error
    for number, line in enumerate(lines, start=1):
        try:
            recording, file, channel = line.split()
        except ValueError as error:
            raise DataError(f"{path}:{number}: expected recording, file and channel, found {line!r}") from error
        found[recording] = file, channel
    if missing := sorted(set(recordings) - found.keys()):
        raise DataError(f"{path}: {len(missing)} recordings are missing, such as {missing[0]}, expected all; add them")
    return found
