"""Communication of all ranks: small sums on the CPU, and a common lock."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from speechllm.lock import LockedError, exclusive_lock


def sum_over_ranks(*values: float) -> list[float]:
    """Return the sum of each value over all ranks; call it on every rank.

    Sums are computed on the CPU, so that no rank waits for the kernels of its GPU.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64)
    torch.distributed.all_reduce(sums, group=_cpu_group())
    return sums.tolist()  # type: ignore[no-any-return]


@functools.cache
def _cpu_group() -> Any:
    """Return the group of all ranks for communication on the CPU; None for the default group."""
    if torch.distributed.get_backend() == "gloo":
        return None
    return torch.distributed.new_group(backend="gloo")


@contextmanager
def locked_by_rank_0(path: Path, what: str) -> Iterator[None]:
    """Hold ``exclusive_lock(path, what)`` on rank 0 for the duration of the block; use it on every rank.

    Raises:
        LockedError: on rank 0, if another process holds the lock.
        SystemExit: on all other ranks in that case.
    """
    with ExitStack() as stack:
        refusal = None
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            try:
                stack.enter_context(exclusive_lock(path, what))
            except LockedError as error:
                refusal = error
        if sum_over_ranks(float(refusal is not None))[0]:
            raise refusal or SystemExit(1)
        yield
