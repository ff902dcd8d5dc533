"""Dump of a data directory for an experiment: features, or states of the frozen encoder."""

from pathlib import Path

import numpy as np
import torch

from speechllm.build import build_encoder, encoder_files, feature_fingerprint
from speechllm.data.dump import Extract, dump_job
from speechllm.data.dump import finished_job as finished_dump_job
from speechllm.experiment import ExperimentConfig
from speechllm.inference.device import job_device
from speechllm.interfaces import Frontend


def dump(config: ExperimentConfig, data_dir: Path, out_dir: Path, *, nj: int, job: int) -> None:
    """Dump features, or the frozen encoder's states, of one job's share of ``data_dir``."""
    files = ""
    transform: Extract
    if config.data.dump != "encoder":
        frontend = config.frontend.build()  # features need no encoder
        transform, fingerprint, compress = frontend.extract, feature_fingerprint(frontend), config.data.compress
    else:
        files, compress = encoder_files(config), False
        if finished_dump_job(data_dir, out_dir, files, nj, job, compress):
            return
        frontend, transform, fingerprint = _encoding(config, job_device(job))
    dump_job(
        data_dir, out_dir, transform, fingerprint, frontend.sample_rate, nj=nj, job=job, compress=compress, files=files
    )


def _encoding(config: ExperimentConfig, device: torch.device) -> tuple[Frontend, Extract, dict[str, object]]:
    """Return the frontend, the function from samples to the encoder's states, and the fingerprint of their dump."""
    frontend, encoder, fingerprint, _ = build_encoder(config, torch.float32)
    encoder.to(device).eval()

    @torch.inference_mode()
    def states(samples_N: np.ndarray) -> np.ndarray:
        feats_TF = torch.from_numpy(frontend.extract(samples_N)).to(device)
        states_BLD, state_lens_B = encoder(feats_TF[None], torch.tensor([len(feats_TF)], device=device))
        return states_BLD[0, : int(state_lens_B)].half().cpu().numpy()

    return frontend, states, fingerprint
