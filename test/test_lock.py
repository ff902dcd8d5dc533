import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from speechllm.lock import LockedError, exclusive_lock

HOLDER = """
import sys, time
from pathlib import Path
from speechllm.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "the experiment"):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "exp" / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        refusal = pytest.raises(LockedError, match=rf"the experiment is in use by process {holder.pid} on ")
        with refusal, exclusive_lock(path, "the experiment"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with exclusive_lock(path, "the experiment"):
            assert path.read_text().startswith(f"process {os.getpid()} on ")


FORKING = """
import os, sys, time
from pathlib import Path
from speechllm.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "the experiment"):
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_forked_process_does_not_hold_the_lock_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", FORKING, str(path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            with exclusive_lock(path, "the experiment"):
                os.kill(child, 0)  # it is still there
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_lock_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive_lock(tmp_path / "lock", "it"):
        raise ZeroDivisionError
    with exclusive_lock(tmp_path / "lock", "it"):
        pass
