"""Messages about utterances left out of a data directory; its file ``dropped`` lists all with reasons."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from speechllm.errors import DataError


def kind(reason: str) -> str:
    """Return the kind of a reason ``kind`` or ``kind: detail``."""
    return reason.partition(":")[0]


def tell_dropped(target: Path, kinds: Counter[str]) -> None:
    """Print to stderr how many utterances were left out, and why."""
    if kinds:
        print(
            f"{target}: dropped {kinds.total()} utterances ({_counts(kinds)}), listed in {target}/dropped",
            file=sys.stderr,
        )


def none_left(made_from: object, kinds: Counter[str], first: Iterable[tuple[str, str]]) -> DataError:
    """Return the error for data without a usable utterance.

    Args:
        made_from: source of the data directory.
        kinds: number of utterances left out for each kind of reason.
        first: id and reason of one of them, or nothing.
    """
    example = "".join(f"; the first, {utt}: {reason}" for utt, reason in first)
    return DataError(
        f"{made_from}: found no usable utterance ({_counts(kinds) or 'there are none'}), expected at least one{example}"
    )


def status(data_dirs: Iterable[Path]) -> int:
    """Return the exit status of a verb that wrote data directories: 0, or 3 if utterances were left out."""
    return 3 if any((path / "dropped").is_file() for path in data_dirs) else 0


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
