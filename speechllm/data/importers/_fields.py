"""Functions shared by the importers: names of columns, values of fields, paths of audio."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from speechllm.errors import ConfigError, DataError
from speechllm.interfaces import Seconds

_MOST_SECONDS: Seconds = 1e9  # 30 years; excludes infinity and NaN
USUAL = {
    "audio": ("audio", "path", "file_name", "file", "filename", "audio_filepath", "audio_path", "wav"),
    "text": ("text", "sentence", "transcript", "transcription", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id"),
    "id": ("id", "utt_id"),
}
"""Usual names of the columns; the first that exists is used."""


def find_columns(names: Collection[str], columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the columns of ``audio``, ``text`` (both required), ``speaker`` and ``id``.

    Args:
        names: names of all columns.
        columns: columns that the user has named.
        where: source to name in messages.

    Raises:
        ConfigError: if the user names a missing column.
        DataError: if a required column is neither named by the user nor has a usual name.
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
                f"give --columns {what}=COLUMN"
            )
    return found


def locate(path: str, *folders: Path) -> Path:
    """Return the path of an audio file; a relative path is searched in ``folders``, then in the working directory."""
    candidates = [(folder / path).absolute() for folder in (*folders, Path())]
    return next((candidate for candidate in candidates if _is_file(candidate)), candidates[0])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long or contains a null byte
        return False


def seconds(fields: Mapping[str, Any], key: str) -> Seconds:
    """Return a number of seconds.

    Raises:
        DataError: if it is missing or not a finite number.
    """
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST_SECONDS:
        raise DataError(f"a wrong {key}: found {str(value)[:40]}, expected a number of seconds")
    return float(value)


def string(fields: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """Return a string; an integer, such as an id, is converted.

    Raises:
        DataError: if it is missing without a default, or has another type.
    """
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"no {key}: found {value!r}, expected a string")
    return value
