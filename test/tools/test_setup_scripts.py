import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.8.1' && exit\nexit 1\n"


def script(name: str, *arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    """Run a script of tools/."""
    command = ["bash", str(ROOT / "tools" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=60)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """Return a directory with the system programs of the scripts, without Python, df, apt-get and sudo."""
    for name in ["bash", "dirname", "grep", "cut", "cat", "sha256sum", "id", "awk", "touch", "true", "env"]:
        program(tmp_path / name, f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
    return tmp_path


def program(path: Path, text: str) -> None:
    """Write a new program; one that is there, or a link to one of the system's, is an error and never written to."""
    with path.open("x") as file:
        file.write(text)
    path.chmod(0o755)


@pytest.mark.parametrize("name", ["install.sh", "quickstart.sh"])
def test_an_unknown_option(name: str) -> None:
    result = script(name, "--aktive")
    assert result.returncode == 2
    assert "unknown option --aktive" in result.stderr


def test_an_option_without_its_value() -> None:
    result = script("install.sh", "--apt")
    assert result.returncode == 2
    assert "--apt: found no value" in result.stderr


def test_a_python_that_is_too_old(bare_path: Path) -> None:
    program(bare_path / "python", OLD)
    result = script("install.sh", "--active", path=str(bare_path))
    assert result.returncode == 1
    assert "found Python 3.8.1, expected Python 3.10 or newer" in result.stderr


def test_no_apt_is_no_error(bare_path: Path) -> None:
    program(bare_path / "python", OLD)
    result = script("install.sh", "--active", "--apt", "flite no-such-package", path=str(bare_path))
    assert "apt-get is not available: continuing without flite." in result.stdout
    assert "apt-get is not available: continuing without no-such-package." in result.stdout


def test_a_full_disk(bare_path: Path) -> None:
    program(bare_path / "df", "#!/bin/sh\necho 'Filesystem 1024-blocks Used Available'\necho '/dev/x 9 9 5000000'\n")
    no_torch_no_pip = f'case "$2" in "import torch" | pip) exit 1 ;; esac\nexec {sys.executable} "$@"\n'
    program(bare_path / "python", f"#!/bin/sh\n{no_torch_no_pip}")
    result = script("install.sh", "--active", "--extra", "none-such", path=str(bare_path))
    assert result.returncode == 1
    assert "found 5 GB free on the disk, expected 12 GB" in result.stderr
