"""Protocol of DeepSpeed's engine, with the members that training uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # so that the protocol is imported without DeepSpeed
    import torch
    from torch import Tensor

    from speechllm.data.batch import Batch
    from speechllm.models.speech_llm import LossOutput, Objective, SpeechLLM, Targets
    from speechllm.train.storage import Storage


class Engine(Protocol):
    """A SpeechLLM with its optimizer, on one rank."""

    module: SpeechLLM
    optimizer: torch.optim.Optimizer
    checkpoint_engine: Storage
    device: torch.device
    global_rank: int
    world_size: int

    def __call__(self, batch: Batch, objective: Objective, per: Targets | None = None) -> LossOutput:
        """Return the loss of a batch; see ``SpeechLLM.forward``."""
        ...

    def train(self) -> object:
        """Switch to training mode."""
        ...

    def eval(self) -> object:
        """Switch to evaluation mode."""
        ...

    def backward(self, loss: Tensor) -> object:
        """Add the gradients of ``loss``, divided by the number of accumulated batches."""
        ...

    def step(self) -> None:
        """Update the weights after the last accumulated batch of a step."""
        ...

    def get_global_grad_norm(self) -> float | None:
        """Return the gradient norm of the last update over all ranks, before clipping."""
        ...

    def zero_optimization_stage(self) -> int:
        """Return the ZeRO stage."""
        ...

    def save_checkpoint(
        self, save_dir: str, tag: str, *, exclude_frozen_parameters: bool = False, save_latest: bool = True
    ) -> object:
        """Write weights and optimizer states; call it on every rank."""
        ...

    def load_checkpoint(
        self, load_dir: str, tag: str, *, load_module_strict: bool = True
    ) -> tuple[str | None, dict[str, object]]:
        """Read weights and optimizer states; return their path, None without a checkpoint; call it on every rank."""
        ...
