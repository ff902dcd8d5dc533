"""Checks of the ranges of numbers in configurations."""

from typing import Any

from speechllm.errors import ConfigError


def at_least(config: Any, minimum: float, *names: str) -> None:
    """Raise ConfigError unless these fields of ``config`` are None or at least ``minimum``."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= minimum:  # in this form NaN is rejected, too
            raise ConfigError(f"{name}: found {value}, expected at least {minimum}")


def above(config: Any, minimum: float, *names: str) -> None:
    """Raise ConfigError unless these fields of ``config`` are None or more than ``minimum``."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > minimum:
            raise ConfigError(f"{name}: found {value}, expected more than {minimum}")


def probability(config: Any, *names: str) -> None:
    """Raise ConfigError unless these fields of ``config`` are at least 0 and less than 1."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ConfigError(f"{name}: found {value}, expected at least 0 and less than 1")
