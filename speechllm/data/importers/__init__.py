"""Importers of other tools' data formats: one module per format, found by its name.

The docstring of each module describes its format. Each module defines

    OPTIONS: frozenset[str]                           names of the options below that it accepts
    KEEPS_IDS: bool                                   whether its ids are already valid ids of a data directory
    claims(source) -> bool                            whether the source looks like this format; must be fast
    read(source, audio, options) -> Row | BadRow ...  the utterances, in order; audio that is not in files is
                                                      written to the folder ``audio``

An error of one utterance is a ``BadRow``; a ``DataError`` means that the source cannot be read at all. A relative
path of an audio file is searched in the folder of the file that names it, then in the working directory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that a user gives for a source."""

    split: str = ""
    """Name of the split to read; empty: the only one."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns or keys of ``audio``, ``text``, ``speaker`` or ``id`` that do not have a usual name."""
