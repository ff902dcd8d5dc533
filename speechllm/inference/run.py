"""Decoding of a set with a trained model, or with Whisper's own decoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechllm import config as configs
from speechllm.build import load_model, torch_dtype
from speechllm.data.audio.read import read_audio
from speechllm.data.dataset import DumpDataset
from speechllm.data.dump import check_fingerprint
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.sampler import by_duration, sequential_batches
from speechllm.errors import DataError
from speechllm.experiment import ExperimentConfig
from speechllm.inference.device import job_device
from speechllm.inference.jobs import Loaded, decode_jobs
from speechllm.inference.recognize import recognizer
from speechllm.inference.whisper_baseline import SAMPLE_RATE, WhisperBaseline
from speechllm.interfaces import Hypothesis, Seconds
from speechllm.models.weights import check_exists
from speechllm.provenance import file_fingerprint, fingerprint


def decode(
    model_dir: Path,
    config: ExperimentConfig,
    dump_dir: Path,
    out_dir: Path,
    *,
    nj: int,
    job: int | None,
    shuffled: bool,
) -> None:
    """Decode one job's share of a dump with a trained model; without ``job``, the rest of all jobs, and merge them.

    Args:
        model_dir: directory of the model, with its weights.
        config: its configuration.
        dump_dir: the set to decode.
        out_dir: where hypotheses go.
        nj: number of jobs.
        job: number of the job, from 1.
        shuffled: decode each utterance with the audio of another one, as a control.
    """
    dataset = DumpDataset(dump_dir, config.data.transcript)
    speech = shuffled_speech(dataset.durations) if shuffled else {utt_id: utt_id for utt_id in dataset.utt_ids}
    check_exists(model_dir / "model.safetensors")
    weights = file_fingerprint(model_dir / "model.safetensors")
    decoded_with = fingerprint(weights, configs.to_dict(config), shuffled, (dump_dir / "feats.yaml").read_text())

    def load() -> Loaded:
        built = load_model(model_dir, config, torch_dtype(config.decode.dtype))
        check_fingerprint(dump_dir, built.dump_fingerprint)
        device = job_device(job or 1)
        recognize = recognizer(built.model.to(device), built.collate(), config.decode, device)
        return Loaded(
            lambda utt_ids: recognize([dataset[speech[utt_id]] for utt_id in utt_ids]),
            lambda durations: sequential_batches(durations, config.decode, built.padded_duration),
        )

    decode_jobs(load, dataset.durations, out_dir, nj=nj, job=job, fingerprint=decoded_with)


def baseline(
    model: str,
    data_dir: Path,
    out_dir: Path,
    *,
    nj: int,
    job: int | None,
    num_beams: int = 1,
    batch_size: int = 8,
    language: str | None = None,
) -> None:
    """Decode one job's share of a Kaldi directory with Whisper's own decoder; without ``job`` as ``decode``."""
    utts = {utt.utt_id: utt for utt in read_data_dir(data_dir, need_text=False).utts}
    durations = {utt_id: utt.duration for utt_id, utt in utts.items()}

    def load() -> Loaded:
        whisper = WhisperBaseline(model, job_device(job or 1), num_beams, language)

        def recognize(utt_ids: list[str]) -> list[list[Hypothesis]]:
            chosen = [utts[utt_id] for utt_id in utt_ids]
            samples = [read_audio(utt.path, SAMPLE_RATE, utt.start, utt.end) for utt in chosen]
            return [[hypothesis] for hypothesis in whisper.transcribe(samples)]

        def batches(mine: Mapping[str, Seconds]) -> list[list[str]]:
            order = by_duration(mine)
            return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def details() -> dict[str, Any]:
            found: dict[str, Any] = {"model": model, "language": whisper.describe_language()}
            if whisper.detected:
                found["detected"] = dict(whisper.detected)
                whisper.detected.clear()  # each job has its own
            return found

        return Loaded(recognize, batches, details)

    decoded_with = fingerprint(model, num_beams, language, sorted(durations.items()))
    decode_jobs(load, durations, out_dir, nj=nj, job=job, fingerprint=decoded_with)


def shuffled_speech(durations: Mapping[str, Seconds]) -> dict[str, str]:
    """Map each utterance to the one next in duration, whose audio replaces its own in the control."""
    if len(durations) < 2:
        raise DataError("shuffled: found a set of a single utterance, expected another one whose audio it can be given")
    order = by_duration(durations)
    return dict(zip(order, order[1:] + order[:1], strict=True))
