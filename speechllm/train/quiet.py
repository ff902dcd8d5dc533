"""Silence of warnings that only say that the machine has no GPU, which the plan of a training says."""

import logging
import os

import torch


def silence_missing_gpu() -> None:
    """Switch off the warnings of DeepSpeed and PyTorch about a missing GPU; to be called before DeepSpeed's import."""
    if torch.cuda.is_available():
        return
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed warns where it has to guess
    logging.getLogger("torch.utils.cpp_extension").addFilter(_has_other_message)


def _has_other_message(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("No CUDA runtime is found")
