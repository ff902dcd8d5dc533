"""Contract of all formats, see speechllm/data/importers/__init__.py."""

import inspect
from pathlib import Path

import pytest

from speechllm.registry import available, component_module


@pytest.mark.parametrize("name", available("data.importers"))
def test_a_format_is_complete_and_claims_nothing_that_is_not_its_own(name: str, tmp_path: Path) -> None:
    importer = component_module("data.importers", name)
    assert importer.__doc__
    assert {"split", "columns"} >= importer.OPTIONS
    assert importer.KEEPS_IDS in (True, False)
    assert list(inspect.signature(importer.read).parameters) == ["source", "audio", "options"]
    assert not importer.claims(tmp_path / "gone")
    assert not importer.claims(tmp_path)
    for number, content in enumerate((b"", b"\xff\xfe\x00", b"{}\n", b"[]\n", b"RIFF")):
        (tmp_path / f"{number}.json").write_bytes(content)
        assert not importer.claims(tmp_path / f"{number}.json")
