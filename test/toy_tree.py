"""A copy of the files that recipes need, so that new recipes can be tested without changing the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def copy_tree(target: Path) -> Path:
    """Copy the library, and the scripts and configurations of the recipes."""
    for name in ("speechllm", "utils"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "egs/librispeech/conf", target / "egs/librispeech/conf")
    shutil.copy(ROOT / "egs/cmd.sh", target / "egs")
    return target


def run_in(tree: Path, folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with the library of the copied tree, ``speechllm`` being that library's."""
    programs = tree / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "speechllm").write_text(f'#!/bin/sh\nexec {sys.executable} -m speechllm "$@"\n')
    (programs / "speechllm").chmod(0o755)
    path = f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
