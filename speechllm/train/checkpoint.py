"""Two kinds of checkpoints.

``checkpoints/`` holds what an exact resume needs, in DeepSpeed's form: only the run that wrote it
reads it. ``best/`` holds trained weights alone, as safetensors, for averaging and for everybody else.
Frozen weights are in neither.
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
    """Where a training is: the rest of its state is in the engine."""

    step: int
    sampler: dict[str, Any]
    """State of the sampler."""
    best: list[list[Any]]
    """[validation loss, file name] of the kept checkpoints, best first."""
    validated: bool = True
    """Whether the validation of this step, if there is one, has been completed."""

    @property
    def tag(self) -> str:
        """Return the name of the checkpoint's folder."""
        return f"step_{self.step}" if self.validated else f"step_{self.step}_not_validated"


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Content of resume.json, which names the last complete checkpoint."""

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
    """Write a resume checkpoint on all ranks; the one before it is removed once this one is complete.

    Args:
        engine: DeepSpeed engine, whose checkpoint engine is a Storage.
        exp_dir: the experiment.
        position: where the training is.
        bases: fingerprints of the base models.
        rank_state: plain values and tensors of this rank.

    Raises:
        TrainingError: if a file cannot be written; the previous checkpoint remains.
    """
    folder, storage = exp_dir / "checkpoints", engine.checkpoint_engine
    target = folder / position.tag
    advice = f"{folder} still holds the previous one, if there was one; free space, and run the same command again"
    if engine.global_rank == 0:
        shutil.rmtree(target, ignore_errors=True)  # left by a run killed while it wrote
    storage.raise_failure(advice)  # so far, of the best weights
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
    """Restore engine and random states from the last resume checkpoint, if there is one.

    Returns:
        The position and this rank's state, as given to ``save_resume``.

    Raises:
        ConfigError: if it is damaged, or was written by another number of processes, under another ZeRO stage or of
            other base models.
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
                f"{folder}: written with {key} {expected}, found {found}, which cannot go on exactly; "
                f"use {expected} again{where}, or another --tag to start anew"
            )
    loaded, _ = engine.load_checkpoint(str(folder), resume.tag, load_module_strict=False)
    if loaded is None:
        raise ConfigError(f"{folder / resume.tag}: holds no checkpoint of DeepSpeed; remove {folder} to start anew")
    content = engine.checkpoint_engine.load(str(folder / resume.tag / f"random_{engine.global_rank}.pt"))
    _restore_random_states(content.get("random", content))
    return resume.position, content.get("state", {})


def read_resume(folder: Path) -> Resume:
    """Read resume.json and make sure that the files that it names are whole.

    Raises:
        ConfigError: if they are not.
    """
    path = folder / RESUME
    try:
        resume = configs.build(Resume, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; remove {folder} to start anew") from error
    if resume.tag != resume.position.tag:
        raise ConfigError(f"{path}: tag: found {resume.tag!r}, expected {resume.position.tag!r}; remove {folder}")
    for name, size in resume.files.items():
        file = folder / resume.tag / name
        found = file.stat().st_size if file.is_file() else 0
        if found != size:
            raise ConfigError(f"{file}: found {found} bytes, expected {size}; remove {folder} to start anew")
    return resume


def _setting(engine: Engine, bases: dict[str, str]) -> dict[str, Any]:
    """Return what must be as it was, where a training goes on."""
    return {"world_size": engine.world_size, "zero_stage": engine.zero_optimization_stage(), "bases": bases}


def save_best(
    exp_dir: Path, state: dict[str, Tensor], best: list[list[Any]], keep: int, metadata: dict[str, Any]
) -> list[list[Any]]:
    """Keep the ``keep`` checkpoints of lowest validation loss; return their new list, best first."""
    name = f"step_{metadata['step']:08d}.safetensors"
    best = sorted([entry for entry in best if entry[1] != name] + [[metadata["valid_loss"], name]])
    if [metadata["valid_loss"], name] in best[:keep]:
        save_weights(exp_dir / "best" / name, state, metadata)
    return best[:keep]


def remove_all_but(exp_dir: Path, best: list[list[Any]]) -> None:
    """Delete the weights that are no longer among the best."""
    kept = {name for _, name in best}
    for path in (exp_dir / "best").glob("step_*"):
        if path.name not in kept:
            path.unlink()


def full_trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the trainable tensors in float32, gathered from all ranks; to be called on every rank."""
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            master = safe_get_full_fp32_param(parameter)  # None where the parameter is its own master
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
