"""Python's garbage collector at start-up and exit, where it would visit every object of the imported modules."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector for the duration of the block; it stays off if it was off before."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # to the oldest generation, which is collected seldom
            gc.enable()


def skip_collection_at_exit() -> None:
    """Leave the memory of reference cycles to the operating system at the exit of the interpreter.

    A collection then takes more than a second after an import of torch and transformers.
    """
    atexit.register(gc.freeze)
