"""Find components by the names of their files.

``type: whisper`` under ``encoder:`` resolves to ``speechllm.encoders.whisper``; a dotted name (``my_lab.conformer``) is
the name of a module outside the library. Each module defines one frozen dataclass ``Config`` with a method ``build``; a
corpus and a format define functions instead, see ``speechllm/corpora/__init__.py`` and
``speechllm/data/importers/__init__.py``. A new component needs no other change, and is imported only when it is used.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

from speechllm.errors import ConfigError
from speechllm.interfaces import ComponentConfig

SINGULAR = {
    "corpora": "corpus",
    "frontends": "frontend",
    "encoders": "encoder",
    "connectors": "connector",
    "decoders": "decoder",
    "data.importers": "format",
}


_trusts_outside: ContextVar[bool] = ContextVar("_trusts_outside", default=True)


@contextmanager
def outside_components(trusted: bool) -> Iterator[None]:
    """Allow or reject imports of modules outside the library by ``component_module`` within the block.

    They are allowed for an experiment YAML named by the user; a trained model may have another author.
    """
    token = _trusts_outside.set(trusted)
    try:
        yield
    finally:
        _trusts_outside.reset(token)


def available(kind: str) -> list[str]:
    """Return the names of the built-in components of ``kind`` without importing them."""
    package = importlib.import_module(f"speechllm.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def component_module(kind: str, name: str) -> ModuleType:
    """Import component ``name`` of ``kind``.

    Raises:
        ConfigError: if the component does not exist, or is outside the library and not trusted.
    """
    if "." in name:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"{SINGULAR[kind]} {name!r}: expected a module name such as my_lab.conformer")
        if not _trusts_outside.get():
            raise ConfigError(
                f"{SINGULAR[kind]} {name!r}: found a module outside speechllm, which loading this model would run; if "
                "you trust the author of the model, allow it with trust_components=True or --trust_components"
            )
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
                raise  # the module exists, but one of its imports does not
            raise ConfigError(f"{SINGULAR[kind]} {name!r}: no such module; is its folder on PYTHONPATH?") from error
    names = available(kind)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown {SINGULAR[kind]} {name!r}, expected one of {', '.join(names)}{hint}")
    return importlib.import_module(f"speechllm.{kind}.{name}")


def config_class(kind: str, name: str) -> type[ComponentConfig]:
    """Return the ``Config`` dataclass of component ``name`` of ``kind``."""
    module = component_module(kind, name)
    if not hasattr(module, "Config"):
        raise ConfigError(f"{SINGULAR[kind]} {name!r}: {module.__name__} defines no dataclass named Config")
    config: type[ComponentConfig] = module.Config
    return config
