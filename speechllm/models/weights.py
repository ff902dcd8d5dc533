"""Files of trainable weights (safetensors) with the fingerprints of the base models."""

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from speechllm.atomic import new_file
from speechllm.errors import ConfigError
from speechllm.interfaces import Module


def model_fingerprint(module: Module) -> str:
    """Return a fingerprint of the names, shapes and signs of up to 64 values of every tensor of a base model.

    Rounding keeps signs, so the fingerprint does not depend on the precision of the weights; adapters are left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted((_base_name(name), tensor) for name, tensor in module.state_dict().items()):
        if ".lora_" not in name:
            signs = torch.signbit(tensor.flatten()[:: max(1, tensor.numel() // 64)]).int()
            digest.update(f"{name} {list(tensor.shape)} {signs.tolist()}\n".encode())
    return digest.hexdigest()[:16]


def save_weights(
    path: Path, state: Mapping[str, Tensor], metadata: dict[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write ``state`` in ``dtype`` with ``metadata`` (JSON) to ``path``, atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    state = {name: tensor.to(dtype).cpu().contiguous() for name, tensor in state.items()}
    with new_file(path) as temporary:
        try:
            save_file(state, temporary, {"speechllm": json.dumps(metadata)})
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        temporary.chmod(0o644)  # safetensors gives no read permission to other users


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a weights file.

    Raises:
        ConfigError: if the file is damaged.
    """
    with _opened(path) as file:
        metadata: dict[str, Any] = json.loads((file.metadata() or {}).get("speechllm", "{}"))
    return metadata


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file.

    Raises:
        ConfigError: if the file is damaged, or a tensor contains NaN or infinite values.
    """
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    check_finite(state, path)
    return state


def check_finite(state: Mapping[str, Tensor], where: Path | str) -> None:
    """Raise ConfigError if a tensor of ``state``, which was read at ``where``, contains NaN or infinite values."""
    for name, tensor in state.items():
        # the sum is checked first because it needs no memory; it is not finite if a value is not, or if it overflows
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise ConfigError(
                f"{where}: {name}: found NaN or infinite values, expected finite numbers; restore the file"
            )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a weights file; turn errors of reading it into ConfigError."""
    check_exists(path)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors: {error}; restore it, or train again") from error


def load_weights(model: nn.Module, path: Path, bases: dict[str, str], leave_out: Sequence[str] = ()) -> list[str]:
    """Load trained weights into ``model``; return the names of the loaded tensors.

    Args:
        model: model built from the same configuration.
        path: weights file.
        bases: fingerprints of the base models of ``model``.
        leave_out: names of tensors, or patterns like ``decoder.*``, that may be missing and are not loaded. The bare
            name ``encoder`` or ``decoder`` allows another base model than that of the weights.

    Raises:
        ConfigError: if any other tensor is missing, unknown or of another shape, a base model differs, or a name or
            pattern in ``leave_out`` matches no tensor.
    """
    check_exists(path)
    state = read_weights(path)
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    other_bases = bases.keys() & set(leave_out)
    patterns = [pattern for pattern in leave_out if pattern not in other_bases]
    left_out = _matching(patterns, [*own, *state], path)
    for part, expected in read_metadata(path).get("bases", {}).items():
        if part in bases.keys() - other_bases and bases[part] != expected:
            raise ConfigError(
                f"{path}: trained with another {part}: found fingerprint {bases[part]}, expected {expected}; "
                f"set {'decoder' if part == 'decoder' else 'encoder'}.path to the base model in training"
            )
    for name in left_out:
        own.pop(name, None)
        state.pop(name, None)
    problems = [f"missing {name}" for name in own.keys() - state.keys()]
    problems += [f"unknown {name}" for name in state.keys() - own.keys()]
    problems += [
        f"{name} is {list(state[name].shape)}, expected {list(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if problems:
        raise ConfigError(f"{path}: does not fit the model: {'; '.join(sorted(problems)[:6])}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])
    return list(own)


def _matching(patterns: Sequence[str], names: Iterable[str], path: Path) -> set[str]:
    """Return the names that match any of the patterns.

    Raises:
        ConfigError: if one of the patterns matches no name.
    """
    found: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise ConfigError(
                f"{path}: train.init_leave_out: found no tensor called {pattern!r}, expected a name or pattern of "
                f"{sorted(names)[:6]}; correct or remove it"
            )
        found.update(matching)
    return found


def average_weights(paths: list[Path]) -> dict[str, Tensor]:
    """Return the mean of several weights files, tensor by tensor."""
    total = {name: tensor.double() for name, tensor in read_weights(paths[0]).items()}
    for path in paths[1:]:
        for name, tensor in read_weights(path).items():
            total[name] += tensor
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}


def interpolate(
    state: Mapping[str, Tensor], other: Mapping[str, Tensor], share: float, leave_out: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Return ``1 - share`` times the tensors of ``state`` plus ``share`` times those of ``other``, name by name.

    Tensors that ``other`` lacks, or whose names match a pattern in ``leave_out``, are those of ``state``.
    """
    names = state.keys() & other.keys() - {name for one in leave_out for name in fnmatch.filter(other, one)}
    return {
        name: torch.lerp(tensor.float(), other[name].float(), share) if name in names else tensor
        for name, tensor in state.items()
    }


def _base_name(name: str) -> str:
    """Return the name of a tensor without the prefixes of peft."""
    return name.replace("base_model.model.", "", 1).replace(".base_layer.", ".")


def check_exists(path: Path) -> None:
    """Raise ConfigError if the weights file ``path`` does not exist."""
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file, expected trained weights; run the training and averaging stages first"
        )
