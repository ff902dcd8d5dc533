"""Suppression of warnings about a missing GPU."""

import logging
import os

import torch


def silence_missing_gpu() -> None:
    """Suppress warnings of DeepSpeed and PyTorch about a missing GPU; call it before DeepSpeed is imported."""
    if torch.cuda.is_available():
        return
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # without it, DeepSpeed warns about its guess
    logging.getLogger("torch.utils.cpp_extension").addFilter(_has_other_message)


def _has_other_message(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("No CUDA runtime is found")
