"""Command, commit and versions of a run, recorded in ``run.yaml``; found without importing the packages."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("speechllm", "torch", "torchaudio", "transformers", "peft", "deepspeed", "numpy")


def run_record() -> dict[str, Any]:
    """Return the command of this process, the date, the commit and the versions, as ``run.yaml`` holds them."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": command, "date": time.strftime("%F %T"), "git": git_hash(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def git_hash() -> str:
    """Return the commit that this package is checked out from, and whether tracked files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return f"{commit} (with local changes)" if changed else commit


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
