"""What was left out of a data directory, told to people: all of it stands, with its reason, in its file ``dropped``."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from speechllm.errors import DataError


def kind(reason: str) -> str:
    """Return what is counted of a reason, ``kind`` or ``kind: detail``."""
    return reason.partition(":")[0]


def tell_dropped(target: Path, kinds: Counter[str]) -> None:
    """Say on stderr how many utterances were left out, and why."""
    if kinds:
        print(
            f"{target}: dropped {kinds.total()} utterances ({_counts(kinds)}), listed in {target}/dropped",
            file=sys.stderr,
        )


def none_left(made_from: object, kinds: Counter[str], first: Iterable[tuple[str, str]]) -> DataError:
    """Return the error that nothing can be used.

    Args:
        made_from: what the data directory was to be made of.
        kinds: how many were left out for each kind of reason.
        first: id and reason of one of them, or none.
    """
    example = "".join(f"; the first, {utt}: {reason}" for utt, reason in first)
    return DataError(f"{made_from}: not one utterance can be used ({_counts(kinds) or 'there are none'}){example}")


def status(data_dirs: Iterable[Path]) -> int:
    """Return the exit status of a verb that made data directories: 0, or 3 if something was left out of them."""
    return 3 if any((path / "dropped").is_file() for path in data_dirs) else 0


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
