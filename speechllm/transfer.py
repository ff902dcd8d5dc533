"""Copies from the CPU to the device of the model."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on ``device`` without waiting for queued kernels of a GPU.

    A copy from ordinary memory waits for them; a copy from pinned memory does not.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
