"""Provenance: fingerprints of inputs, and the record of a run (command, commit, versions) in ``run.yaml``."""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import speechllm

PACKAGES = ("torch", "torchaudio", "transformers", "peft", "deepspeed", "numpy")


def fingerprint(*values: Any) -> str:
    """Return a fingerprint of plain values: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Return a fingerprint of the content of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return a fingerprint of the names, sizes and modification times of files."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def run_record() -> dict[str, Any]:
    """Return the content of ``run.yaml``: command of this process, date, commit, hardware and versions."""
    name = Path(sys.argv[0]).name
    command = shlex.join(["speechllm" if name == "__main__.py" else name, *sys.argv[1:]])  # python -m speechllm
    return {
        "command": command,
        "date": time.strftime("%F %T"),
        "git": git_hash(),
        "hardware": hardware(),
        "versions": versions(),
    }


def hardware() -> str:
    """Return the number of usable cores and the name of the CPU, and the GPUs if this process has loaded torch."""
    cpu = platform.processor() or platform.machine()
    if (table := Path("/proc/cpuinfo")).exists():
        names = re.findall(r"^model name\s*: (.*)$", table.read_text(encoding="utf-8"), re.MULTILINE)
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{cores} x {cpu}"]
    if torch := sys.modules.get("torch"):
        parts += [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return ", ".join(parts)


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and other packages with influence on results."""
    own = {"python": platform.python_version(), "speechllm": speechllm.__version__}
    return own | {name: _version(name) for name in PACKAGES}


def git_hash() -> str:
    """Return the checked-out commit of this package, and whether tracked files differ from it."""
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
