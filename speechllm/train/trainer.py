"""The training loop with the DeepSpeed engine."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from speechllm.data.batch import Batch, Loader
from speechllm.data.sampler import BucketSampler
from speechllm.errors import ConfigError, TrainingError
from speechllm.models.speech_llm import LossOutput, Objective, SpeechLLM, Targets
from speechllm.train.checkpoint import (
    Position,
    full_trainable_state,
    load_resume,
    remove_all_but,
    save_best,
    save_resume,
)
from speechllm.train.compilation import Compilation
from speechllm.train.config import TrainConfig
from speechllm.train.flops import FlopCounter
from speechllm.train.interrupt import Interrupted, StopRequest, stop_request
from speechllm.train.metrics import Metrics
from speechllm.train.protocol import Engine
from speechllm.train.ranks import sum_over_ranks
from speechllm.train.schedule import learning_rate
from speechllm.train.sums import Sums, peak_memory
from speechllm.train.validation import Validator

SHOWN = ("ctc_loss", "loss", "accuracy", "tokens_per_second", "mfu", "padding_share", "data_wait_share")
"""Values shown with the progress bar."""


class Trainer:
    """Training until ``max_steps``, from the last resume checkpoint, if any.

    Args:
        engine: DeepSpeed engine of a SpeechLLM.
        config: the ``train`` section.
        sampler: order of the training batches.
        loader: loader of the remaining batches of the sampler's epoch; it advances the sampler.
        validator: validation of the model.
        exp_dir: directory of the experiment, for all results.
        bases: fingerprints of the base models, for the checkpoints.
        flops: counter of floating-point operations.
        compilation: compilation of the model's layers; None: not compiled.
    """

    def __init__(
        self,
        engine: Engine,
        config: TrainConfig,
        *,
        sampler: BucketSampler,
        loader: Loader,
        validator: Validator,
        exp_dir: Path,
        bases: dict[str, str],
        flops: FlopCounter,
        compilation: Compilation | None = None,
    ) -> None:
        self.engine = engine
        self.model: SpeechLLM = engine.module
        self.config = config
        self.sampler = sampler
        self.loader = loader
        self.validator = validator
        self.exp_dir = exp_dir
        self.bases = bases
        self.step = 0
        self.best: list[list[Any]] = []
        self.metrics: Metrics | None = None
        self._compilation = compilation
        self._sums = Sums(flops)
        self._stop = StopRequest()
        self._saved = 0
        self._validated = True

    def run(self) -> signal.Signals | None:
        """Train, validate and save until the last step, or until a signal; return the signal."""
        if self.engine.global_rank == 0:
            self.metrics = Metrics(self.exp_dir, self.step, self.config.max_steps, self.config.loggers)
        with stop_request() as self._stop, self.metrics or nullcontext():
            try:
                self._train()
            except Interrupted:
                self._save_interrupted()
                return self._stop.agreed()
        return None

    def _train(self) -> None:
        """Do the remaining steps, after the validation of the resumed step if an interruption has skipped it."""
        self.engine.train()
        if not self._validated:
            self._validate_and_save()
        batches = self._batches()
        while self.step < self.config.max_steps:
            start = time.perf_counter()
            of_step = list(islice(batches, self.config.accumulation))
            self._sums.wait(time.perf_counter() - start)
            self._optimizer_step(of_step)
            self.step += 1
            self._validated = not self._is_validation_due()
            if self.metrics:
                self.metrics.advance()
            if self.step % self.config.log_every == 0 or self.step == self.config.ctc_steps:
                self._log()
            self._stop.check()
            if not self._validated:
                self._validate_and_save()
        self._say_compiled()

    def _say_compiled(self) -> None:
        """Print the number of compiled graphs, at the end of an epoch and of the training."""
        if self._compilation is not None and self.metrics:
            self.metrics.say(f"step {self.step}, epoch {self.sampler.epoch}: {self._compilation.summary()}")

    def _batches(self) -> Iterator[Batch]:
        """Yield the batches of one epoch after another, without end."""
        while True:
            if self._begins_to_concatenate():
                self.sampler.set_epoch(self.sampler.epoch + 1)
            for batch in self.loader:
                yield batch
                if self._begins_to_concatenate():
                    break
            else:
                self._say_compiled()
                self.sampler.set_epoch(self.sampler.epoch + 1, concatenates=self.sampler.concatenates)

    def _begins_to_concatenate(self) -> bool:
        """Return whether concatenation begins with the next step.

        It begins after CTC pre-training, because most connectors have fewer speech tokens than the text tokens of
        concatenated utterances, so that CTC cannot align them.
        """
        return self.step >= self.config.ctc_steps and not self.sampler.concatenates

    def _is_validation_due(self) -> bool:
        return self.step % self.config.valid_every == 0 or self.step == self.config.max_steps

    def _optimizer_step(self, batches: list[Batch]) -> None:
        """Compute the gradients of the batches of an optimizer step, and update the weights."""
        self._set_learning_rate()
        objective = self._objective(self.step)
        per = self._mean_targets(batches, objective)
        for batch in batches:
            output: LossOutput = self.engine(batch.to(self.engine.device), objective, per)
            self._sums.add(output, batch, per, objective)
            self.engine.backward(output.loss)
            self.engine.step()

    def _objective(self, step: int) -> Objective:
        """Return the objective of the optimizer step after ``step`` completed steps."""
        return "ctc" if step < self.config.ctc_steps else "llm"

    def _mean_targets(self, batches: list[Batch], objective: Objective) -> Targets:
        """Return the mean number of targets over the batches of an optimizer step on all ranks.

        DeepSpeed averages gradients over these batches. If the summed loss of each batch is divided by this mean, the
        average is the gradient of the mean loss over all targets of the step.
        """
        counts = [self.model.count_targets(batch.texts, objective) for batch in batches]
        num_batches, tokens, units = sum_over_ranks(
            len(batches), sum(count.tokens for count in counts), sum(count.units for count in counts)
        )
        return Targets(tokens / num_batches, units / num_batches)

    def _set_learning_rate(self) -> None:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = group["lr_scale"] * learning_rate(self.step + 1, self.config)

    def _log(self) -> None:
        """Write the means over all ranks since the last log line."""
        values = self._sums.take(self.engine.device)
        values |= {"lr": learning_rate(self.step, self.config), "epoch": self.sampler.epoch}
        values["peak_memory_gib"] = peak_memory() / 2**30
        if self._compilation is not None:
            values["compiled_graphs"] = self._compilation.graphs
        norm = self.engine.get_global_grad_norm()
        if norm is not None:
            values["grad_norm"] = float(norm)
        if self.metrics:
            self.metrics.log("train", self.step, values)
            self.metrics.show(", ".join(f"{name} {values[name]:.3f}" for name in SHOWN if name in values))

    def _validate_and_save(self) -> None:
        """Compute the validation loss, write a resume checkpoint, and write the weights if they are among the best.

        Weights of CTC pre-training are written only if all steps are CTC pre-training: otherwise their losses would be
        compared with those of the LLM.
        """
        start = time.perf_counter()
        objective = self._objective(self.step - 1)
        values, examples = self.validator.run(self.engine, objective, self._stop.check)
        self.engine.train()
        loss = values["ctc_loss" if objective == "ctc" else "loss"]
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self.exp_dir}: found a validation loss of {loss} at step {self.step}, expected a finite number; "
                "lower train.lr or choose train.dtype bfloat16, and start again; the previous checkpoint is kept"
            )
        state = full_trainable_state(self.model)
        if self.metrics:
            self.metrics.log("valid", self.step, values)
            self.metrics.say(self.validator.sentence(self.step, values, examples))
            self.metrics.plot()
        metadata = {"step": self.step, "valid_loss": loss, "bases": self.bases}
        counts = objective == "llm" or self.config.ctc_steps == self.config.max_steps
        if self.engine.global_rank == 0 and counts:
            with self.engine.checkpoint_engine.recorded_failure():
                self.best = save_best(self.exp_dir, state, self.best, self.config.keep_best, metadata)
        self._validated = True
        self._save()
        if self.engine.global_rank == 0:
            remove_all_but(self.exp_dir, self.best)
        self._sums.pause(time.perf_counter() - start)

    def _save(self) -> None:
        """Write a resume checkpoint."""
        position = Position(
            step=self.step, sampler=self.sampler.state_dict(), best=self.best, validated=self._validated
        )
        save_resume(self.engine, self.exp_dir, position, self.bases, self._sums.state_dict())
        self._saved = self.step

    def _save_interrupted(self) -> None:
        """Write a resume checkpoint, unless this step has one already, and print a sentence about it."""
        if self._saved != self.step:
            self._save()
        if self.metrics:
            self.metrics.say(
                f"{self.exp_dir}: stopped after step {self.step} of {self.config.max_steps}, the checkpoint is saved; "
                "run the same command again to continue"
            )

    def resume(self) -> None:
        """Restore the last resume checkpoint, if any; call it before ``run``.

        Raises:
            ConfigError: if the checkpoint is damaged or does not allow an exact resume.
        """
        found = load_resume(self.engine, self.exp_dir, self.bases)
        if found is None:
            return
        position, rank_state = found
        self.step = self._saved = position.step
        self.best = position.best
        self._validated = position.validated or not self._is_validation_due()
        self._sums.load_state_dict(rank_state)
        try:
            self.sampler.load_state_dict(position.sampler)
        except (KeyError, TypeError) as error:
            folder = self.exp_dir / "checkpoints"
            raise ConfigError(f"{folder}: the sampler's state is damaged ({error}); remove {folder}") from error
        if self.step <= self.config.ctc_steps < self.config.max_steps:
            self.best = []  # CTC losses, not comparable with the LLM's losses of the next steps
        if self.engine.global_rank == 0:
            remove_all_but(self.exp_dir, self.best)  # in case the run was killed before this call
            print(f"resumed at step {self.step} of {self.config.max_steps}")
