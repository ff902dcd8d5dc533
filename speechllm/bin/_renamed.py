"""Verbs and options of earlier versions; using one is an error that names its replacement."""

import argparse
from collections.abc import Sequence

from speechllm.errors import UsageError

VERBS = {
    "join": "concatenate",
    "make_no_speech": "make_non_speech",
    "score_no_speech": "score_non_speech",
    "names": "dump, train, decode and baseline, which find their directories themselves",
}


def check_verb(verb: str = "") -> None:
    """Check that a verb is not one of an earlier version.

    Raises:
        UsageError: if it is; the message names the replacement.
    """
    if verb in VERBS:
        raise UsageError(f"{verb}: renamed, expected {VERBS[verb]}")


def add_renamed(parser: argparse.ArgumentParser, option: str, instead: str) -> None:
    """Make an option of an earlier version an error that names its replacement."""
    parser.add_argument(option, nargs="?", action=_Renamed, const=instead, help=argparse.SUPPRESS)


class _Renamed(argparse.Action):
    """An option of an earlier version; ``const`` is its replacement."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Exit with an error that names the replacement."""
        parser.error(f"{option_string}: renamed, expected {self.const}")
