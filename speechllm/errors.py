"""Errors that a user can cause and fix; any other exception is a bug.

The form of a message is ``where: problem, found X, expected Y; advice``.
"""


class SpeechLLMError(Exception):
    """Base class of all errors that the user can fix."""


class ConfigError(SpeechLLMError):
    """A value in an experiment's YAML or on the command line is unknown, missing or wrong."""


class TrainingError(SpeechLLMError):
    """A training cannot continue."""


class DataError(SpeechLLMError):
    """A corpus, a data directory, a dump or a hypothesis file is missing, incomplete or malformed."""


class UsageError(SpeechLLMError):
    """Arguments on the command line contradict each other; the exit status is 2, as for unknown arguments."""

    exit_status = 2
