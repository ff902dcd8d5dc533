"""Loading of base models of transformers, with a check that the files contain exactly the weights of the model."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from speechllm.errors import ConfigError

BUFFERS_OF_OLD_FILES = re.compile(r"inv_freq$|\.attn\.(masked_)?bias$|\.attention\.(masked_)?bias$")
"""Constants in older checkpoints that models now compute: rotary frequencies and causal masks."""
NAMED = 4
"""Largest number of weights that an error names."""


def load_base(
    loader: Any, path: str, dtype: torch.dtype, *, option: str, kind: str, unused: tuple[str, ...] = ()
) -> Any:
    """Load a base model and check that its files contain all of its weights.

    Args:
        loader: a class of transformers with ``from_pretrained``.
        path: hub id or local directory.
        dtype: precision of the weights.
        option: name of the option with the value ``path``, for errors.
        kind: expected kind of model, for errors: "a Whisper model".
        unused: prefixes of the names of weights that are not used and may be missing.

    Raises:
        ConfigError: if the model does not exist, or weights are missing, unexpected or of another shape.
    """
    if path[0] in "./~" and not Path(path).is_dir():
        raise ConfigError(f"{option}: no directory {path}, expected {kind} in Hugging Face's format")
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
            "download the model again, or name another"
        )
    return model


def load_whisper(part: Literal["encoder", "decoder"], path: str, dtype: torch.dtype, *, option: str) -> Any:
    """Load the encoder or the decoder of a Whisper model without the other part; see ``load_base``."""
    from transformers.models.whisper import modeling_whisper as whisper

    other, kind = ("decoder", whisper.WhisperEncoder) if part == "encoder" else ("encoder", whisper.WhisperDecoder)

    class Part(whisper.WhisperPreTrainedModel):
        _keys_to_ignore_on_load_unexpected = (rf"{other}\.", r"proj_out\.")

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            setattr(self, part, kind(config))
            self.post_init()

    return getattr(load_base(Part, path, dtype, option=option, kind="a Whisper model"), part)


@contextmanager
def reading(option: str, path: str, kind: str) -> Iterator[None]:
    """Turn any error of a loader of transformers into a ConfigError with the option and the path."""
    try:
        yield
    except Exception as error:  # malformed files raise errors of every class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{option}: cannot load {path!r} as {kind}: {reason}") from error


def _belongs(name: str, model: nn.Module) -> bool:
    """Return whether a weight that ``model`` lacks would be part of one of its layers.

    Heads for other tasks and parts of other modalities are not part of its layers.
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
    """Return the first names and the number of other names."""
    return ", ".join(names) if len(names) <= NAMED else f"{', '.join(names[:NAMED])} and {len(names) - NAMED} others"
