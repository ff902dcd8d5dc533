"""Descriptions of a dump and its shards in YAML: fingerprints of tables, audio files and frontend."""

from pathlib import Path
from typing import Any

import yaml

from speechllm.atomic import new_file
from speechllm.errors import DataError

_KEYS = {
    "fingerprint": dict,
    "compress": bool,
    "utterances": str,
    "bytes": int,
}  # keys of a description with their types


def describe(utterances: str, fingerprint: dict[str, Any], compress: bool) -> dict[str, Any]:
    """Return the keys of a description that a shard or dump must match."""
    return {"fingerprint": _as_yaml(fingerprint), "compress": compress, "utterances": utterances}


def is_there(out_dir: Path, stem: str, description: dict[str, Any]) -> bool:
    """Whether the shard or dump ``stem`` is finished, matches ``description`` and has its recorded size."""
    found = read_record(out_dir / f"{stem}.yaml")
    if found is None or any(found.get(key) != value for key, value in description.items()):
        return False
    arks = out_dir.glob("feats.*.ark" if stem == "feats" else f"{stem}.ark")
    return bool(found["bytes"] == sum(path.stat().st_size for path in arks))


def check_fingerprint(dump_dir: str | Path, expected: dict[str, Any]) -> None:
    """Check that a dump has the settings that a model expects.

    Raises:
        DataError: if it differs, with a list of the differences, or if there is no finished dump.
    """
    found = read_mapping(Path(dump_dir) / "frontend.yaml")
    if found is None:
        raise DataError(f"{dump_dir}: found no finished dump (frontend.yaml is missing); run stage 2")
    differences = _differences(found, _as_yaml(expected))
    if differences:
        raise DataError(
            f"{dump_dir}: the dump differs from the frontend of the encoder: {differences}; run stage 2 again"
        )


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the description of a shard or dump; None if the file is missing.

    Raises:
        DataError: if the file is damaged.
    """
    found = read_mapping(path)
    if found is not None:
        if "identity" in found:  # key of earlier versions
            found["fingerprint"] = found.pop("identity")
        for key, kind in _KEYS.items():
            if not isinstance(found.get(key), kind):
                raise _damaged(path, f"{key}: {str(found.get(key))[:40]}")
    return found


def read_mapping(path: Path) -> dict[str, Any] | None:
    """Read a YAML file that holds one mapping; None if the file is missing.

    Raises:
        DataError: if the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _damaged(path, " ".join(str(error).split())[:100]) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise _damaged(path, str(found)[:40])
    return found


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a YAML file atomically."""
    with new_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=True), encoding="utf-8")


def _damaged(path: Path, found: str) -> DataError:
    return DataError(f"{path}: damaged, found {found!r}, expected the description of a dump; delete it and run stage 2")


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> str:
    flat, wanted = _flatten(found), _flatten(expected)
    keys = sorted(key for key in flat.keys() | wanted.keys() if flat.get(key) != wanted.get(key))
    return ", ".join(f"{key} found {flat.get(key)}, expected {wanted.get(key)}" for key in keys)


def _flatten(tree: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Return a flat mapping with nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{where}{key}.") if isinstance(value, dict) else {f"{where}{key}": value}
    return flat


def _as_yaml(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` after a YAML round trip: a tuple becomes a list."""
    return yaml.safe_load(yaml.safe_dump(content))
