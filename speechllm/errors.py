"""Errors that a user can cause and mend; whatever else goes wrong is a bug of ours.

A message reads ``where: what is wrong, found X, expected Y; what to do``.
"""


class SpeechLLMError(Exception):
    """Base of all errors that name something the user can fix."""


class ConfigError(SpeechLLMError):
    """A value in an experiment's YAML or on the command line is unknown, missing or wrong."""


class TrainingError(SpeechLLMError):
    """A training has gone where it cannot go on."""


class DataError(SpeechLLMError):
    """A corpus, a data directory, a dump or a hypothesis file breaks its contract."""


class UsageError(SpeechLLMError):
    """Arguments on the command line contradict each other; the exit status is 2, as for unknown ones."""

    exit_status = 2
