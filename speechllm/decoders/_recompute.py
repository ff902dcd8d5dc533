"""Activation checkpointing (Chen et al., 2016, arXiv 1604.06174) of a frozen LLM without its dropout.

transformers recomputes the activations of a layer only in training mode, which also enables the dropout of the layer.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


def recomputed_layers(model: nn.Module, *, evaluates: bool) -> list[nn.Module]:
    """Return the layers of ``model`` that recompute their activations.

    A layer recomputes its activations if its own attribute ``training`` is True, even if that of its submodules is not.

    Args:
        model: LLM with activation checkpointing enabled.
        evaluates: whether to compute the layers in evaluation mode.
    """
    layers = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
    for layer in layers:
        layer._gradient_checkpointing_func = partial(_recompute, layer, evaluates, _call)
    return layers


def compile_recomputed(layers: Iterable[Any], backend: Callable[..., Any]) -> None:
    """Compile layers that recompute their activations, but not the checkpointing itself."""
    compiled = torch.compile(_call, dynamic=True, backend=backend)
    for layer in layers:
        _, evaluates, _ = layer._gradient_checkpointing_func.args
        layer._gradient_checkpointing_func = partial(_recompute, layer, evaluates, compiled)


def _recompute(
    layer: nn.Module, evaluates: bool, call: Callable[..., Any], function: Callable[..., Any], *inputs: Any
) -> Any:
    """Compute ``function`` of the layer, and compute it again in the backward pass."""

    def compute(*inputs: Any) -> Any:
        mode, layer.training = layer.training, layer.training and not evaluates
        try:
            return call(function, *inputs)
        finally:
            layer.training = mode

    return torch.utils.checkpoint.checkpoint(compute, *inputs, use_reentrant=False)


def _call(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return the result of ``function``."""
    return function(*inputs)
