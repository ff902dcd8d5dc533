"""Loss, accuracy, speed and utilisation of the device between two log lines."""

import resource
import time
from typing import Any

import torch
from torch import Tensor

from speechllm.data.batch import Batch
from speechllm.models.speech_llm import LossOutput, Objective, Targets
from speechllm.train.flops import FlopCounter

COUNTS = ("loss", "correct", "tokens", "utterances", "speech", "read", "positions", "flops", "waited")


class Sums:
    """Sums of batches since the last log line.

    Args:
        flops: counter of the floating-point operations of a batch.
    """

    def __init__(self, flops: FlopCounter) -> None:
        self._flops = flops
        self._start()

    def add(self, output: LossOutput, batch: Batch, per: Targets, objective: Objective) -> None:
        """Add one batch with a loss divided by ``per``, without waiting for kernels."""
        self.is_ctc = output.num_correct is None
        self.loss += output.loss.detach() * (per.units if self.is_ctc else per.tokens)
        self.correct += 0.0 if output.num_correct is None else output.num_correct
        self.tokens += output.num_tokens
        self.utterances += len(batch.utt_ids)
        self.speech += sum(batch.durations)
        self.read += output.work.llm_tokens
        self.positions += output.work.llm_positions
        self.flops += self._flops.flops(output.work, output.num_tokens, objective)

    def wait(self, seconds: float) -> None:
        """Add time of waiting for data."""
        self.waited += seconds

    def pause(self, seconds: float) -> None:
        """Exclude ``seconds`` outside training from the speed."""
        self.since += seconds

    def take(self, device: torch.device) -> dict[str, float]:
        """Return the means over all ranks, and reset the sums.

        The CPU waits for the device here, once per log line. Keys:

            padding_share      share (0 to 1) of padding in the LLM's positions; not for CTC
            data_wait_share    share (0 to 1) of the time spent waiting for data
            tokens_per_second  input tokens of the LLM: prompt, speech and text; not for CTC
            mfu                useful floating-point operations, relative to the peak of the devices in that time, see
                               ``FlopCounter``; only if the peak is known
        """
        sums = torch.tensor(
            [float(getattr(self, name)) for name in COUNTS],
            dtype=torch.float32 if device.type == "mps" else torch.float64,
            device=device,
        )
        seconds, ranks = time.perf_counter() - self.since, 1
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
            ranks = torch.distributed.get_world_size()
        total = dict(zip(COUNTS, sums.tolist(), strict=True))
        loss = total["loss"] / total["tokens"]
        values = {"ctc_loss": loss} if self.is_ctc else {"loss": loss, "accuracy": total["correct"] / total["tokens"]}
        values["utterances_per_second"] = total["utterances"] / seconds
        values["speech_per_second"] = total["speech"] / seconds
        if total["positions"]:
            values["tokens_per_second"] = total["read"] / seconds
            values["padding_share"] = 1 - total["read"] / total["positions"]
        values["data_wait_share"] = total["waited"] / (seconds * ranks)
        if self._flops.peak is not None:
            values["mfu"] = total["flops"] / (seconds * ranks * self._flops.peak)
        self._start()
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as plain values for a resume between two log lines."""
        counts = {name: float(getattr(self, name)) for name in COUNTS}
        return {**counts, "is_ctc": self.is_ctc, "seconds": time.perf_counter() - self.since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the sums in ``state``; an empty state changes nothing."""
        for name, value in state.items():
            setattr(self, name, value)
        self.since = time.perf_counter() - state.get("seconds", 0.0)

    def _start(self) -> None:
        self.is_ctc = False
        self.loss: Tensor | float = 0.0
        self.correct: Tensor | float = 0.0
        self.tokens, self.utterances, self.speech = 0, 0, 0.0
        self.read, self.positions, self.flops, self.waited = 0, 0, 0.0, 0.0
        self.since = time.perf_counter()


def peak_memory() -> int:
    """Return the peak memory of this process so far (bytes): GPU memory, or resident memory without a GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
