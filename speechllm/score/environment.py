"""What a result depends on besides its configuration: versions and the commit, asked for without importing anything."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

PACKAGES = ("speechllm", "torch", "torchaudio", "transformers", "peft", "deepspeed", "numpy")


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
