"""Connect a speech encoder to a large language model for speech recognition (arXiv 2309.13963)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechllm.api import Model, load

__version__ = "0.2.0"
__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    """Import ``speechllm.api`` at the first access to one of its names, because the import takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from speechllm.collector import collector_paused

    with collector_paused():
        from speechllm import api

    return getattr(api, name)
