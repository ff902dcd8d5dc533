"""Activation checkpointing (Chen et al., 2016, arXiv 1604.06174) of a frozen LLM, without its dropout.

transformers recomputes the activations of a layer only in training mode, which also switches on the layer's dropout.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


def recomputed_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of ``model`` that recompute their activations, changed to compute as in evaluation mode.

    A layer does so if its ``training`` is set; that of the modules in it may stay unset.
    """
    layers = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
    for layer in layers:
        layer._gradient_checkpointing_func = partial(_recompute, layer)
    return layers


def _recompute(layer: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
    """Compute ``function``, the layer's own, now and again in the backward pass."""

    def evaluate(*inputs: Any) -> Any:
        mode, layer.training = layer.training, False
        try:
            return function(*inputs)
        finally:
            layer.training = mode

    return torch.utils.checkpoint.checkpoint(evaluate, *inputs, use_reentrant=False)
