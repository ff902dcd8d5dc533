"""What the formats share: names of columns, values of fields, paths of audio."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from speechllm.errors import ConfigError, DataError
from speechllm.interfaces import Seconds

_MOST_SECONDS: Seconds = 1e9  # 30 years; not infinite, not NaN
USUAL = {
    "audio": ("audio", "path", "file_name", "file", "filename", "audio_filepath", "audio_path", "wav"),
    "text": ("text", "sentence", "transcript", "transcription", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id"),
    "id": ("id", "utt_id"),
}
"""Names that columns usually have, by what is in them; the first that is there is taken."""


def find_columns(names: Collection[str], columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Return which column holds what; ``audio`` and ``text`` must be there.

    Args:
        names: of the columns.
        columns: as the user says.
        where: for messages.

    Raises:
        ConfigError: if the user names a column that is not there.
        DataError: if none of the usual names is there, and the user names none.
    """
    found = {}
    for what, usual in USUAL.items():
        wanted = columns.get(what)
        if wanted is not None and wanted not in names:
            raise ConfigError(f"{where}: found the columns {', '.join(names)}, expected {wanted!r} for {what}")
        column = wanted or next((name for name in usual if name in names), None)
        if column is not None:
            found[what] = column
        elif what in ("audio", "text"):
            raise DataError(
                f"{where}: found the columns {', '.join(names)}, expected one of {', '.join(usual)} for {what}; "
                f"say which one it is: --columns {what}=COLUMN"
            )
    return found


def locate(path: str, *folders: Path) -> Path:
    """Return where an audio file lies: an absolute path as it is, else below the first folder or here that has it."""
    candidates = [(folder / path).absolute() for folder in (*folders, Path())]
    return next((candidate for candidate in candidates if _is_file(candidate)), candidates[0])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, or a null byte in it
        return False


def seconds(fields: Mapping[str, Any], key: str) -> Seconds:
    """Return a number of seconds.

    Raises:
        DataError: if it is not there, or no finite number.
    """
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST_SECONDS:
        raise DataError(f"a wrong {key}: found {str(value)[:40]}, expected a number of seconds")
    return float(value)


def string(fields: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """Return a string; an id may be an integer, too.

    Raises:
        DataError: if it is not there and there is no default, or it is something else.
    """
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"no {key}: found {value!r}, expected a string")
    return value
