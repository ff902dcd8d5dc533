"""Train an experiment."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from speechllm.build import Built, build, open_set, torch_dtype
from speechllm.data.batch import Batch, BatchList, Collate, Loader
from speechllm.data.columns import Numbers, Strings
from speechllm.data.concat import ConcatenatedDataset
from speechllm.data.context import HotWords
from speechllm.data.dataset import SpeechDataset, combine_datasets, select_for_training
from speechllm.data.sampler import BucketSampler, by_duration, sequential_batches
from speechllm.data.spec_augment import SpecAugment
from speechllm.errors import ConfigError, DataError
from speechllm.experiment import ExperimentConfig, check_same, is_begun, with_recorded_prompt, write_record
from speechllm.models.prompt import Prompt
from speechllm.train.activations import measure_activations, verdict
from speechllm.train.compilation import Compilation
from speechllm.train.flops import FlopCounter
from speechllm.train.initial import initial_model, load_initial_weights
from speechllm.train.loggers import check_loggers
from speechllm.train.plan import make_plan, zero_stage
from speechllm.train.quiet import silence_missing_gpu
from speechllm.train.tokens import TokenCounter
from speechllm.train.validation import Validator


def train(
    config: ExperimentConfig, train_dirs: Sequence[Path], valid_dir: Path, exp_dir: Path
) -> signal.Signals | None:
    """Train the experiment ``exp_dir`` on training sets, with a validation set; see ``experiment.set_dir``.

    Returns:
        The signal that ended the training before its last step; None if all steps are done.
    """
    silence_missing_gpu()
    # imported here, because no other stage needs DeepSpeed, and its import takes seconds
    from speechllm.train.engine import check_precision, deepspeed_config, start_processes
    from speechllm.train.ranks import locked_by_rank_0

    config = with_recorded_prompt(exp_dir, config)
    check_same(exp_dir, config)
    check_precision(config.train)
    check_loggers(config.train.loggers)
    init_dir = None if is_begun(exp_dir) else initial_model(config.train)
    deepspeed_config(config.train)
    start_processes()
    with locked_by_rank_0(exp_dir / ".lock", f"the experiment {exp_dir}"):
        return _train(config, init_dir, train_dirs, valid_dir, exp_dir)


def _train(
    config: ExperimentConfig, init_dir: Path | None, train_dirs: Sequence[Path], valid_dir: Path, exp_dir: Path
) -> signal.Signals | None:
    """Train after the start of the processes, with the lock of the experiment."""
    from speechllm.train.engine import deepspeed_config, of_first_process, start_engine
    from speechllm.train.trainer import Trainer

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    built = build(config, torch_dtype(config.train.dtype))
    config = replace(config, prompt=of_first_process(built.model.prompt.config))
    built.model.prompt = Prompt(config.prompt, built.model.decoder)
    start = load_initial_weights(config, built, exp_dir, init_dir)
    stage = zero_stage(deepspeed_config(config.train))
    plan = make_plan(built.model, config.train.dtype, stage, world_size)
    if rank == 0:
        print(f"plan: {world_size} process(es), ZeRO stage {stage}, {config.train.dtype}")
        print(plan)
        print(start, flush=True)
    if config.train.activation_checkpointing:
        built.model.decoder.checkpoint_activations()
    collate = built.collate()
    torch.manual_seed(config.seed + rank)  # different dropout on every rank
    data = _training_data(config, built, collate, train_dirs, exp_dir)
    if config.train.ctc_steps > 0:
        built.model.add_ctc_head(data.texts)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu", int(os.environ["LOCAL_RANK"]))
    flops = FlopCounter(built.model, config.train.dtype, device)
    wanted = config.train.compile if config.train.compile is not None else device.type == "cuda" and stage < 3
    compilation = Compilation(lambda warning: print(warning, flush=True)) if wanted else None
    engine = start_engine(built.model, config.train)
    trainer = Trainer(
        engine,
        config.train,
        sampler=data.sampler,
        loader=data.loader,
        validator=_validator(config, built, collate, valid_dir),
        exp_dir=exp_dir,
        bases=built.bases,
        flops=flops,
        compilation=compilation,
    )
    if config.train.packing:
        built.model.decoder.pack_sequences()
    built.model.decoder.check()  # after the engine has moved it to its device
    positions = data.sampler.largest_batch(packing=config.train.packing)
    activations = measure_activations(engine, data.few, positions)
    if rank == 0:
        memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
        cap = "data.batch_size" if config.data.batch_tokens is None else "data.batch_tokens"
        print(verdict(activations, plan.bytes_per_gpu, memory, config.train, cap), flush=True)
    if compilation is not None:
        compilation.compile_layers(built.model)
    trainer.resume()
    if rank == 0:
        write_record(exp_dir, config)
    return trainer.run()


@dataclass(frozen=True, kw_only=True)
class _TrainingData:
    """Training utterances with their sampler and loader."""

    sampler: BucketSampler
    loader: Loader
    texts: Iterator[str]
    """Transcripts, see ``ConcatenatedDataset.texts``."""
    few: Batch
    """Batch of two utterances of median duration."""


def _training_data(
    config: ExperimentConfig, built: Built, collate: Collate, train_dirs: Sequence[Path], exp_dir: Path
) -> _TrainingData:
    """Return the training utterances with their sampler and loader."""
    sets = [open_set(config, train_dir, training=True) for train_dir in train_dirs]
    for one in sets:
        one.check(built.dump_fingerprint)
    dataset = combine_datasets(sets)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kept_N, _ = select_for_training(dataset, config.data, exp_dir / "skipped" if rank == 0 else None)
    if rank == 0 and config.train.ctc_steps > 0 and built.model.connector.subwords is None:
        _warn_of_long_texts(built, dataset, kept_N)
    options = config.data
    masks = None
    if options.spec_augment is not None:
        masks = SpecAugment(options.spec_augment, built.frontend, config.seed)
    stretch = options.augment.stretch if options.dump == "none" and options.augment is not None else 1.0
    concatenated = ConcatenatedDataset(dataset, options.concat, built.frontend, masks, stretch)
    lengths = concatenated.lengths(kept_N)
    draw = None
    if config.data.hot_words is not None:
        draw = HotWords(concatenated.texts(kept_N), config.data.hot_words, config.seed).draw
    sampler = BucketSampler(
        lengths,
        config.data,
        config.seed,
        rank,
        world_size,
        padded_duration=built.padded_duration,
        silence=concatenated.silence,
        shares=_shares(config.data.shares, sets, dataset, kept_N, lengths.ids),
        concatenates=config.train.ctc_steps == 0,
        count_tokens=TokenCounter(built.model, dataset, kept_N, draw),
    )
    middle_N = kept_N[np.argsort(dataset.table.durations_N[kept_N], kind="stable")[len(kept_N) // 2 :][:2]]
    return _TrainingData(
        sampler=sampler,
        loader=Loader(concatenated, sampler, collate, config.data.num_workers, draw),
        texts=concatenated.texts(kept_N),
        few=collate([dataset[dataset.utt_ids[int(row)]] for row in middle_N]),
    )


def _warn_of_long_texts(built: Built, dataset: SpeechDataset, kept_N: np.ndarray) -> None:
    """Print the share of utterances with more text tokens than speech tokens, estimated from 1,000 utterances.

    CTC needs an additional speech token between two equal text tokens, so the share is a lower bound.
    """
    assert dataset.texts is not None, "training needs transcripts"
    some = kept_N[:: -(-len(kept_N) // 1000)]
    lens_B = torch.from_numpy(dataset.table.num_frames_N[some].astype(np.int64))
    tokens_B = torch.tensor([len(built.model.decoder.tokenize(dataset.texts.at(int(row)))) for row in some])
    left_out = (tokens_B > built.model.speech_tokens(lens_B)).double().mean().item()
    if left_out > 0.05:
        print(
            f"train.ctc_steps: at least {left_out:.0%} of the utterances have more text tokens than speech tokens, so "
            "CTC cannot align them and their CTC loss is 0; configure a connector with more speech tokens",
            flush=True,
        )


def _shares(
    shares: Sequence[float], sets: Sequence[SpeechDataset], dataset: SpeechDataset, kept_N: np.ndarray, ids: Strings
) -> Numbers | None:
    """Return ``data.shares`` by utterance: the share of its set per epoch; None if not configured."""
    if not shares:
        return None
    if len(shares) != len(sets):
        raise ConfigError(f"data.shares: found {len(shares)} shares, expected one per training set, {len(sets)}")
    return Numbers(ids, np.array([shares[dataset.set_of(int(row))] for row in kept_N]))


def _validator(config: ExperimentConfig, built: Built, collate: Collate, valid_dir: Path) -> Validator:
    """Return the validator of a set, with all of its utterances."""
    dataset = open_set(config, valid_dir)
    dataset.check(built.dump_fingerprint)
    if dataset.texts is None:
        raise DataError(
            f"{valid_dir}: found no text, expected the transcripts of the validation set; run stage 2 again"
        )
    if dataset.is_non_speech:
        raise DataError(
            f"{valid_dir}: all transcripts are empty, expected transcripts of speech; see {valid_dir / 'text'}"
        )
    batches = sequential_batches(dataset.durations, config.data, built.padded_duration)
    ids = by_duration(dataset.durations)
    shown = ids[:: max(1, len(ids) // max(1, config.train.decode_utterances))][: config.train.decode_utterances]
    examples = None
    if shown:
        max_new_tokens = [config.decode.max_new_tokens(dataset.durations[utt_id]) for utt_id in shown]
        examples = (collate([dataset[utt_id] for utt_id in shown]), max_new_tokens)
    return Validator(
        BatchList(dataset, batches, collate),
        shuffled_batches=config.train.shuffled_batches,
        examples=examples,
    )
