"""Files of resume checkpoints, flushed to the disk after writing, and read without unpickling arbitrary objects."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from speechllm.atomic import new_file
from speechllm.errors import ConfigError, TrainingError
from speechllm.train.ranks import sum_over_ranks

KNOWN: list[Any] = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
"""Classes of DeepSpeed in its checkpoints, in addition to tensors and plain values."""


class Storage(TorchCheckpointEngine):
    """Writer and reader of the checkpoints of DeepSpeed's engine.

    A failure to write a file is recorded, not raised, because other ranks would wait for this one; ``raise_failure``
    raises it on all ranks.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._failure: Exception | None = None

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Create a folder."""
        with self.recorded_failure():
            Path(path).mkdir(parents=True, exist_ok=True)

    def save(self, state_dict: Any, path: str) -> None:
        """Write tensors and plain values to ``path``."""
        with self.recorded_failure(), new_file(Path(path)) as temporary:
            torch.save(state_dict, temporary)

    def load(self, path: str, map_location: Any = None) -> Any:
        """Return the content of ``path``.

        Raises:
            ConfigError: if it cannot be read, or contains objects other than tensors, plain values and ``KNOWN`` ones.
        """
        try:
            with torch.serialization.safe_globals(KNOWN):
                return torch.load(path, map_location=map_location, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"{path}: cannot be read as a checkpoint: {reason}; remove {Path(path).parents[1]} to start again"
            ) from error

    @contextmanager
    def recorded_failure(self) -> Iterator[None]:
        """Record an error in the block instead of raising it."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch raises a RuntimeError on a full disk
            self._failure = self._failure or error

    def raise_failure(self, advice: str) -> None:
        """Raise the recorded failure of any rank; call it on every rank.

        Args:
            advice: end of the sentence of the error.

        Raises:
            TrainingError: if any rank has failed to write a file.
        """
        failure, self._failure = self._failure, None
        if not sum_over_ranks(float(failure is not None))[0]:
            return
        reason = "another process failed to write its part" if failure is None else str(failure).partition("\n")[0]
        raise TrainingError(f"the checkpoint cannot be written: {reason}; {advice}")
