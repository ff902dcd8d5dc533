"""Validation: loss, token accuracy, hypotheses and the shuffled-audio control."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from speechllm.data.batch import Batch
from speechllm.interfaces import GenerationOptions
from speechllm.models.speech_llm import Objective, SpeechLLM
from speechllm.train.protocol import Engine

Example = tuple[str, str]  # reference, hypothesis


class Validator:
    """Loss and token accuracy on the validation set, hypotheses of a few utterances, and the shuffled-audio control.

    The control gap is the loss with the audio of other utterances minus the loss with the correct audio (nats per
    token). While it is near zero, the model predicts text without using the audio, even if its loss is low.

    Args:
        batches: all batches of the validation set, the same on every rank, read lazily.
        shuffled_batches: number of batches of the shuffled-audio control.
        examples: batch of a few utterances to decode, and the ``max_new_tokens`` of each.
    """

    def __init__(
        self, batches: Sequence[Batch], *, shuffled_batches: int, examples: tuple[Batch, list[int]] | None
    ) -> None:
        self.batches = batches
        self.shuffled_batches = shuffled_batches
        self.examples = examples
        self._check: Callable[[], None] = lambda: None

    @torch.no_grad()
    def run(
        self, engine: Engine, objective: Objective = "llm", check: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, float], list[Example]]:
        """Return the scores and some (reference, hypothesis) pairs; call it on every rank.

        With the objective ``ctc``, nothing is decoded, because the training does not use the LLM yet. ``check`` is
        called on every rank before each batch, and may raise an exception to abort the validation.
        """
        engine.eval()
        self._check = check
        name = "ctc_loss" if objective == "ctc" else "loss"
        sums = self._score(engine, self.batches, objective)
        loss, accuracy = _per_token(sums)
        values = {name: loss} if objective == "ctc" else {name: loss, "accuracy": accuracy}
        first = {i: self.batches[i] for i in range(min(self.shuffled_batches, len(self.batches)))}
        tried = {i: batch.shuffled() for i, batch in first.items() if len(batch.utt_ids) > 1}
        if tried:
            wrong, wrong_accuracy = _per_token(self._score(engine, list(tried.values()), objective))
            values |= {f"shuffled_{name}": wrong, "control_gap": wrong - _per_token(sums[list(tried)])[0]}
            if objective == "llm":
                values["shuffled_accuracy"] = wrong_accuracy
        return values, [] if objective == "ctc" else self._decode(engine)

    @staticmethod
    def sentence(step: int, values: dict[str, float], examples: list[Example]) -> str:
        """Return the scores and hypotheses of a validation as text."""
        if "ctc_loss" in values:
            text = f"step {step}: validation CTC loss {values['ctc_loss']:.3f}"
        else:
            text = f"step {step}: validation loss {values['loss']:.3f}, token accuracy {values['accuracy']:.3f}"
        if "control_gap" in values:
            text += f", control gap {values['control_gap']:+.3f}"
        for reference, hypothesis in examples:
            text += f"\n  REF {reference}\n  HYP {hypothesis}"
        return text

    def _score(self, engine: Engine, batches: Sequence[Batch], objective: Objective) -> Tensor:
        """Return summed loss, correct tokens and tokens of each batch (batches, 3); batches are divided among ranks."""
        sums = torch.zeros(len(batches), 3, dtype=torch.float64, device=engine.device)
        rank, world_size = engine.global_rank, engine.world_size
        for start in range(0, len(batches), world_size):
            self._check()
            # under ZeRO stage 3, every forward pass needs every rank, so a rank without work repeats a batch
            index, is_repeat = start + rank, start + rank >= len(batches)
            output = engine(batches[start if is_repeat else index].to(engine.device), objective)
            if not is_repeat:
                tokens = output.num_tokens
                sums[index] = torch.tensor([float(output.loss) * tokens, float(output.num_correct or 0), tokens])
        if world_size > 1:
            torch.distributed.all_reduce(sums)
        return sums

    def _decode(self, engine: Engine) -> list[Example]:
        if self.examples is None:
            return []
        self._check()
        batch, max_new_tokens = self.examples
        model: SpeechLLM = engine.module
        with torch.compiler.set_stance("force_eager"):  # the growing cache would need a graph for each step
            best = model.generate(batch.to(engine.device), max_new_tokens, GenerationOptions())
        return [(text, nbest[0].text) for text, nbest in zip(batch.texts, best, strict=True)]


def _per_token(sums: Tensor) -> tuple[float, float]:
    """Return loss and accuracy per token over all batches."""
    loss, correct, tokens = sums.sum(0).tolist()
    return loss / tokens, correct / tokens
