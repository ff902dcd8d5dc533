"""Python's garbage collector at start-up and at exit."""

import gc
import subprocess
import sys
import weakref

import pytest

from speechllm.collector import collector_paused

EXIT = """
from speechllm.collector import skip_collection_at_exit
class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("collected")
{call}
Cycle()
"""


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_objects_of_the_block_are_old_but_not_leaked() -> None:
    gc.collect()
    with collector_paused():
        assert not gc.isenabled()
        cycles = [Cycle() for _ in range(2000)]
    assert gc.isenabled()
    assert any(one is cycles for one in gc.get_objects(generation=2))
    last = weakref.ref(cycles[-1])
    del cycles
    gc.collect()
    assert last() is None
    assert gc.get_freeze_count() == 0


def test_frozen_objects_of_the_program_stay_frozen() -> None:
    gc.freeze()
    try:
        with collector_paused():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(("call", "printed"), [("", "collected\n"), ("skip_collection_at_exit()", "")])
def test_cycles_are_not_collected_at_exit(call: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXIT.format(call=call)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == printed
