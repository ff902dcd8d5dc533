"""Samplers: assignment of utterances to batches, and of batches to ranks and steps.

The plan of an epoch depends only on the durations of the utterances, the configuration, the seed and the epoch, so
every rank computes the same plan and takes its share. The plan is stored in arrays, because an epoch may have millions
of utterances in every process.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from torch.utils.data import Sampler

from speechllm.data.columns import Numbers
from speechllm.data.concat import SEPARATOR, Groups, draw_concatenated
from speechllm.data.config import DataConfig
from speechllm.errors import ConfigError
from speechllm.interfaces import Seconds

PaddedDuration: TypeAlias = Callable[[Seconds], Seconds]
CountTokens: TypeAlias = Callable[[Groups], np.ndarray]
"""Returns the number of LLM tokens of each group; its utterances are rows of ``durations``."""


def _unpadded(duration: Seconds) -> Seconds:
    return duration


class BatchCaps(Protocol):
    """Limits of a batch, as in the ``data`` and ``decode`` sections of an experiment."""

    @property
    def batch_size(self) -> int:
        """Maximum number of utterances."""
        ...

    @property
    def batch_duration(self) -> Seconds:
        """Maximum of the longest duration times the number of utterances (seconds)."""
        ...


class BucketSampler(Sampler[list[str]]):
    """Training batches of similar duration, drawn in every epoch, with the same number on every rank.

    In every epoch the utterances are sorted by duration and split into buckets with random edges. Each bucket is
    shuffled, batches are filled up to the limits, and the batches are shuffled. At each step all ranks get batches of
    similar duration. Every utterance occurs exactly once per epoch over all ranks: if the number of batches is not a
    multiple of the number of ranks, some batches are split in two. Only if every batch has a single utterance, up to
    ``world_size - 1`` batches are repeated; ``num_repeated`` counts them.

    With ``shares`` an epoch has only this fraction of the utterances, and the next epoch continues with the others, so
    all have occurred after 1 / share epochs. With ``config.concat``, a batch consists of groups of utterances, drawn by
    ``draw_concatenated`` in every epoch.

    ``position`` is the number of batches of this epoch that the trainer has taken from the loader; iteration starts
    there. ``batch.Loader`` counts them, so batches read ahead are not lost.

    Args:
        durations: duration of each utterance.
        config: limits and number of buckets.
        seed: random seed, combined with the epoch.
        rank: rank of this process, from 0.
        world_size: number of training processes.
        padded_duration: maps a duration to that of the encoder's input (``Encoder.padded_duration``), which
            ``config.batch_duration`` limits.
        silence: silence between concatenated utterances, rounded up to whole frames.
        shares: fraction of its set in an epoch, for each utterance, above 0 and up to 1; None: 1.
        concatenates: whether ``config.concat`` applies to the first epoch; ``set_epoch`` sets it for others.
        count_tokens: returns the numbers of tokens that ``config.batch_tokens`` limits; required for it and for
            ``largest_batch``.

    Raises:
        ConfigError: if there are no utterances.
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
        count_tokens: CountTokens | None = None,
    ) -> None:
        assert config.batch_tokens is None or count_tokens is not None
        self._count_tokens = count_tokens
        assert 0 <= rank < world_size
        self.concatenates = concatenates or config.concat is None
        self._single, self._padded_duration, self._silence = Numbers.of(durations), padded_duration, silence
        self._shares_N = None if shares is None else Numbers.of(shares).of_ids(self._single.ids)
        self.config, self.seed, self.rank, self.world_size = config, seed, rank, world_size
        self.position = 0
        self.epoch = 0
        self._plan = ""
        """Fingerprint of the epoch's batches, computed on demand."""
        self._draw()

    def set_epoch(self, epoch: int, *, concatenates: bool = True) -> None:
        """Draw the batches of ``epoch`` and set the position to its start; do nothing if it is the current epoch.

        ``concatenates`` is whether ``config.concat`` applies to it. An epoch that ends early omits some utterances;
        with ``shares``, they occur in a later round.
        """
        concatenates = concatenates or self.config.concat is None
        if (epoch, concatenates) != (self.epoch, self.concatenates):
            self.epoch, self.concatenates, self.position = epoch, concatenates, 0
            self._draw()

    def __len__(self) -> int:
        """Return the number of this rank's batches in the current epoch, including those already taken."""
        return len(self._steps_SR)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the current epoch's batches of utterance ids from ``position`` on."""
        for batch in self._steps_SR[self.position :, self.rank]:
            yield self._keys(int(batch))

    def state_dict(self) -> dict[str, Any]:
        """Return the state for resuming; it is the same on every rank."""
        return {
            "epoch": self.epoch,
            "concatenates": self.concatenates,
            "position": self.position,
            **self._fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the position of ``state``: iteration yields exactly the remaining batches.

        Raises:
            ConfigError: if the number of ranks, the seed, the utterances or the limits have changed.
        """
        self.set_epoch(state["epoch"], concatenates=state.get("concatenates", True))
        for key, found in self._fingerprint().items():
            if found != state[key]:
                raise ConfigError(
                    f"resume: {_MEANING[key]} changed since the checkpoint was written, found {found}, expected "
                    f"{state[key]}; restore it, or start a new experiment"
                )
        self.position = state["position"]

    def largest_batch(self, *, packing: bool) -> int:
        """Return the number of LLM positions in the largest batch of the current epoch on all ranks, with padding."""
        assert self._largest is not None
        return self._largest[packing]

    def _fingerprint(self) -> dict[str, Any]:
        self._plan = self._plan or self._plan_fingerprint()
        return {"world_size": self.world_size, "seed": self.seed, "plan": self._plan}

    def _plan_fingerprint(self) -> str:
        """Return the fingerprint of the epoch's batches, computed from their JSON step by step."""
        digest = hashlib.sha256(b"[")
        for number, step_R in enumerate(self._steps_SR):
            text = json.dumps([self._keys(int(batch)) for batch in step_R])
            digest.update(f"{', ' if number else ''}{text}".encode())
        digest.update(b"]")
        return digest.hexdigest()[:16]

    def _draw(self) -> None:
        rng = np.random.default_rng([self.seed, self.epoch])
        rows_N = self._taken()
        lengths_G = self._single.values_N[rows_N]
        self._rows_N, self._groups_G = rows_N, None  # without concatenation, utterances are the groups
        if self.config.concat is not None and self.concatenates and len(rows_N):
            drawn = draw_concatenated(lengths_G, self.config.concat, self._silence, rng)
            self._rows_N, self._groups_G, lengths_G = rows_N[drawn.order_N], drawn.bounds_G2, drawn.lengths_G
        num_groups = len(lengths_G)
        padded_G = _padded_durations(lengths_G, self._padded_duration)
        order = rng.permutation(num_groups)  # random order of equal durations
        order = order[np.argsort(lengths_G[order], kind="stable")]
        size = max(-(-num_groups // self.config.num_buckets), self.config.batch_size)
        edges = range(int(rng.integers(1, size + 1)), num_groups, size)
        order = np.concatenate([rng.permutation(bucket) for bucket in np.split(order, edges)])
        tokens_G = self._count(lengths_G)
        if self.config.batch_tokens is None or tokens_G is None:
            starts = _cut(padded_G[order], self.config)
        else:
            starts = _cut_by_sums(padded_G[order], tokens_G[order], self.config, self.config.batch_tokens)
        self._order_G = order.astype(np.int32)
        self._starts_B, numbers = _make_even(starts, num_groups, self.world_size)
        self._largest = None if tokens_G is None else _positions(tokens_G[order], self._starts_B)
        self.num_repeated = len(numbers) - len(self._starts_B) + 1
        steps_SR = np.array(numbers, np.int32).reshape(-1, self.world_size)
        self._steps_SR = steps_SR[rng.permutation(len(steps_SR))]
        self._plan = ""

    def _count(self, lengths_G: np.ndarray) -> np.ndarray | None:
        """Return the number of tokens of each group; None without ``count_tokens``."""
        if self._count_tokens is None:
            return None
        singles_G = np.arange(len(lengths_G) + 1, dtype=np.int32)
        bounds_G2 = np.stack([singles_G[:-1], singles_G[1:]], 1) if self._groups_G is None else self._groups_G
        return self._count_tokens(Groups(self._rows_N, bounds_G2, lengths_G))

    def _keys(self, batch: int) -> list[str]:
        """Return the groups of a batch, each as the ids of its utterances."""
        return [self._key(int(group)) for group in self._order_G[self._starts_B[batch] : self._starts_B[batch + 1]]]

    def _key(self, group: int) -> str:
        first, end = (group, group + 1) if self._groups_G is None else self._groups_G[group]
        return SEPARATOR.join(self._single.ids[int(row)] for row in self._rows_N[first:end])

    def _taken(self) -> np.ndarray:
        """Return the rows of this epoch's utterances: a window that moves by its own width in every epoch."""
        num_utts = len(self._single)
        if self._shares_N is None:
            return np.arange(num_utts, dtype=np.int32)
        places_N = np.random.default_rng(self.seed).permutation(num_utts) / num_utts
        return np.flatnonzero((places_N - self.epoch * self._shares_N) % 1 < self._shares_N).astype(np.int32)


def sequential_batches(
    durations: Mapping[str, Seconds], config: BatchCaps, padded_duration: PaddedDuration = _unpadded
) -> list[list[str]]:
    """Return batches of utterance ids for validation and decoding: every utterance once, the longest first.

    With this order, a batch that exceeds the memory fails at once. An utterance longer than ``config.batch_duration``
    is a batch on its own.

    Args:
        durations: duration of each utterance.
        config: limits of a batch.
        padded_duration: as for ``BucketSampler``.

    Raises:
        ConfigError: if there are no utterances.
    """
    order = sorted(durations, key=lambda utt_id: (durations[utt_id], utt_id), reverse=True)
    padded_N = _padded_durations(np.array([durations[utt_id] for utt_id in order]), padded_duration)
    starts = _cut(padded_N, config)
    return [order[start:end] for start, end in itertools.pairwise([*starts, len(order)])]


def by_duration(durations: Mapping[str, Seconds]) -> list[str]:
    """Return utterance ids, shortest first; equal durations in the order of their ids."""
    return sorted(durations, key=lambda utt_id: (durations[utt_id], utt_id))


_MEANING = {
    "world_size": "the number of processes (GPUs)",
    "seed": "the seed",
    "plan": "the utterances, their durations or the limits of a batch (fingerprint)",
}


def _padded_durations(durations_N: np.ndarray, padded_duration: PaddedDuration) -> np.ndarray:
    if not len(durations_N):
        raise ConfigError("batches: found no utterance, expected at least one; see the list of skipped utterances")
    return np.fromiter((padded_duration(float(one)) for one in durations_N), np.float64, len(durations_N))


def _cut(padded_N: np.ndarray, config: BatchCaps) -> list[int]:
    """Return the starts of maximal batches in a sequence of padded durations."""
    starts = [0]
    longest = 0.0
    for place, padded in enumerate(padded_N):
        longest = max(longest, padded)
        num_utts = place - starts[-1]
        if num_utts and (num_utts >= config.batch_size or (num_utts + 1) * longest > config.batch_duration):
            starts.append(place)
            longest = padded
    return starts


def _cut_by_sums(padded_N: np.ndarray, tokens_N: np.ndarray, config: BatchCaps, batch_tokens: int) -> list[int]:
    """Return the starts of maximal batches, with limits on the sums of seconds and of tokens."""
    starts = [0]
    seconds, tokens = 0.0, 0
    for place, (padded, count) in enumerate(zip(padded_N, tokens_N, strict=True)):
        seconds, tokens = seconds + padded, tokens + int(count)
        num_utts = place - starts[-1]
        is_full = num_utts >= config.batch_size or seconds > config.batch_duration or tokens > batch_tokens
        if num_utts and is_full:
            starts.append(place)
            seconds, tokens = padded, int(count)
    return starts


def _positions(tokens_G: np.ndarray, bounds: np.ndarray) -> tuple[int, int]:
    """Return the number of LLM positions in the largest batch, padded and packed."""
    sums_B = np.add.reduceat(tokens_G, bounds[:-1], dtype=np.int64)
    longest_B = np.maximum.reduceat(tokens_G, bounds[:-1])
    return int((np.diff(bounds) * longest_B).max()), int(sums_B.max())


def _make_even(starts: list[int], num_groups: int, world_size: int) -> tuple[np.ndarray, list[int]]:
    """Make the number of batches a multiple of ``world_size``.

    Returns:
        The bounds of the batches, after splitting the largest, and the indices of the batches, with the first ones
        repeated if no batch can be split.
    """
    bounds = np.array([*starts, num_groups])
    num_repeated = 0
    for _ in range(-len(starts) % world_size):
        sizes = np.diff(bounds)
        largest = int(np.argmax(sizes))
        if sizes[largest] > 1:
            bounds = np.insert(bounds, largest + 1, bounds[largest] + sizes[largest] // 2)
        else:
            num_repeated += 1
    num_batches = len(bounds) - 1
    return bounds, [number % num_batches for number in range(num_batches + num_repeated)]
