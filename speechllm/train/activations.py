"""Memory of activations, measured on a few utterances, and advice on settings."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechllm.data.batch import Batch
from speechllm.layers import repeated_layers
from speechllm.train.config import TrainConfig
from speechllm.train.plan import GIB
from speechllm.train.protocol import Engine

MARGIN = 0.9
"""Usable share of the device's memory; the rest is for activations of the encoder and fragmentation."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Memory of the activations for the backward pass of the largest batch (bytes)."""

    positions: int
    """Positions of the LLM in that batch: tokens, and padding without packing."""
    kept: float
    """Bytes without activation checkpointing."""
    recomputed: float
    """Bytes with activation checkpointing."""


def measure_activations(engine: Engine, few: Batch, positions: int) -> Activations:
    """Return the activations of a batch with ``positions`` positions, extrapolated from a few utterances.

    Bytes are proportional to positions. With activation checkpointing, the inputs of the LLM's layers and the
    activations of one layer are kept. Call it on every rank.

    Args:
        engine: engine of the training, not compiled.
        few: some utterances.
        positions: number of positions of the largest batch.
    """
    model = engine.module
    engine.eval()  # layers recompute their activations in training mode only
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}
    found: list[Any] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found.append(engine(few.to(engine.device), "llm"))  # kept, so that no storage address is reused
    work = found[0].work
    engine.train()
    layers = max(1, len(repeated_layers(dict(model.named_children())["decoder"])))
    dtype = next(model.parameters()).dtype
    inputs = layers * model.decoder.embedding_dim * dtype.itemsize * work.llm_positions
    scale, total = positions / work.llm_positions, sum(sizes.values())
    return Activations(
        positions=positions, kept=scale * total, recomputed=min(scale * total, scale * (inputs + total / layers))
    )


def verdict(found: Activations, state_bytes: float, memory: int | None, config: TrainConfig, batch_limit: str) -> str:
    """Return a sentence on whether the training fits into the memory of its device, with advice on settings.

    Args:
        found: activations of the largest batch.
        state_bytes: weights, gradients and optimizer state on this device (bytes).
        memory: memory of the device (bytes); None: not known.
        config: the ``train`` section.
        batch_limit: name of the setting that limits the size of a batch.
    """
    text = (
        f"activations of the largest batch, {found.positions} positions: {found.kept / GIB:.2f} GiB, with "
        f"train.activation_checkpointing {found.recomputed / GIB:.2f} GiB"
    )
    if memory is None:
        return text
    usable = MARGIN * memory
    text += f"; the device has {memory / GIB:.0f} GiB: "
    if state_bytes >= usable:
        return text + "does not fit; choose ZeRO stage 3 (train.deepspeed) or a smaller model"
    if state_bytes + found.kept <= usable:
        faster = "fits without train.activation_checkpointing; set it to false, which is faster"
        return text + (faster if config.activation_checkpointing else "fits")
    if state_bytes + found.recomputed <= usable:
        slower = "does not fit; set train.activation_checkpointing: true"
        return text + ("fits" if config.activation_checkpointing else slower)
    positions = int(found.positions * (usable - state_bytes) / found.recomputed)
    advice = f"lower {batch_limit} for at most {positions} positions"
    return text + f"does not fit; {advice}" + ("" if config.activation_checkpointing else ", with checkpointing")
