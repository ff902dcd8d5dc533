"""The training loop around the DeepSpeed engine."""

import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechllm.data.batch import Batch, Loader
from speechllm.data.sampler import BucketSampler
from speechllm.errors import TrainingError
from speechllm.models.ctc import CTC
from speechllm.models.speech_llm import LossOutput, SpeechLLM
from speechllm.train.checkpoint import (
    Position,
    full_trainable_state,
    load_resume,
    remove_all_but,
    save_best,
    save_resume,
)
from speechllm.train.config import TrainConfig
from speechllm.train.metrics import Metrics
from speechllm.train.schedule import learning_rate
from speechllm.train.validation import Validator

MEANS = ("ctc_loss", "loss", "accuracy")


class Trainer:
    """Train until ``max_steps``, from the last resume checkpoint if there is one.

    Args:
        engine: DeepSpeed engine around a SpeechLLM.
        config: the ``train`` section.
        sampler: order of the training batches.
        loader: reads the batches that remain of the sampler's epoch, and moves its position.
        validator: scores the model on the validation set.
        ctc: the loss of the first ``config.ctc_steps`` steps; None if there are none.
        exp_dir: where everything is written.
        bases: fingerprints of the base models, for the checkpoints.
    """

    def __init__(
        self,
        engine: Any,
        config: TrainConfig,
        *,
        sampler: BucketSampler,
        loader: Loader,
        validator: Validator,
        ctc: CTC | None,
        exp_dir: Path,
        bases: dict[str, str],
    ) -> None:
        self.engine = engine
        self.model: SpeechLLM = engine.module
        self.config = config
        self.sampler = sampler
        self.loader = loader
        self.validator = validator
        self.ctc = None if ctc is None else ctc.to(engine.device)
        self.exp_dir = exp_dir
        self.bases = bases
        self.step = 0
        self.best: list[list[Any]] = []
        self.metrics: Metrics | None = None
        self._sums = Sums()

    def run(self) -> None:
        """Train, validate and save until the last step."""
        if self.engine.global_rank == 0:
            self.metrics = Metrics(self.exp_dir, self.step, self.config.max_steps)
        self.engine.train()
        while self.step < self.config.max_steps:
            if self._begins_to_join():
                self.sampler.set_epoch(self.sampler.epoch + 1)
            for batch in self.loader:
                self._micro_step(batch)
                if self.step >= self.config.max_steps or self._begins_to_join():
                    break
            else:
                self.sampler.set_epoch(self.sampler.epoch + 1, joins=self.sampler.joins)
        if self.metrics:
            self.metrics.close()

    def _begins_to_join(self) -> bool:
        """Return whether utterances are to be joined from now on, but not yet are.

        They are not in the steps of CTC: joined, they have more tokens of text than most connectors have of speech, and
        what cannot be aligned teaches nothing.
        """
        return self.step >= self.config.ctc_steps and not self.sampler.joins

    def _micro_step(self, batch: Batch) -> None:
        """Do forward and backward on one batch, and an optimizer step where the accumulation ends."""
        self._set_learning_rate()
        ctc = self.ctc if self.step < self.config.ctc_steps else None
        if ctc is not None:
            ctc.anneal(self.step / self.config.ctc_steps)
        output: LossOutput = self.engine(batch.to(self.engine.device), ctc)
        self._sums.add(output, batch)
        ends_step = self.engine.is_gradient_accumulation_boundary()
        self.engine.backward(output.loss)
        self.engine.step()
        if not ends_step:
            return
        self.step += 1
        if self.metrics:
            self.metrics.advance()
        if self.step % self.config.log_every == 0 or self.step == self.config.ctc_steps:
            self._log()
        if self.step % self.config.valid_every == 0 or self.step == self.config.max_steps:
            self._validate_and_save(ctc)

    def _set_learning_rate(self) -> None:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = group["lr_scale"] * learning_rate(self.step + 1, self.config)

    def _log(self) -> None:
        """Write the means since the last time, over all ranks."""
        values = self._sums.take(self.engine.device)
        values |= {"lr": learning_rate(self.step, self.config), "epoch": self.sampler.epoch}
        values["peak_memory_gib"] = peak_memory() / 2**30
        norm = self.engine.get_global_grad_norm()
        if norm is not None:
            values["grad_norm"] = float(norm)
        if self.metrics:
            self.metrics.log("train", self.step, values)
            self.metrics.show(", ".join(f"{name} {values[name]:.3f}" for name in MEANS if name in values))

    def _validate_and_save(self, ctc: CTC | None) -> None:
        """Score the validation set by the loss of this step; save what a resume needs, and the weights if they count.

        Those of the steps of CTC do not, which the LLM has not read yet: but for the last, if there are no other steps.
        """
        start = time.perf_counter()
        values, examples = self.validator.run(self.engine, ctc)
        self.engine.train()
        loss = values["loss" if ctc is None else "ctc_loss"]
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self.exp_dir}: the validation loss of step {self.step} is {loss}, expected a number; "
                "lower train.lr or choose train.dtype bfloat16, and start again: the checkpoint before it is kept"
            )
        state = full_trainable_state(self.model)
        if self.metrics:
            self.metrics.log("valid", self.step, values)
            self.metrics.say(self.validator.sentence(self.step, values, examples))
            self.metrics.plot()
        metadata = {"step": self.step, "valid_loss": loss, "bases": self.bases}
        counts = ctc is None or self.step == self.config.max_steps
        if self.engine.global_rank == 0 and counts:
            self.best = save_best(self.exp_dir, state, self.best, self.config.keep_best, metadata)
        position = Position(step=self.step, sampler=self.sampler.state_dict(), best=self.best)
        save_resume(self.engine, self.exp_dir, position, self.bases)
        if self.engine.global_rank == 0:
            remove_all_but(self.exp_dir, self.best)
        self._sums.pause(time.perf_counter() - start)

    def resume(self) -> None:
        """Go to the last resume checkpoint, if there is one; to be called before ``run``.

        Raises:
            ConfigError: if it cannot be gone on from exactly.
        """
        position = load_resume(self.engine, self.exp_dir, self.bases)
        if position is not None:
            self.step, self.best = position.step, position.best
            self.sampler.load_state_dict(position.sampler)
            if self.step <= self.config.ctc_steps < self.config.max_steps:
                self.best = []  # of an alignment that now goes on with the LLM, whose losses are others
            if self.engine.global_rank == 0:
                remove_all_but(self.exp_dir, self.best)  # a kill may have come before it
                print(f"going on from step {self.step} of {self.config.max_steps}")


class Sums:
    """Loss, accuracy and speed between two log lines."""

    def __init__(self) -> None:
        self._start()

    def add(self, output: LossOutput, batch: Batch) -> None:
        """Count one batch."""
        tokens = output.num_tokens.item()
        self.loss += output.loss.detach() * tokens
        self.is_ctc = output.num_correct is None
        self.correct += 0.0 if output.num_correct is None else output.num_correct
        self.tokens += tokens
        self.utterances += len(batch.utt_ids)
        self.speech += sum(batch.durations)

    def pause(self, seconds: float) -> None:
        """Leave ``seconds`` that were not spent on training out of the speed."""
        self.since += seconds

    def take(self, device: torch.device) -> dict[str, float]:
        """Return the means over all ranks and start again."""
        seconds = time.perf_counter() - self.since
        sums = torch.tensor(
            [float(self.loss), float(self.correct), self.tokens, self.utterances, self.speech],
            dtype=torch.float32 if device.type == "mps" else torch.float64,
            device=device,
        )
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        loss, correct, tokens, utterances, speech = sums.tolist()
        means = {"ctc_loss": loss / tokens} if self.is_ctc else {"loss": loss / tokens, "accuracy": correct / tokens}
        self._start()
        return {
            **means,
            "utterances_per_second": utterances / seconds,
            "speech_per_second": speech / seconds,
        }

    def _start(self) -> None:
        self.loss: Tensor | float = 0.0
        self.correct: Tensor | float = 0.0
        self.tokens, self.utterances, self.speech = 0.0, 0, 0.0
        self.since = time.perf_counter()


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes: of its GPU, or of the machine without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
