"""Batches: every utterance once, within the limits, equal numbers on all ranks, and exact resume."""

import math
from dataclasses import replace

import numpy as np
import pytest

from speechllm.data.concat import Groups
from speechllm.data.config import ConcatOptions, DataConfig
from speechllm.data.sampler import BucketSampler, sequential_batches
from speechllm.errors import ConfigError

CONFIG = DataConfig(max_duration=20.0, batch_duration=60.0, batch_size=8, num_buckets=5)


def durations(num_utts: int = 203) -> dict[str, float]:
    values = np.random.default_rng(1).uniform(0.5, 20.0, num_utts).round(2)
    return {f"utt{i:04d}": float(value) for i, value in enumerate(values)}


def epoch_of_all_ranks(world_size: int, epoch: int = 0, num_utts: int = 203) -> list[list[list[str]]]:
    ranks = []
    for rank in range(world_size):
        sampler = BucketSampler(durations(num_utts), CONFIG, 7, rank, world_size)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
    return ranks


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_utterance_once_an_epoch_over_evenly_loaded_ranks(world_size: int, epoch: int) -> None:
    ranks = epoch_of_all_ranks(world_size, epoch)
    assert len({len(batches) for batches in ranks}) == 1
    assert sorted(utt_id for batches in ranks for batch in batches for utt_id in batch) == sorted(durations())


def test_batches_keep_to_the_limits_and_waste_little() -> None:
    lengths = durations()
    batches = list(BucketSampler(lengths, CONFIG, 7))
    padded = [len(batch) * max(lengths[utt_id] for utt_id in batch) for batch in batches]
    assert max(padded) <= CONFIG.batch_duration
    assert max(len(batch) for batch in batches) == CONFIG.batch_size
    assert sum(lengths.values()) / sum(padded) > 0.8


def test_padding_to_a_window_counts_against_the_limit() -> None:
    batches = list(
        BucketSampler(durations(), CONFIG, 7, padded_duration=lambda duration: 30.0 * math.ceil(duration / 30))
    )
    assert max(len(batch) for batch in batches) == 2  # 60 s are two windows of 30 s


def test_ranks_work_on_like_durations_at_the_same_time() -> None:
    lengths = durations(800)
    ranks = epoch_of_all_ranks(2, num_utts=800)
    longest = np.array([[max(lengths[utt_id] for utt_id in batch) for batch in batches] for batches in ranks])
    across, apart = np.abs(longest[0] - longest[1]).mean(), np.abs(longest[0] - np.roll(longest[1], 1)).mean()
    assert across < 0.4 * apart


def test_an_epoch_is_drawn_from_seed_and_epoch_alone() -> None:
    sampler = BucketSampler(durations(), CONFIG, 7)
    first = list(sampler)
    sampler.set_epoch(4)
    fifth = list(sampler)
    again = BucketSampler(dict(reversed(durations().items())), CONFIG, 7)
    assert list(again) == first
    again.set_epoch(4)
    assert list(again) == fifth
    assert {frozenset(batch) for batch in first}.isdisjoint(frozenset(batch) for batch in fifth if len(batch) > 2)
    assert list(BucketSampler(durations(), CONFIG, 8)) != first


def test_equal_durations_are_mixed_too() -> None:
    sampler = BucketSampler({f"utt{i}": 5.0 for i in range(32)}, CONFIG, 7)
    first = {frozenset(batch) for batch in sampler}
    sampler.set_epoch(1)
    assert first.isdisjoint(frozenset(batch) for batch in sampler)


@pytest.mark.parametrize("position", [0, 1, 17, None])
def test_resume_yields_exactly_what_remained(position: int | None) -> None:
    sampler = BucketSampler(durations(), CONFIG, 7, 1, 2)
    sampler.set_epoch(3)
    batches = list(sampler)
    sampler.position = len(batches) if position is None else position
    resumed = BucketSampler(durations(), CONFIG, 7, 1, 2)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == batches[sampler.position :]
    assert (resumed.epoch, len(resumed)) == (3, len(batches))
    resumed.set_epoch(3)
    assert resumed.position == sampler.position
    resumed.set_epoch(4)
    sampler.set_epoch(4)
    assert list(resumed) == list(sampler)
    assert resumed.position == 0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (BucketSampler(durations(), CONFIG, 7, 0, 4), "number of processes .* found 4, expected 2"),
        (BucketSampler(durations(), CONFIG, 8, 0, 2), "seed .* found 8, expected 7"),
        (BucketSampler(durations(202), CONFIG, 7, 0, 2), "the utterances"),
        (BucketSampler(durations(), DataConfig(batch_size=9), 7, 0, 2), "limits"),
    ],
)
def test_resume_into_another_setting_is_refused(other: BucketSampler, words: str) -> None:
    state = BucketSampler(durations(), CONFIG, 7, 0, 2).state_dict()
    with pytest.raises(ConfigError, match=words):
        other.load_state_dict(state)


def test_batches_that_cannot_be_split_are_repeated_and_counted() -> None:
    config = DataConfig(batch_size=1)
    samplers = [BucketSampler(durations(5), config, 7, rank, 3) for rank in range(3)]
    batches = [batch for sampler in samplers for batch in sampler]
    assert [sampler.num_repeated for sampler in samplers] == [1, 1, 1]
    assert len(batches) == 6
    assert {batch[0] for batch in batches} == set(durations(5))
    assert BucketSampler(durations(2), DataConfig(), 7, 0, 4).num_repeated == 2


@pytest.mark.parametrize("make", [lambda: BucketSampler({}, CONFIG, 7), lambda: sequential_batches({}, CONFIG)])
def test_no_utterance_is_an_error(make: object) -> None:
    with pytest.raises(ConfigError, match="found no utterance"):
        make()


def test_sequential_batches_hold_every_utterance_once_and_longer_speech_alone() -> None:
    lengths = durations(40) | {"long": 100.0}
    batches = sequential_batches(lengths, CONFIG)
    assert batches[0] == ["long"]
    flat = [lengths[utt_id] for batch in batches for utt_id in batch]
    assert flat == sorted(lengths.values(), reverse=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 0}, "batch_size: found 0, expected at least 1"),
        ({"num_workers": -1}, "num_workers: found -1"),
        ({"min_duration": 31.0}, r"min_duration: found 31.0, .* max_duration \(30.0\)"),
        ({"batch_duration": 20.0}, r"batch_duration: found 20.0, expected at least max_duration"),
    ],
)
def test_a_config_that_cannot_work_is_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DataConfig(**values)


def test_shares_go_through_a_set_in_as_many_epochs_as_it_takes() -> None:
    durations = {f"{name}{k:03d}": 1.0 + k % 7 for name in "ab" for k in range(200)}
    shares = {utt: 1.0 if utt[0] == "a" else 0.25 for utt in durations}
    sampler = BucketSampler(durations, DataConfig(), seed=5, shares=shares)
    seen: list[str] = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        taken = [utt for batch in sampler for utt in batch]
        assert sum(utt[0] == "a" for utt in taken) == 200
        assert sum(utt[0] == "b" for utt in taken) == pytest.approx(50, abs=20)
        seen += [utt for utt in taken if utt[0] == "b"]
    assert sorted(seen) == sorted(utt for utt in durations if utt[0] == "b")  # each of them once
    everything = BucketSampler(durations, DataConfig(), seed=5)
    assert (
        everything.state_dict()
        == BucketSampler(durations, DataConfig(), 5, shares=dict.fromkeys(durations, 1.0)).state_dict()
    )


def test_utterances_are_joined_from_the_epoch_on_that_says_so() -> None:
    config = DataConfig(concat=ConcatOptions(probability=1.0), batch_duration=60.0, batch_size=8)

    def joined(sampler: BucketSampler) -> bool:
        return any(" " in utt for batch in sampler for utt in batch)

    sampler = BucketSampler(durations(), config, 7, concatenates=False)
    assert not joined(sampler)
    sampler.set_epoch(1, concatenates=False)
    resumed = BucketSampler(durations(), config, 7)
    assert joined(resumed)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == list(sampler)
    assert not joined(resumed)
    sampler.set_epoch(1)
    assert joined(sampler)
    assert BucketSampler(durations(), CONFIG, 7, concatenates=False).concatenates  # there is nothing to wait for


def tokens_of(groups: Groups) -> np.ndarray:
    assert len(groups.order_N) == (groups.bounds_G2[:, 1] - groups.bounds_G2[:, 0]).sum()
    return (20 + np.round(5 * groups.lengths_G)).astype(np.int32)


def test_with_packing_a_batch_costs_the_sums_of_its_tokens_and_seconds() -> None:
    config = replace(CONFIG, batch_tokens=300, batch_duration=40.0, batch_size=40)
    sampler = BucketSampler(durations(), config, 7, count_tokens=tokens_of)
    batches, lengths = list(sampler), durations()
    assert sorted(utt_id for batch in batches for utt_id in batch) == sorted(lengths)
    tokens = [sum(20 + round(5 * lengths[utt_id]) for utt_id in batch) for batch in batches]
    seconds = [sum(lengths[utt_id] for utt_id in batch) for batch in batches]
    assert 280 < max(tokens) <= 300 and 35 < max(seconds) <= 40
    one_more = 20 + 5 * 20  # each batch but the last of a bucket has no place for another utterance
    assert np.mean([t + one_more > 300 or s + 20 > 40 for t, s in zip(tokens, seconds, strict=True)]) > 0.9
    longest = [20 + round(5 * max(lengths[utt_id] for utt_id in batch)) for batch in batches]
    assert sampler.largest_batch(packing=True) == max(tokens)
    assert sampler.largest_batch(packing=False) == max(len(b) * n for b, n in zip(batches, longest, strict=True))


def test_an_utterance_beyond_the_caps_on_sums_is_a_batch_of_its_own() -> None:
    config = replace(CONFIG, batch_tokens=30)
    assert {len(batch) for batch in BucketSampler(durations(), config, 7, count_tokens=tokens_of)} == {1}


def test_resume_with_a_cap_on_tokens_yields_what_remained_and_another_cap_is_refused() -> None:
    config = replace(CONFIG, batch_tokens=300, concat=ConcatOptions(probability=0.5, duration=20))
    sampler = BucketSampler(durations(), config, 7, 1, 2, count_tokens=tokens_of)
    sampler.set_epoch(2)
    batches, sampler.position = list(sampler), 5
    resumed = BucketSampler(durations(), config, 7, 1, 2, count_tokens=tokens_of)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == batches[5:]
    other = BucketSampler(durations(), replace(config, batch_tokens=200), 7, 1, 2, count_tokens=tokens_of)
    with pytest.raises(ConfigError, match="the limits of a batch"):
        other.load_state_dict(sampler.state_dict())
