"""Decode sets with a trained model, or with Whisper's own decoder."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from speechllm import config as configs
from speechllm.build import Built, load_model, open_set, torch_dtype
from speechllm.data.audio.read import read_audio
from speechllm.data.kaldi.data_dir import read_data_dir, read_language
from speechllm.data.sampler import by_duration
from speechllm.errors import DataError
from speechllm.experiment import ExperimentConfig
from speechllm.inference.batches import decoding_batches
from speechllm.inference.device import describe_device, job_device
from speechllm.inference.jobs import Loaded, decode_jobs
from speechllm.inference.recognize import Recognizer, recognizer
from speechllm.inference.whisper_baseline import SAMPLE_RATE, WhisperBaseline
from speechllm.interfaces import Hypothesis, Seconds
from speechllm.models.weights import check_exists
from speechllm.provenance import file_fingerprint, fingerprint

INPUTS = {"none": "audio", "features": "features", "encoder": "encoder states"}
"""Input of decoding, by ``data.dump``; the measured time of decoding excludes the computation of this input."""


@dataclass(frozen=True, kw_only=True)
class SetToDecode:
    """A set and the directory of its hypotheses."""

    source: Path
    """Dump of the set; its data directory for Whisper's own decoder, or if ``data.dump`` is none."""
    out_dir: Path
    shuffled: bool = False
    """Whether to decode each utterance with the audio of another one (shuffled-audio control)."""


def decode(model_dir: Path, config: ExperimentConfig, sets: Sequence[SetToDecode], *, nj: int, job: int | None) -> None:
    """Decode the share of one job of each set; without ``job``, decode all incomplete jobs and merge the results.

    The model is loaded at most once, and only if a set is incomplete.

    Args:
        model_dir: directory of the model with its weights.
        config: configuration of the model.
        sets: sets to decode.
        nj: number of jobs.
        job: number of the job, from 1.
    """
    check_exists(model_dir / "model.safetensors")
    weights = file_fingerprint(model_dir / "model.safetensors")

    device = job_device(job or 1)

    @functools.cache
    def load() -> tuple[Built, Recognizer]:
        built = load_model(model_dir, config, torch_dtype(config.decode.dtype))
        return built, recognizer(built, config.decode, device)

    for one in sets:
        _decode_set(one, config, weights, load, device, nj, job)


def _decode_set(
    one: SetToDecode,
    config: ExperimentConfig,
    weights: str,
    load: Callable[[], tuple[Built, Recognizer]],
    device: torch.device,
    nj: int,
    job: int | None,
) -> None:
    """Decode a set; ``weights`` is the fingerprint of the weights of the model."""
    dataset = open_set(config, one.source)
    speech = shuffled_speech(dataset.durations) if one.shuffled else {utt_id: utt_id for utt_id in dataset.utt_ids}
    num_frames = {utt_id: dataset.num_frames[other] for utt_id, other in speech.items()}
    contexts = dataset.contexts if config.prompt.takes_context else {}
    made_from = [weights, configs.to_dict(config), one.shuffled, dataset.fingerprint()]
    made_from += [sorted(contexts.items())] if contexts else []
    [language] = dataset.languages
    made_from += [{"language": language}] if language else []

    def loaded() -> Loaded:
        built, recognize = load()
        dataset.check(built.dump_fingerprint)
        return Loaded(
            lambda utt_ids: recognize(
                [replace(dataset[speech[utt_id]], context=contexts.get(utt_id, "")) for utt_id in utt_ids]
            ),
            lambda durations: decoding_batches(
                durations, num_frames, contexts, built.model, config.decode, built.padded_duration, language
            ),
            lambda: {"device": describe_device(device), "input": INPUTS[config.data.dump]},
        )

    decode_jobs(
        loaded,
        dataset.durations,
        one.out_dir,
        nj=nj,
        job=job,
        fingerprint=fingerprint(*made_from),
    )


def baseline(
    model: str,
    sets: Sequence[SetToDecode],
    *,
    nj: int,
    job: int | None,
    num_beams: int = 1,
    batch_size: int = 8,
    language: str | None = None,
    token_scores: bool = False,
) -> None:
    """Decode the share of one job of each set with Whisper's own decoder; ``job`` may be None, see ``decode``.

    For ``num_beams``, ``language`` and ``token_scores`` see ``WhisperBaseline``.
    """

    @functools.cache
    def load() -> WhisperBaseline:
        return WhisperBaseline(model, job_device(job or 1), num_beams, token_scores=token_scores)

    search = [model, num_beams, *(["token scores"] if token_scores else [])]
    for one in sets:
        _baseline_set(one, search, language or read_language(one.source), load, batch_size, nj, job)


def _baseline_set(
    one: SetToDecode,
    search: list[object],
    language: str | None,
    load: Callable[[], WhisperBaseline],
    batch_size: int,
    nj: int,
    job: int | None,
) -> None:
    """Decode a set in a given or detected language; ``search`` is the model, the beam width and other options."""
    utts = {utt.utt_id: utt for utt in read_data_dir(one.source, need_text=False).utts}
    durations = {utt_id: utt.duration for utt_id, utt in utts.items()}

    def loaded() -> Loaded:
        whisper = load()
        whisper.use_language(language)

        def recognize(utt_ids: list[str]) -> list[list[Hypothesis]]:
            chosen = [utts[utt_id] for utt_id in utt_ids]
            samples = [read_audio(utt.path, SAMPLE_RATE, utt.start, utt.end) for utt in chosen]
            return [[hypothesis] for hypothesis in whisper.transcribe(samples)]

        def batches(mine: Mapping[str, Seconds]) -> list[list[str]]:
            order = by_duration(mine)
            return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def details() -> dict[str, Any]:
            found: dict[str, Any] = {"model": search[0], "language": whisper.describe_language()}
            found |= {"device": describe_device(whisper.model.device), "input": INPUTS["none"]}
            if whisper.detected:
                found["detected"] = dict(whisper.detected)
                whisper.detected.clear()  # each job is counted separately
            return found

        return Loaded(recognize, batches, details)

    made_from = fingerprint(*search, language, sorted(durations.items()))
    decode_jobs(loaded, durations, one.out_dir, nj=nj, job=job, fingerprint=made_from)


def shuffled_speech(durations: Mapping[str, Seconds]) -> dict[str, str]:
    """Map each utterance to the next one in order of duration, the source of its audio in the control."""
    if len(durations) < 2:
        raise DataError(
            "shuffled: found a set of one utterance, expected at least two to exchange audio; decode it without the "
            "control"
        )
    order = by_duration(durations)
    return dict(zip(order, order[1:] + order[:1], strict=True))
