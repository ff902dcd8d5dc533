"""Formatter, linter, type checker and shellcheck, on the whole tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
NOT_OURS = {".venv", ".git", "downloads", "data", "dump", "exp"}


def check(*command: str) -> None:
    """Run a checker in the root of the tree; skip if it is not installed."""
    program = shutil.which(command[0], path=PATH)
    if program is None:
        pytest.skip(f"{command[0]} is not installed; it comes with the extra dev")
    result = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"


def shell_files() -> list[str]:
    """Return every shell script of the tree."""
    files = [path for path in ROOT.rglob("*.sh") if not NOT_OURS & set(path.relative_to(ROOT).parts)]
    return sorted(str(path.relative_to(ROOT)) for path in [*files, ROOT / ".ci" / "run"])


def test_ruff_check() -> None:
    check("ruff", "check", ".")


def test_ruff_format() -> None:
    check("ruff", "format", "--check", ".")


def test_mypy() -> None:
    check("mypy")


def test_mypy_tools() -> None:
    check("mypy", "--ignore-missing-imports", "tools")


def test_shellcheck() -> None:
    check("shellcheck", "--external-sources", *shell_files())


@pytest.mark.parametrize("name", shell_files())
def test_shell_scripts_stop_at_errors(name: str) -> None:
    text = (ROOT / name).read_text()
    if text.startswith("#!"):
        assert text.startswith("#!/usr/bin/env bash\n")
        assert re.search(r"^set -e?uo pipefail$", text, re.MULTILINE)
        assert os.access(ROOT / name, os.X_OK), f"chmod +x {name}"
