"""Batches of utterances for the model, read ahead by worker processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from speechllm.data.concat import ConcatenatedDataset
from speechllm.data.dataset import Example, SpeechDataset
from speechllm.data.sampler import BucketSampler
from speechllm.interfaces import Seconds
from speechllm.transfer import to_device


@dataclass
class Batch:
    """Utterances padded to one length."""

    utt_ids: list[str]
    inputs: Tensor
    """feats_BTF or states_BLD, float32, zero beyond ``feat_lens_B``."""
    feat_lens_B: Tensor
    """Number of valid frames, or of valid states, int64, on the CPU."""
    texts: list[str]
    """Transcripts; empty strings where the data has none."""
    durations: list[Seconds]
    encoded: bool
    """Whether ``inputs`` are encoder states."""
    epoch: int = 0
    contexts: list[str] = field(default_factory=list)
    """Texts for the prompts: one per utterance, maybe empty; or an empty list if no utterance has one."""
    languages: list[str] = field(default_factory=list)
    """English names of the languages for the prompts: one per utterance, or an empty list."""

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with its inputs on ``device``."""
        return replace(self, inputs=to_device(self.inputs, torch.device(device)))

    def shuffled(self) -> "Batch":
        """Return the batch with the speech of each utterance replaced by that of the previous utterance."""
        assert len(self.utt_ids) > 1, "needs at least two utterances"
        return replace(self, inputs=self.inputs.roll(1, 0), feat_lens_B=self.feat_lens_B.roll(1, 0))


class Collate:
    """Make batches of examples, padded with zeros to the longest.

    Args:
        encoded: whether the examples are encoder states.
    """

    def __init__(self, *, encoded: bool) -> None:
        self.encoded = encoded

    def __call__(self, examples: list[Example]) -> Batch:
        """Return the batch of ``examples``, in their order."""
        arrays = [torch.tensor(example.inputs_TF, dtype=torch.float32) for example in examples]
        return Batch(
            utt_ids=[example.utt_id for example in examples],
            inputs=pad_sequence(arrays, batch_first=True),
            feat_lens_B=torch.tensor([len(array) for array in arrays]),
            texts=[example.text for example in examples],
            durations=[example.duration for example in examples],
            encoded=self.encoded,
            contexts=[example.context for example in examples],
            languages=[example.language for example in examples],
        )


class BatchList(Sequence[Batch]):
    """Sequence of batches that are read on each access, in any order.

    Args:
        dataset: source of the utterances.
        batches: utterance ids of each batch.
        collate: maker of a batch from examples.
    """

    def __init__(self, dataset: SpeechDataset, batches: Sequence[list[str]], collate: Collate) -> None:
        self._dataset, self._batches, self._collate = dataset, batches, collate

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: Any) -> Any:
        assert isinstance(index, int), "one batch at a time"
        return self._collate([self._dataset[utt_id] for utt_id in self._batches[index]])


class Loader:
    """Reads the batches of a sampler's current epoch from its current position, and advances the position.

    Args:
        dataset: source of the utterances.
        sampler: order of the batches.
        collate: maker of a batch from examples.
        num_workers: number of worker processes.
        draw_context: function of utterance id, transcript and epoch that draws a context; None: contexts of the data.
    """

    def __init__(
        self,
        dataset: SpeechDataset | ConcatenatedDataset,
        sampler: BucketSampler,
        collate: Collate,
        num_workers: int = 0,
        draw_context: Callable[[str, str, int], str] | None = None,
    ) -> None:
        self.sampler = sampler
        self._draw_context = draw_context
        # A separate generator: exact resume requires that the global random state does not change.
        self._loader = DataLoader(
            _OfEpoch(dataset),
            batch_sampler=_Requests(sampler),
            collate_fn=collate,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_end_with_parent,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches of the current epoch on this rank."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            batch.epoch = self.sampler.epoch
            if self._draw_context is not None:
                pairs = zip(batch.utt_ids, batch.texts, strict=True)
                batch.contexts = [self._draw_context(utt_id, text, batch.epoch) for utt_id, text in pairs]
            self.sampler.position += 1
            yield batch


@dataclass
class _Requests:
    """Batches of a sampler; each utterance is paired with the epoch."""

    sampler: BucketSampler

    def __iter__(self) -> Iterator[list[tuple[str, int]]]:
        for keys in self.sampler:
            yield [(key, self.sampler.epoch) for key in keys]


@dataclass
class _OfEpoch(Dataset[Example]):
    """Dataset that is indexed by utterance and epoch, because worker processes outlive an epoch."""

    dataset: SpeechDataset | ConcatenatedDataset

    def __getitem__(self, request: tuple[str, int]) -> Example:
        return self.dataset.read(*request)


def _end_with_parent(_worker: int) -> None:
    """Make a worker ignore signals that a terminal or launcher sends to all processes; only its parent may end it.

    SIGTERM from the parent ends the worker.
    """
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    parent = os.getppid()

    def wait() -> None:
        while True:
            info = signal.sigwaitinfo(signals)
            if info.si_signo == signal.SIGTERM and info.si_pid == parent:
                os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
