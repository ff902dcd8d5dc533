"""Sets of utterances as other tools keep them, one format a file, found by its name.

Each module, whose docstring says what it reads, defines

    OPTIONS: frozenset[str]                           which of the options below it takes
    KEEPS_IDS: bool                                   whether its ids are those of a valid data directory already
    claims(source) -> bool                            whether the source is of this format, at a glance
    read(source, audio, options) -> Row | BadRow ...  the utterances, in order; ``audio`` is a folder for those
                                                      whose audio has no file of its own

What is wrong with one utterance is a ``BadRow``; a ``DataError`` is for a source that cannot be read at all. A
relative path of an audio file is looked for beside the file that names it, then in the working directory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user says of a source."""

    split: str = ""
    """Which split of a data set with several; empty: the only one."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column or key of ``audio``, ``text``, ``speaker`` or ``id``, where it is not one of the usual names."""
