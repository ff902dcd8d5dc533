"""Comparison of ``result.txt`` with the output of sclite (NIST SCTK), character by character."""

import difflib
import shutil
import subprocess
from pathlib import Path

from speechllm.errors import DataError

SHOWN = 20
"""Maximum number of differing lines in a message."""


def check_with_sclite(directory: Path) -> str:
    """Score the files of a score directory with sclite, and compare the output with ``result.txt``.

    Returns:
        A sentence that confirms that they agree.

    Raises:
        DataError: if sclite is not on the PATH, fails, or writes another result.
    """
    program = ["sclite"] if shutil.which("sclite") else ["sctk", "sclite"]
    if not shutil.which(program[0]):
        raise DataError("sclite: not on the PATH, expected sclite or sctk; on Debian, apt-get install sctk")
    if (directory / "ref.stm").is_file():
        title = "hyp.ctm"
        files = ["-F", "-D", "-r", "ref.stm", "stm", "-h", title, "ctm", title]
    else:
        title = "hyp.trn"
        files = ["-i", "rm", "-r", "ref.trn", "trn", "-h", title, "trn"]
    command = [*program, "-s", "-e", "utf-8", *files, "-o", "sum", "pralign", "stdout"]
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    theirs, ours = done.stdout.decode(errors="replace"), (directory / "result.txt").read_text(encoding="utf-8")
    if theirs == ours:
        return f"{directory / 'result.txt'}: {' '.join(program)} agrees"
    lines = list(difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "sclite", "result.txt", lineterm="", n=1))
    shown = "\n".join(lines[:SHOWN]) or done.stderr.decode(errors="replace")
    raise DataError(f"{directory}: {' '.join(program)} writes another result.txt, expected the same:\n{shown}")
