"""Copies from the CPU to the device that computes."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on ``device`` without waiting for the kernels that a GPU has yet to run.

    An ordinary copy waits for them, because its source may be changed afterwards; pinned memory needs no such care.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
