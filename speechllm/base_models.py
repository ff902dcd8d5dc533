"""Base models of transformers, loaded with a check that the files hold exactly the weights of the model."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechllm.errors import ConfigError

BUFFERS_OF_OLD_FILES = re.compile(r"inv_freq$|\.attn\.(masked_)?bias$|\.attention\.(masked_)?bias$")
"""Constants that older checkpoints hold and that the models now compute: rotary frequencies and causal masks."""
NAMED = 4
"""Weights that an error names."""


def load_base(
    loader: Any, path: str, dtype: torch.dtype, *, option: str, kind: str, unused: tuple[str, ...] = ()
) -> Any:
    """Load a base model whose files hold all of its weights.

    Args:
        loader: a class of transformers with ``from_pretrained``.
        path: hub id or local directory.
        dtype: precision of the weights.
        option: the option that holds ``path``, for errors.
        kind: the expected kind of model, for errors: "a Whisper model".
        unused: beginnings of the names of weights that are not used, and may be missing.

    Raises:
        ConfigError: if there is no such model, or its files lack weights, have others, or have them in other shapes.
    """
    if path[0] in "./~" and not Path(path).is_dir():
        raise ConfigError(f"{option}: no directory {path}, expected {kind} in Hugging Face's form")
    with reading(option, path, kind):
        model, info = loader.from_pretrained(path, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True)
    faults = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(name for name in info["unexpected_keys"] if _belongs(name, model)),
        "of another shape": sorted(name for name, *_ in info["mismatched_keys"]),
    }
    faults = {fault: [one for one in names if not one.startswith(unused)] for fault, names in faults.items()}
    if any(faults.values()):
        found = "; ".join(f"{_listed(names)} {fault}" for fault, names in faults.items() if names)
        raise ConfigError(
            f"{option}: the weights in {path!r} are not those of {kind} as its config.json describes it: {found}; "
            "get the model again, or name another"
        )
    return model


@contextmanager
def reading(option: str, path: str, kind: str) -> Iterator[None]:
    """Turn any error of a reader of transformers into one that names the option and the path."""
    try:
        yield
    except Exception as error:  # malformed files raise errors of every class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{option}: cannot load {path!r} as {kind}: {reason}") from error


def _belongs(name: str, model: nn.Module) -> bool:
    """Return whether a weight that ``model`` does not have would be part of one of its layers.

    Heads for other tasks and parts of other modalities are not.
    """
    if BUFFERS_OF_OLD_FILES.search(name):
        return False
    modules, parts = dict(model.named_modules()), name.split(".")[:-1]
    parent = next(".".join(parts[:k]) for k in range(len(parts), -1, -1) if ".".join(parts[:k]) in modules)
    if parent in ("", getattr(model, "base_model_prefix", "")):
        return False
    is_layer = isinstance(modules[parent], nn.ModuleList) or any(part.isdigit() for part in parent.split("."))
    return is_layer or any(True for _ in modules[parent].parameters(recurse=False))


def _listed(names: list[str]) -> str:
    """Return the first names, and how many there are."""
    return ", ".join(names) if len(names) <= NAMED else f"{', '.join(names[:NAMED])} and {len(names) - NAMED} others"
