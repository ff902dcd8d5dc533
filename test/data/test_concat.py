"""Random concatenation: every utterance once, maximum duration, exact resume, equality with concatenated audio."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_data import make_data_dir, make_dump

from speechllm.data.concat import SEPARATOR, ConcatenatedDataset, draw_concatenated
from speechllm.data.config import ConcatOptions, DataConfig
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import read_data_dir, read_table, write_table
from speechllm.data.sampler import BucketSampler
from speechllm.errors import ConfigError
from speechllm.frontends import log_mel, waveform

LENGTHS = {f"utt{i:03d}": float(length) for i, length in enumerate(np.linspace(2, 16, 200))}


def draw(probability: float, seed: int = 0) -> dict[str, float]:
    lengths_N = np.array(list(LENGTHS.values()))
    drawn = draw_concatenated(lengths_N, ConcatOptions(probability=probability), 0.1, np.random.default_rng(seed))
    ids = list(LENGTHS)
    keys = [SEPARATOR.join(ids[row] for row in drawn.order_N[start:end]) for start, end in drawn.bounds_G2]
    assert keys == sorted(keys)
    return dict(zip(keys, drawn.lengths_G.tolist(), strict=True))


@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_every_utterance_occurs_once_and_groups_are_as_long_as_they_say(probability: float) -> None:
    joined = draw(probability)
    assert sorted(utt_id for key in joined for utt_id in key.split(SEPARATOR)) == sorted(LENGTHS)
    for key, length in joined.items():
        parts = [LENGTHS[utt_id] for utt_id in key.split(SEPARATOR)]
        assert length == pytest.approx(sum(parts) + 0.1 * (len(parts) - 1))
        assert length <= 30.0 or len(parts) == 1


def test_the_probability_is_that_of_an_utterance_to_be_followed() -> None:
    assert draw(0.0).keys() == LENGTHS.keys()
    followed = np.mean([len(key.split(SEPARATOR)) > 1 for seed in range(20) for key in draw(0.4, seed)])
    assert 0.33 < followed < 0.47
    assert np.mean(list(draw(1.0).values())) > 20


def test_a_resumed_epoch_is_the_same_and_the_next_is_another() -> None:
    config = DataConfig(concat=ConcatOptions(probability=0.5))
    sampler, resumed = (BucketSampler(LENGTHS, config, 3, silence=0.1) for _ in range(2))
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.position = 4
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == second[4:]
    assert {key for batch in first for key in batch} != {key for batch in second for key in batch}
    assert sorted(u for batch in second for key in batch for u in key.split(SEPARATOR)) == sorted(LENGTHS)
    assert max(sum(1 for _ in batch) for batch in first) <= config.batch_size


def test_ranks_share_one_draw() -> None:
    config = DataConfig(concat=ConcatOptions(probability=0.5))
    ranks = [list(BucketSampler(LENGTHS, config, 3, rank, 3, silence=0.1)) for rank in range(3)]
    keys = [key for batches in ranks for batch in batches for key in batch]
    assert sorted(u for key in keys for u in key.split(SEPARATOR)) == sorted(LENGTHS)


def test_joined_features_are_those_of_joined_samples(tmp_path: Path) -> None:
    """Except for three frames at each boundary, where the analysis window (2.5 hops) crosses it."""
    data_dir = make_data_dir(tmp_path, 0.5, 1.2345, 0.777, text="SO IT IS")
    frontend = log_mel.Config().build()
    dump_job(data_dir, tmp_path / "dump", frontend.extract, frontend.fingerprint(), 16000, 1, 1, False)
    merge_dump(data_dir, tmp_path / "dump", 1)
    dataset = DumpDataset(tmp_path / "dump", "sentence")
    joined = ConcatenatedDataset(dataset, ConcatOptions(silence=0.095), frontend)
    keys = ["spk1-001", "spk0-000", "spk0-002"]
    example = joined[SEPARATOR.join(keys)]

    assert example.utt_id == "spk1-001 spk0-000 spk0-002"
    assert example.text == "So it is so it is so it is"
    assert example.duration == pytest.approx(len(example.inputs_TF) / 100)
    assert len(example.inputs_TF) == sum(dataset.num_frames[key] for key in keys) + 2 * 10
    starts, samples = [], np.zeros(0, np.float32)
    paths = {utt.utt_id: utt.path for utt in read_data_dir(data_dir).utts}
    for key in keys:
        if len(samples):
            frames = -(-(len(samples) + 200) // 160) + 10  # the dump of the previous utterance, and the silence
            samples = np.pad(samples, (0, frames * 160 - len(samples)))
        starts.append(len(samples) // 160)
        samples = np.concatenate([samples, soundfile.read(paths[key], dtype="float32")[0]])
    error_T = np.abs(frontend.extract(samples) - example.inputs_TF).max(1)
    for start in starts[1:]:
        assert (error_T[start - 1 : start + 2] > 1e-3).all()
        error_T[start - 1 : start + 2] = 0
    assert error_T.max() < 1e-4  # measured: 8e-6


def test_joined_waveforms_are_the_samples(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path, 0.2, 0.3)
    frontend = waveform.Config().build()
    dump_job(data_dir, tmp_path / "dump", frontend.extract, frontend.fingerprint(), 16000, 1, 1, False)
    merge_dump(data_dir, tmp_path / "dump", 1)
    dataset = DumpDataset(tmp_path / "dump")
    one = ConcatenatedDataset(dataset, ConcatOptions(silence=0.1), frontend)["spk0-000 spk1-001"].inputs_TF
    assert one.shape == (3200 + 1600 + 4800, 1)
    assert (one[3200:4800] == 0).all()
    np.testing.assert_array_equal(one[4800:], dataset["spk1-001"].inputs_TF)


def test_a_single_utterance_is_left_as_it_is(tmp_path: Path) -> None:
    dataset = DumpDataset(make_dump(tmp_path, 0.2, 0.3))
    joined = ConcatenatedDataset(dataset, ConcatOptions(), log_mel.Config().build())
    assert torch.equal(torch.tensor(joined["spk1-001"].inputs_TF), torch.tensor(dataset["spk1-001"].inputs_TF))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dump": "encoder"}, "found dump 'encoder', expected features, which can be concatenated"),
        ({"batch_duration": 29.0, "max_duration": 20.0}, "expected at least concat.duration"),
    ],
)
def test_what_excludes_joining_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(concat=ConcatOptions(), **options)


@pytest.mark.parametrize("options", [{"probability": 1.2}, {"duration": 0.0}, {"silence": -0.1}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="found"):
        ConcatOptions(**options)


@pytest.mark.parametrize("concatenates", [False, True])
def test_transcripts_come_in_all_their_forms(tmp_path: Path, concatenates: bool) -> None:
    dataset = DumpDataset(make_dump(tmp_path, 0.5, text="SO IT IS"), "sentence")
    joined = ConcatenatedDataset(dataset, ConcatOptions() if concatenates else None, log_mel.Config().build())
    assert list(joined.texts(np.array([0]))) == ["So it is"] + ["So it is so it is"] * concatenates


def test_what_has_no_words_adds_none_to_what_it_is_joined_to(tmp_path: Path) -> None:
    dump_dir = make_dump(tmp_path, 0.2, 0.3, 0.2)
    write_table(dump_dir / "text", read_table(dump_dir / "text") | {"spk1-001": ""})
    dataset = DumpDataset(dump_dir, "sentence")
    joined = ConcatenatedDataset(dataset, ConcatOptions(), log_mel.Config().build())
    assert joined["spk0-000 spk1-001 spk0-002"].text == "Hello world hello world"
