"""Batches: results of an utterance do not depend on the others, on workers or on the dump's compression."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy_data import make_data_dir, make_dump
from transformers import WhisperFeatureExtractor

from speechllm.data.audio.read import read_audio
from speechllm.data.batch import BatchList, Collate, Loader
from speechllm.data.config import DataConfig
from speechllm.data.dataset import Example
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.sampler import BucketSampler, sequential_batches
from speechllm.encoders import whisper
from speechllm.frontends import log_mel

FRONTEND = log_mel.Config().build()


def example(utt_id: str, inputs_TF: np.ndarray) -> Example:
    return Example(utt_id=utt_id, inputs_TF=inputs_TF, text=f"text of {utt_id}", duration=1.0)


def log_mels(*lengths: int) -> list[Example]:
    rng = np.random.default_rng(0)
    return [example(f"u{n}", rng.uniform(-10, 2, (n, 80)).astype(np.float32)) for n in lengths]


def test_an_utterance_does_not_depend_on_its_batch_mates() -> None:
    examples = log_mels(120, 3002, 47, 3500)
    collate = Collate(encoded=False)
    together = collate(examples)
    assert together.feat_lens_B.tolist() == [120, 3002, 47, 3500]
    assert together.inputs.shape == (4, 3500, 80)
    for i, one in enumerate(examples):
        alone = collate([one])
        length = alone.inputs.shape[1]
        assert torch.equal(together.inputs[i, :length], alone.inputs[0])
        assert not together.inputs[i, length:].any()


def test_states_become_float32_padded_with_zeros() -> None:
    states = [np.ones((5, 4), np.float16), np.full((3, 4), 2, np.float16)]
    batch = Collate(encoded=True)([example("a", states[0]), example("b", states[1])])
    assert batch.encoded
    assert batch.inputs.dtype == torch.float32
    assert batch.feat_lens_B.tolist() == [5, 3]
    assert batch.feat_lens_B.dtype == torch.int64
    assert (batch.inputs[1, :3] == 2).all()
    assert (batch.inputs[1, 3:] == 0).all()


def test_a_batch_moves_and_keeps_the_rest() -> None:
    batch = Collate(encoded=False)(log_mels(120, 47))
    moved = batch.to("meta")
    assert moved.inputs.is_meta
    assert moved.feat_lens_B.device.type == "cpu"  # read by the CPU, which must not wait for a device
    assert (moved.utt_ids, moved.texts, moved.durations) == (
        ["u120", "u47"],
        ["text of u120", "text of u47"],
        [1.0, 1.0],
    )


def test_shuffled_speech_is_that_of_the_one_before() -> None:
    batch = Collate(encoded=False)(log_mels(120, 47, 80))
    wrong = batch.shuffled()
    assert wrong.texts == batch.texts
    assert wrong.feat_lens_B.tolist() == [80, 120, 47]
    assert torch.equal(wrong.inputs[1], batch.inputs[0])
    with pytest.raises(AssertionError):
        Collate(encoded=False)(log_mels(120)).shuffled()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_counts_what_was_taken_not_what_was_read_ahead(tmp_path: Path, num_workers: int) -> None:
    dataset = DumpDataset(make_dump(tmp_path, *np.linspace(0.2, 1.0, 12).round(3), encoded=True))
    config = DataConfig(batch_size=2)
    collate = Collate(encoded=True)
    sampler = BucketSampler(dataset.durations, config, seed=3)
    loader = Loader(dataset, sampler, collate, num_workers)
    expected = list(sampler)
    random_state = torch.get_rng_state()
    seen = []
    for batch in loader:
        seen.append(batch.utt_ids)
        if len(seen) == 2:
            break
    state = sampler.state_dict()
    assert (seen, state["position"]) == (expected[:2], 2)

    resumed = BucketSampler(dataset.durations, config, seed=3)
    resumed.load_state_dict(state)
    rest = [batch.utt_ids for batch in Loader(dataset, resumed, collate)]
    assert seen + rest == expected
    assert [batch.utt_ids for batch in loader] == rest  # the interrupted one goes on where it was, too
    sampler.set_epoch(1)
    resumed.set_epoch(1)
    batches = list(loader)
    assert [batch.utt_ids for batch in batches] == list(resumed)
    assert {batch.epoch for batch in batches} == {1}
    assert len(loader) == 6
    assert torch.equal(torch.get_rng_state(), random_state)


def test_batches_of_a_list_are_read_when_asked_for(tmp_path: Path) -> None:
    dataset = DumpDataset(make_dump(tmp_path, 0.2, 0.9, 0.5, encoded=True))
    batches = sequential_batches(dataset.durations, DataConfig(batch_size=2))
    chosen = BatchList(dataset, batches, Collate(encoded=True))
    assert len(chosen) == 2
    for _ in range(2):
        assert [batch.utt_ids for batch in chosen] == [["spk1-001", "spk0-002"], ["spk0-000"]]


@pytest.mark.parametrize(("compress", "tolerance"), [(False, 2e-5), (True, 6e-5)])
def test_from_audio_to_batch_equals_transformers(
    tmp_path: Path, tiny_whisper: Path, compress: bool, tolerance: float
) -> None:
    """Measured worst case of the 16 bits: half a step of log energies from -10 to 2, over 4: 2.3e-5."""
    data_dir = make_data_dir(tmp_path, 0.5, 1.2345, 2.0)
    dump_job(data_dir, tmp_path / "dump", FRONTEND.extract, FRONTEND.fingerprint(), 16000, 1, 1, compress)
    merge_dump(data_dir, tmp_path / "dump", 1)
    dataset = DumpDataset(tmp_path / "dump")
    batch = Collate(encoded=False)([dataset[utt_id] for utt_id in dataset.utt_ids])
    feats_BTF = whisper.Config(path=str(tiny_whisper)).build().normalize(batch.inputs, batch.feat_lens_B)
    samples = [read_audio(utt.path, 16000) for utt in read_data_dir(data_dir).utts]
    expected_BFT = WhisperFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt").input_features
    assert (feats_BTF - expected_BFT.transpose(1, 2)).abs().max() < tolerance
