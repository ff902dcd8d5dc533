"""Features extracted while training: those of a dump, augmented by seed, epoch and utterance alone."""

import pathlib
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_data import make_data_dir

from speechllm.build import open_set
from speechllm.connectors import fc
from speechllm.data.audio_dataset import AudioDataset
from speechllm.data.batch import Batch, Collate, Loader
from speechllm.data.concat import ConcatenatedDataset
from speechllm.data.config import AugmentOptions, ConcatOptions, DataConfig, SpecAugmentOptions
from speechllm.data.dataset import Example, select_for_training
from speechllm.data.derive.augment import Augmentation, Augmenter, augment
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import read_data_dir, write_data_dir
from speechllm.data.sampler import BucketSampler
from speechllm.data.spec_augment import SpecAugment
from speechllm.decoders import causal_lm
from speechllm.encoders import whisper
from speechllm.errors import ConfigError, DataError
from speechllm.experiment import load_config
from speechllm.frontends import log_mel, waveform
from speechllm.models.prompt import PromptConfig
from speechllm.models.speech_llm import SpeechLLM
from speechllm.train.tokens import TokenCounter

FRONTEND = log_mel.Config().build()
AUGMENT = AugmentOptions(speeds=(0.9, 1.0, 1.1), snr=(5.0, 20.0), reverberation=(0.2, 0.5), probability=0.6)


def with_segments(data_dir: Path) -> Path:
    """Write a copy of a data directory whose utterances are the middles of its recordings."""
    utts = read_data_dir(data_dir).utts
    middles = [replace(one, recording=f"rec-{one.utt_id}", start=0.1, end=0.3, duration=0.2) for one in utts]
    write_data_dir(data_dir.with_name("segments"), middles)
    return data_dir.with_name("segments")


@pytest.mark.parametrize("kind", [log_mel, waveform])
def test_without_augmentation_features_are_those_of_a_dump(tmp_path: Path, kind: object) -> None:
    frontend = kind.Config().build()
    whole = make_data_dir(tmp_path, 0.5, 1.2345, 0.777)
    for data_dir in (whole, with_segments(whole)):
        out_dir = tmp_path / "dump" / data_dir.name
        dump_job(data_dir, out_dir, frontend.extract, frontend.fingerprint(), 16000, 1, 1, compress=False)
        merge_dump(data_dir, out_dir, 1)
        dumped, read = DumpDataset(out_dir, "sentence"), AudioDataset(data_dir, frontend, "sentence")
        assert list(dumped.utt_ids) == list(read.utt_ids)
        assert dict(dumped.durations) == dict(read.durations)
        for utt_id in dumped.utt_ids:
            expected, found = dumped[utt_id], read[utt_id]
            assert np.array_equal(expected.inputs_TF, found.inputs_TF)
            assert (expected.text, expected.duration) == (found.text, found.duration)
            assert abs(read.num_frames[utt_id] - dumped.num_frames[utt_id]) <= 2


def loader(data_dir: Path, seed: int, num_workers: int, config: DataConfig) -> Loader:
    change = None if config.augment is None else Augmenter(Augmentation.of(config.augment))
    dataset = AudioDataset(data_dir, FRONTEND, "sentence", change, seed)
    masks = None if config.spec_augment is None else SpecAugment(config.spec_augment, FRONTEND, seed)
    joined = ConcatenatedDataset(dataset, config.concat, FRONTEND, masks, AUGMENT.stretch)
    rows_N, _ = select_for_training(dataset, config)
    sampler = BucketSampler(joined.lengths(rows_N), config, seed, silence=joined.silence)
    return Loader(joined, sampler, Collate(encoded=False), num_workers)


def inputs(batches: list[Batch]) -> dict[str, torch.Tensor]:
    rows = ((key, batch.inputs[i, : batch.feat_lens_B[i]]) for batch in batches for i, key in enumerate(batch.utt_ids))
    return {key: features_TF.clone() for key, features_TF in rows}


def is_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("concat", [None, ConcatOptions(probability=0.7, duration=3.0)])
def test_augmentation_follows_from_seed_epoch_and_utterance(tmp_path: Path, concat: ConcatOptions | None) -> None:
    data_dir = make_data_dir(tmp_path, *np.linspace(0.3, 1.2, 9).round(3))
    config = DataConfig(dump="none", augment=AUGMENT, spec_augment=SpecAugmentOptions(), concat=concat, batch_size=2)
    alone, workers = loader(data_dir, 3, 0, config), loader(data_dir, 3, 2, config)
    epochs = []
    for epoch in range(2):
        for one in (alone, workers):
            one.sampler.set_epoch(epoch)
        expected = list(alone)
        epochs.append(inputs(expected))
        assert is_same(epochs[-1], inputs(list(workers)))
        for batch in expected:
            for length, duration in zip(batch.feat_lens_B.tolist(), batch.durations, strict=True):
                assert 0 <= length - 100 * duration <= 2.25  # the last window is whole

    resumed = loader(data_dir, 3, 1, config)
    alone.sampler.position = 2
    resumed.sampler.load_state_dict(alone.sampler.state_dict())
    assert is_same(inputs(list(alone)), inputs(list(resumed)))

    if concat is None:
        assert not any(np.array_equal(epochs[0][key], epochs[1][key]) for key in epochs[0])
        assert not is_same(epochs[0], inputs(list(loader(data_dir, 4, 0, config))))


def test_speeds_count_against_the_caps_and_probabilities_leave_some_unchanged(tmp_path: Path) -> None:
    samples_N = np.random.default_rng(0).uniform(-0.1, 0.1, 16000).astype(np.float32)
    slow = Augmenter(Augmentation(speeds=(0.8,)))
    assert len(slow(samples_N, np.random.default_rng(0))) == 20000
    rare = Augmenter(Augmentation(snr=(0.0, 0.0), probability=0.3))
    changed = [not np.array_equal(rare(samples_N, np.random.default_rng(i)), samples_N) for i in range(200)]
    assert 0.2 < np.mean(changed) < 0.4
    assert AUGMENT.stretch == pytest.approx(1 / 0.9)
    joined = ConcatenatedDataset(
        AudioDataset(make_data_dir(tmp_path, 0.5), FRONTEND), None, FRONTEND, stretch=AUGMENT.stretch
    )
    assert joined.lengths(np.array([0]))["spk0-000"] == pytest.approx(0.5 / 0.9)


def test_an_utterance_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path, 0.5, 0.6)
    dataset = AudioDataset(data_dir, FRONTEND)
    path = tmp_path / "audio/spk1-001.wav"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"noise: spk1-001: \S*spk1-001.wav: truncated or damaged"):
        dataset["spk1-001"]
    assert dataset["spk0-000"].duration == 0.5
    before = dataset.fingerprint()
    soundfile.write(path, np.zeros(9600), 16000)
    assert dataset.fingerprint() != before


def test_masks_are_bands_of_the_mean() -> None:
    options = SpecAugmentOptions(time_masks=1, time_width=0.3, time_share=1.0, frequency_masks=0)
    inputs_TF = np.random.default_rng(0).standard_normal((100, 80)).astype(np.float32)
    example = Example("utt", inputs_TF, "text", 1.0)
    masks = SpecAugment(options, FRONTEND, seed=1)
    widths = []
    for epoch in range(50):
        masked_TF = masks(example, epoch).inputs_TF
        changed_T = (masked_TF != inputs_TF).any(1)
        places = np.flatnonzero(changed_T)
        widths.append(len(places))
        if len(places):
            assert places[-1] - places[0] + 1 == len(places)
            assert np.allclose(masked_TF[places], inputs_TF.mean(0))
    assert max(widths) <= 30 and len(set(widths)) > 10
    assert np.array_equal(masks(example, 7).inputs_TF, masks(example, 7).inputs_TF)
    both_TF = SpecAugment(SpecAugmentOptions(), FRONTEND, seed=1)(example, 0).inputs_TF
    assert 0 < (both_TF != inputs_TF).any(0).mean() <= 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: SpecAugment(SpecAugmentOptions(), waveform.Config().build(), 1),
            "less than the number of features, 1",
        ),
        (
            lambda: DataConfig(dump="encoder", spec_augment=SpecAugmentOptions()),
            "expected features, which can be masked",
        ),
        (lambda: AugmentOptions(speeds=(3.0,)), "speeds: found 3.0, expected 0.5 to 2.0"),
        (lambda: AugmentOptions(probability=0.0), "probability: found 0.0"),
        (lambda: SpecAugmentOptions(time_share=1.5), "time_share: found 1.5"),
        (lambda: DataConfig(dump="none", augment=AUGMENT, batch_duration=31.0), "at the slowest of augment.speeds"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("segments", [False, True])
def test_a_list_costs_at_most_200_bytes_an_utterance(
    tmp_path: Path, segments: bool, tiny_whisper: Path, tiny_llm: Path
) -> None:
    """Of the length of GigaSpeech's ids and transcripts, and of LibriSpeech's paths without segments."""
    encoder = whisper.Config(path=str(tiny_whisper)).build()
    decoder = causal_lm.Config(path=str(tiny_llm)).build()
    connector = fc.Config().build(encoder.output_dim, decoder.embedding_dim, encoder.segment_states)
    model = SpeechLLM(encoder, connector, decoder, PromptConfig())
    number = 4000
    ids = [f"POD{i // 200:010d}_S{i % 200:07d}" for i in range(number)]
    recordings = sorted({one.partition("_")[0] for one in ids})
    tables = {
        "utt2spk": [f"{one} {one}" for one in ids],
        "utt2dur": [f"{one} {2 + i % 7}.{i % 10}" for i, one in enumerate(ids)],
        "text": [f"{one} {'and so this is about as long as most ' * 2}{i}" for i, one in enumerate(ids)],
        "wav.scp": [f"{one} /data/train-clean-100/{one[:10]}/{i // 100}/{one}.flac" for i, one in enumerate(ids)],
    }
    if segments:
        tables["wav.scp"] = [f"{one} /data/gigaspeech/audio/podcast/P0000/{one}.opus" for one in recordings]
        tables["segments"] = [f"{one} {one.partition('_')[0]} {i % 200}.0 {i % 200}.9" for i, one in enumerate(ids)]
    for name, lines in tables.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    del tables, ids
    config = DataConfig(shares=(0.5,), batch_tokens=2000)

    def load() -> tuple[AudioDataset, ConcatenatedDataset, Loader]:
        dataset = AudioDataset(tmp_path, FRONTEND)
        rows_N, _ = select_for_training(dataset, config)
        joined = ConcatenatedDataset(dataset, None, FRONTEND)
        counter = TokenCounter(model, dataset, rows_N)
        sampler = BucketSampler(joined.lengths(rows_N), config, 1, count_tokens=counter)
        sampler.state_dict()
        return dataset, joined, Loader(joined, sampler, Collate(encoded=False))

    load()  # memory that is allocated once is no part of a list
    tracemalloc.start()
    try:
        dataset, joined, _loader = load()
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    assert len(dataset) == number
    snapshot = snapshot.filter_traces([tracemalloc.Filter(False, pathlib.__file__)])  # its names for all of Python
    held = sum(statistic.size for statistic in snapshot.statistics("filename"))
    assert held / number < 200
    assert len(pickle.dumps(joined)) / number < 200  # where worker processes are not forked


def test_a_set_that_is_augmented_already_is_not_augmented_again(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "egs/librispeech/conf/whisper_base_smollm2_ctc_on_the_fly.yaml"
    config = load_config(path)
    data_dir = make_data_dir(tmp_path, 0.5, 0.6)
    augment(data_dir, tmp_path / "noise_aug", Augmentation(speeds=(0.9,)))
    assert len(open_set(config, tmp_path / "noise_aug")) == 2  # to validate on it, for example
    with pytest.raises(ConfigError, match="noise_aug: found an augmented set"):
        open_set(config, tmp_path / "noise_aug", training=True)
    assert not np.array_equal(
        open_set(config, data_dir, training=True).read("spk0-000", 0).inputs_TF,
        open_set(config, data_dir).read("spk0-000", 0).inputs_TF,
    )
