"""Which utterances form a batch, on which rank and in which order.

Everything follows from the utterances' durations, the config, the seed and the epoch, so every rank
works out the same plan on its own and takes its share of it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from torch.utils.data import Sampler

from speechllm.data.concat import draw_concatenated
from speechllm.data.config import DataConfig
from speechllm.errors import ConfigError
from speechllm.interfaces import Seconds

PaddedDuration: TypeAlias = Callable[[Seconds], Seconds]


def _unpadded(duration: Seconds) -> Seconds:
    return duration


class BatchCaps(Protocol):
    """What limits a batch: the ``data`` section of an experiment, and the ``decode`` section."""

    @property
    def batch_size(self) -> int:
        """Utterances."""
        ...

    @property
    def batch_duration(self) -> Seconds:
        """The longest utterance times their number (seconds)."""
        ...


class BucketSampler(Sampler[list[str]]):
    """Batches of similar duration for training, drawn anew every epoch, equally many on every rank.

    Every epoch cuts the utterances, sorted by duration, into buckets whose edges move, shuffles each
    bucket, fills batches up to the limits, and shuffles the batches. At one step all ranks work on
    batches of similar duration. Every utterance occurs exactly once an epoch over all ranks: where the
    number of batches is no multiple of the ranks, some are split in two. Only if every batch holds a
    single utterance are up to ``world_size - 1`` batches repeated; ``num_repeated`` counts them.

    With ``shares`` an epoch has only that share of the utterances; the next goes on where it ended, so all of them
    have occurred after 1 / share epochs. With ``config.concat``, a batch names groups of utterances, joined anew every
    epoch by ``draw_concatenated``.

    ``position`` is the number of batches of this epoch that the trainer has taken from the loader
    (``batch.Loader`` counts them, so batches read ahead are not lost); iteration starts there.

    Args:
        durations: of each utterance.
        config: limits and number of buckets.
        seed: of the shuffling, together with the epoch.
        rank: which of the ``world_size`` shares this process takes.
        world_size: number of processes that train together.
        padded_duration: maps a duration to the one that the encoder computes for it (``Encoder.padded_duration``),
            which counts against ``config.batch_duration``.
        silence: between utterances that ``config.concat`` concatenates, as it will be.
        shares: how much of its set each utterance stands for in an epoch, above 0 and up to 1; None: all.
        concatenates: whether ``config.concat`` is followed in the first epoch; ``set_epoch`` says so of the others.

    Raises:
        ConfigError: if there is no utterance.
    """

    def __init__(
        self,
        durations: Mapping[str, Seconds],
        config: DataConfig,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        padded_duration: PaddedDuration = _unpadded,
        silence: Seconds = 0.0,
        shares: Mapping[str, float] | None = None,
        concatenates: bool = True,
    ) -> None:
        assert 0 <= rank < world_size
        self.concatenates = concatenates or config.concat is None
        self._shares = shares
        self._single, self._padded_duration, self._silence = dict(durations), padded_duration, silence
        self.config, self.seed, self.rank, self.world_size = config, seed, rank, world_size
        self.position = 0
        self.epoch = 0
        self._draw()

    def set_epoch(self, epoch: int, *, concatenates: bool = True) -> None:
        """Draw the batches of ``epoch`` and go to its beginning; the present epoch is left where it is.

        ``joins`` says whether ``config.concat`` is followed in it. An epoch that is left before its end has not had
        every utterance; with ``shares``, the others come again in a later round.
        """
        concatenates = concatenates or self.config.concat is None
        if (epoch, concatenates) != (self.epoch, self.concatenates):
            self.epoch, self.concatenates, self.position = epoch, concatenates, 0
            self._draw()

    def __len__(self) -> int:
        """Return the number of this rank's batches in the present epoch, those already taken included."""
        return len(self._steps)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the present epoch's batches of utterance ids from ``position`` on."""
        for step in self._steps[self.position :]:
            yield step[self.rank]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs; the same on every rank."""
        return {
            "epoch": self.epoch,
            "concatenates": self.concatenates,
            "position": self.position,
            **self._fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where ``state`` was taken: iteration yields exactly the batches that remained.

        Raises:
            ConfigError: if the number of ranks, the seed, the utterances or the limits are others now.
        """
        self.set_epoch(state["epoch"], concatenates=state.get("concatenates", True))
        for key, found in self._fingerprint().items():
            if found != state[key]:
                raise ConfigError(
                    f"resume: {_MEANING[key]} changed since the checkpoint was written, found {found}, expected "
                    f"{state[key]}; restore it, or start a new experiment"
                )
        self.position = state["position"]

    def _fingerprint(self) -> dict[str, Any]:
        plan = hashlib.sha256(json.dumps(self._steps).encode()).hexdigest()[:16]
        return {"world_size": self.world_size, "seed": self.seed, "plan": plan}

    def _draw(self) -> None:
        rng = np.random.default_rng([self.seed, self.epoch])
        items = self._single if self._shares is None else self._taken(self._shares)
        if self.config.concat is not None and self.concatenates and items:
            items = draw_concatenated(items, self.config.concat, self._silence, rng)
        padded = _padded_durations(items, self._padded_duration)
        ids = np.array(sorted(items), dtype=object)
        num_utts = len(ids)
        order = rng.permutation(num_utts)  # decides between equal durations
        order = order[np.argsort(np.array([items[one] for one in ids])[order], kind="stable")]
        size = max(-(-num_utts // self.config.num_buckets), self.config.batch_size)
        edges = range(int(rng.integers(1, size + 1)), num_utts, size)
        buckets = [rng.permutation(bucket) for bucket in np.split(order, edges)]
        batches = _fill(ids[np.concatenate(buckets)], padded, self.config)
        self.num_repeated = _make_even(batches, self.world_size)
        steps = [batches[i : i + self.world_size] for i in range(0, len(batches), self.world_size)]
        self._steps = [steps[i] for i in rng.permutation(len(steps))]

    def _taken(self, shares: Mapping[str, float]) -> dict[str, Seconds]:
        """Return the utterances of this epoch: those in a window that moves by its own width every epoch."""
        ids = sorted(self._single)
        places_N = np.random.default_rng(self.seed).permutation(len(ids)) / len(ids)
        shares_N = np.array([shares[one] for one in ids])
        taken_N = (places_N - self.epoch * shares_N) % 1 < shares_N
        return {ids[i]: self._single[ids[i]] for i in np.flatnonzero(taken_N)}


def sequential_batches(
    durations: Mapping[str, Seconds], config: BatchCaps, padded_duration: PaddedDuration = _unpadded
) -> list[list[str]]:
    """Return batches of utterance ids for validation and decoding: every utterance once, the longest first.

    The order lets a batch that is too large for the memory fail at once. An utterance longer than
    ``config.batch_duration`` is a batch of its own.

    Args:
        durations: of each utterance.
        config: largest batch.
        padded_duration: as for ``BucketSampler``.

    Raises:
        ConfigError: if there is no utterance.
    """
    order = sorted(durations, key=lambda utt_id: (durations[utt_id], utt_id), reverse=True)
    return _fill(order, _padded_durations(durations, padded_duration), config)


def by_duration(durations: Mapping[str, Seconds]) -> list[str]:
    """Return utterance ids, shortest first; equal durations in the order of their ids."""
    return sorted(durations, key=lambda utt_id: (durations[utt_id], utt_id))


_MEANING = {
    "world_size": "the number of processes (GPUs)",
    "seed": "the seed",
    "plan": "the utterances, their durations or the limits of a batch (fingerprint)",
}


def _padded_durations(durations: Mapping[str, Seconds], padded_duration: PaddedDuration) -> dict[str, Seconds]:
    if not durations:
        raise ConfigError("batches: found no utterance, expected at least one; see which were skipped and why")
    return {utt_id: padded_duration(duration) for utt_id, duration in durations.items()}


def _fill(utt_ids: Iterable[str], padded: Mapping[str, Seconds], config: BatchCaps) -> list[list[str]]:
    """Cut a sequence of utterances into batches, each as large as the limits allow."""
    batches: list[list[str]] = []
    longest = 0.0
    for utt_id in utt_ids:
        longest = max(longest, padded[utt_id])
        fits = batches and len(batches[-1]) < config.batch_size
        if fits and (len(batches[-1]) + 1) * longest <= config.batch_duration:
            batches[-1].append(utt_id)
        else:
            batches.append([utt_id])
            longest = padded[utt_id]
    return batches


def _make_even(batches: list[list[str]], world_size: int) -> int:
    """Make the number of batches a multiple of ``world_size``, in place; return how many had to be repeated."""
    num_repeated = 0
    for _ in range(-len(batches) % world_size):
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        half = len(batches[largest]) // 2
        if half:
            batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
        else:
            batches.append(batches[num_repeated])
            num_repeated += 1
    return num_repeated
