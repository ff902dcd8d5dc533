"""A NeMo manifest: JSON lines with `audio_filepath`, `text`, `duration`, and optionally `offset` and `speaker`.

The utterance is the part of the file given by `offset` and `duration` (seconds), or all after `offset` without
`duration`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm.data.importers import Options
from speechllm.data.importers._fields import locate, seconds, string
from speechllm.data.importers._lines import first_object, read_json_lines
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import DataError

OPTIONS = frozenset({"columns"})
KEEPS_IDS = False


def claims(source: Path) -> bool:
    """Whether the first line is a JSON object with an audio_filepath."""
    return source.is_file() and "audio_filepath" in first_object(source)


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a manifest.

    Raises:
        DataError: if the file is missing.
    """
    keys = {"audio": "audio_filepath", "text": "text", "speaker": "speaker", "id": "id"} | dict(options.columns)
    for where, fields in read_json_lines(source):
        if isinstance(fields, BadRow):
            yield fields
            continue
        try:
            yield _row(source, where, fields, keys)
        except DataError as error:
            yield BadRow(where, str(error))


def _row(source: Path, where: str, fields: dict[str, Any], keys: dict[str, str]) -> Row:
    return Row(
        where=where,
        path=locate(string(fields, keys["audio"]), source.parent),
        text=string(fields, keys["text"]),
        speaker=string(fields, keys["speaker"], default=""),
        utt_id=string(fields, keys["id"], default=""),
        start=seconds(fields, "offset") if fields.get("offset") is not None else 0.0,
        duration=seconds(fields, "duration") if fields.get("duration") is not None else None,
    )
