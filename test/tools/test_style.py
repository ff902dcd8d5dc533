"""Shell scripts stop at errors; the linters run in tools/test.sh."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {".venv", ".git", "downloads", "data", "dump", "exp"}


def shell_files() -> list[str]:
    """Return every shell script of the tree."""
    files = [path for path in ROOT.rglob("*.sh") if not NOT_OURS & set(path.relative_to(ROOT).parts)]
    return sorted(str(path.relative_to(ROOT)) for path in [*files, ROOT / ".ci" / "run"])


@pytest.mark.parametrize("name", shell_files())
def test_shell_scripts_stop_at_errors(name: str) -> None:
    text = (ROOT / name).read_text()
    if text.startswith("#!"):
        assert text.startswith("#!/usr/bin/env bash\n")
        assert re.search(r"^set -e?uo pipefail$", text, re.MULTILINE)
        assert os.access(ROOT / name, os.X_OK), f"chmod +x {name}"
