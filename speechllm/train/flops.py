"""Floating-point operations of a training step, and peak rates of GPUs."""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.models.speech_llm import Objective, SpeechLLM, Work

PEAK_FLOPS = {
    "NVIDIA B200": 2250e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA A40": 149.7e12,
    "NVIDIA A10": 125e12,
    "NVIDIA L4": 121e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
}
"""Peak rate of dense bfloat16 matrix products (FLOP/s), by the full name of the device, because variants differ.

Published numbers without sparsity, or half of the numbers with sparsity.
"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Numbers of weights in matrix products."""

    frozen: int
    trained: int


class FlopCounter:
    """Count the useful floating-point operations of batches, for the model FLOPs utilisation (Chowdhery et al., 2022).

    Operations per weight and token (an encoder state, a speech token, a token of the LLM):

        2  frozen weights without gradients of their inputs: the encoder
        4  frozen weights with gradients of their inputs: the LLM, the base model of a connector
        6  trained weights

    The output layer is counted only for tokens with a target, the embedding matrix not at all. Attention scores,
    normalisation, recomputed activations and other frozen weights of a connector are left out, so the utilisation is a
    lower bound.

    Args:
        model: model before ZeRO divides its weights.
        dtype: ``train.dtype``.
        device: device of the training.
    """

    def __init__(self, model: SpeechLLM, dtype: str, device: torch.device) -> None:
        table = model.decoder.num_embeddings, model.decoder.embedding_dim
        parts = {name: list(part.parameters()) for name, part in model.named_children()}
        self._encoder = _weights(parts.get("encoder", []))
        base = model.connector.base_model
        frozen = [] if base is None else [one for one in base.parameters() if not one.requires_grad]
        self._connector = _weights([*(one for one in parts["connector"] if one.requires_grad), *frozen])
        self._llm = _weights(parts["decoder"], without=table)
        self._output_layer = table[0] * table[1]
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        self.peak = None if dtype == "float32" else peak_flops(name)
        """Peak rate of the device (FLOP/s); None if not known, such as for a CPU."""

    def flops(self, work: Work, targets: int, objective: Objective) -> float:
        """Return the floating-point operations of the forward and backward pass of a batch."""
        total = (2 * self._encoder.frozen + 6 * self._encoder.trained) * work.states
        total += (4 * self._connector.frozen + 6 * self._connector.trained) * work.speech_tokens
        if objective == "llm":
            total += (4 * self._llm.frozen + 6 * self._llm.trained) * work.llm_tokens
            total += 4 * self._output_layer * targets
        return float(total)


def peak_flops(name: str) -> float | None:
    """Return the peak rate (FLOP/s) of a device by its name; None if it is not known."""
    return PEAK_FLOPS.get(name)


def _weights(parameters: list[nn.Parameter], without: tuple[int, int] | None = None) -> Weights:
    """Return the numbers of weights, leaving out matrices of the shape ``without``."""
    counted = [one for one in parameters if tuple(one.shape) != without]
    trained = sum(one.numel() for one in counted if one.requires_grad)
    return Weights(frozen=sum(one.numel() for one in counted) - trained, trained=trained)
