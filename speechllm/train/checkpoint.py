"""Resume checkpoints and checkpoints of the best weights.

``checkpoints/`` contains the complete state for an exact resume, in DeepSpeed's format, which only the same training
reads. ``best/`` contains trained weights alone, as safetensors, for averaging and other uses. Frozen weights are stored
in neither.
"""

import json
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from speechllm import config as configs
from speechllm.atomic import new_file
from speechllm.errors import ConfigError, TrainingError
from speechllm.models.weights import save_weights
from speechllm.train.protocol import Engine

RESUME = "resume.json"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Position of a training; the rest of its state is in the engine."""

    step: int
    sampler: dict[str, Any]
    """State of the sampler."""
    best: list[list[Any]]
    """[validation loss, file name] of the kept checkpoints, best first."""
    validated: bool = True
    """Whether the validation of this step, if any, is complete."""

    @property
    def tag(self) -> str:
        """Return the name of the checkpoint's folder."""
        return f"step_{self.step}" if self.validated else f"step_{self.step}_not_validated"


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Content of resume.json, the description of the last complete checkpoint."""

    tag: str
    world_size: int
    zero_stage: int
    bases: dict[str, str]
    """Fingerprints of the base models."""
    files: dict[str, int] = field(default_factory=dict)
    """Size of each file of the checkpoint (bytes)."""
    position: Position


def save_resume(
    engine: Engine, exp_dir: Path, position: Position, bases: dict[str, str], rank_state: dict[str, Any]
) -> None:
    """Write a resume checkpoint on all ranks, and then remove the previous one.

    Args:
        engine: DeepSpeed engine with a Storage as its checkpoint engine.
        exp_dir: the experiment.
        position: position of the training.
        bases: fingerprints of the base models.
        rank_state: plain values and tensors of this rank.

    Raises:
        TrainingError: if a file cannot be written; the previous checkpoint is kept.
    """
    folder, storage = exp_dir / "checkpoints", engine.checkpoint_engine
    target = folder / position.tag
    advice = f"the previous one, if any, is kept in {folder}; free space, and run the same command again"
    if engine.global_rank == 0:
        shutil.rmtree(target, ignore_errors=True)  # incomplete files of a killed run
    storage.raise_failure(advice)  # an earlier failure to write the best weights
    engine.save_checkpoint(str(folder), position.tag, exclude_frozen_parameters=True, save_latest=False)
    storage.save({"random": _random_states(), "state": rank_state}, str(target / f"random_{engine.global_rank}.pt"))
    try:
        storage.raise_failure(advice)
    except TrainingError:
        if engine.global_rank == 0:
            shutil.rmtree(target, ignore_errors=True)
        raise
    if engine.global_rank == 0:
        files = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
        content = {"tag": position.tag, **_setting(engine, bases), "files": files, "position": asdict(position)}
        with storage.recorded_failure(), new_file(folder / RESUME) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
    storage.raise_failure(advice)
    if engine.global_rank == 0:
        for old in folder.glob("step_*"):
            if old.name != position.tag:
                shutil.rmtree(old)
    _barrier(engine)


def load_resume(engine: Engine, exp_dir: Path, bases: dict[str, str]) -> tuple[Position, dict[str, Any]] | None:
    """Restore engine and random states from the last resume checkpoint.

    Returns:
        The position and the state of this rank, see ``save_resume``; None without a checkpoint.

    Raises:
        ConfigError: if the checkpoint is damaged, or has another number of processes, another ZeRO stage or other base
            models.
    """
    folder = exp_dir / "checkpoints"
    if not (folder / RESUME).exists():
        return None
    resume = read_resume(folder)
    for key, found in _setting(engine, bases).items():
        expected = getattr(resume, key)
        if expected != found:
            where = " in train.deepspeed" if key == "zero_stage" else ""
            raise ConfigError(
                f"{folder}: found {key} {found}, expected {expected} for an exact resume; "
                f"use {expected} again{where}, or another --tag to start again"
            )
    loaded, _ = engine.load_checkpoint(str(folder), resume.tag, load_module_strict=False)
    if loaded is None:
        raise ConfigError(f"{folder / resume.tag}: contains no checkpoint of DeepSpeed; remove {folder} to start again")
    content = engine.checkpoint_engine.load(str(folder / resume.tag / f"random_{engine.global_rank}.pt"))
    _restore_random_states(content.get("random", content))
    return resume.position, content.get("state", {})


def read_resume(folder: Path) -> Resume:
    """Read resume.json, and check the sizes of its files.

    Raises:
        ConfigError: if resume.json cannot be read, or a file is missing or incomplete.
    """
    path = folder / RESUME
    try:
        resume = configs.build(Resume, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; remove {folder} to start again") from error
    if resume.tag != resume.position.tag:
        raise ConfigError(f"{path}: tag: found {resume.tag!r}, expected {resume.position.tag!r}; remove {folder}")
    for name, size in resume.files.items():
        file = folder / resume.tag / name
        found = file.stat().st_size if file.is_file() else 0
        if found != size:
            raise ConfigError(f"{file}: found {found} bytes, expected {size}; remove {folder} to start again")
    return resume


def _setting(engine: Engine, bases: dict[str, str]) -> dict[str, Any]:
    """Return the settings that must not change when a training is resumed."""
    return {"world_size": engine.world_size, "zero_stage": engine.zero_optimization_stage(), "bases": bases}


def save_best(
    exp_dir: Path, state: dict[str, Tensor], best: list[list[Any]], keep: int, metadata: dict[str, Any]
) -> list[list[Any]]:
    """Keep the ``keep`` checkpoints with the lowest validation losses; return their new list, best first."""
    name = f"step_{metadata['step']:08d}.safetensors"
    best = sorted([entry for entry in best if entry[1] != name] + [[metadata["valid_loss"], name]])
    if [metadata["valid_loss"], name] in best[:keep]:
        save_weights(exp_dir / "best" / name, state, metadata)
    return best[:keep]


def remove_all_but(exp_dir: Path, best: list[list[Any]]) -> None:
    """Delete the weights in ``best/`` that are not in the list ``best``."""
    kept = {name for _, name in best}
    for path in (exp_dir / "best").glob("step_*"):
        if path.name not in kept:
            path.unlink()


def full_trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the trainable tensors in float32, gathered from all ranks; call it on every rank."""
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            master = safe_get_full_fp32_param(parameter)  # None without master weights
            state[name] = (parameter.detach() if master is None else master).float().cpu().clone()
    return state


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda, "python": list(random.getstate())}


def _restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))


def _barrier(engine: Engine) -> None:
    if engine.world_size > 1:
        torch.distributed.barrier()
