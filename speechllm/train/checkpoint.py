"""Two kinds of checkpoints.

``checkpoints/`` holds what an exact resume needs, in DeepSpeed's form: only the run that wrote it
reads it. ``best/`` holds trained weights alone, as safetensors, for averaging and for everybody else.
Frozen weights are in neither.
"""

import json
import random
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from speechllm.atomic import new_file
from speechllm.errors import ConfigError
from speechllm.models.weights import save_weights


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a training is: the rest of its state is in the engine."""

    step: int
    sampler: dict[str, Any]
    """State of the sampler."""
    best: list[list[Any]]
    """[validation loss, file name] of the kept checkpoints, best first."""


def save_resume(engine: Any, exp_dir: Path, position: Position, bases: dict[str, str]) -> None:
    """Write a resume checkpoint on all ranks; the one before it is removed once this one is complete."""
    folder = exp_dir / "checkpoints"
    tag = f"step_{position.step}"
    if engine.global_rank == 0:
        shutil.rmtree(folder / tag, ignore_errors=True)  # left by a run killed while it wrote
    _barrier(engine)
    engine.save_checkpoint(str(folder), tag, exclude_frozen_parameters=True, save_latest=False)
    torch.save(_random_states(), folder / tag / f"random_{engine.global_rank}.pt")
    _barrier(engine)
    if engine.global_rank == 0:
        latest = folder / "resume.json"
        content = {"tag": tag, **_setting(engine, bases)}
        with new_file(latest) as temporary:
            temporary.write_text(json.dumps({**content, "position": asdict(position)}), encoding="utf-8")
        for old in folder.glob("step_*"):
            if old.name != tag:
                shutil.rmtree(old)
    _barrier(engine)


def load_resume(engine: Any, exp_dir: Path, bases: dict[str, str]) -> Position | None:
    """Restore engine and random states from the last resume checkpoint, if there is one.

    Raises:
        ConfigError: if it was written by another number of processes, under another ZeRO stage or of other base models.
    """
    folder = exp_dir / "checkpoints"
    if not (folder / "resume.json").exists():
        return None
    content = json.loads((folder / "resume.json").read_text(encoding="utf-8"))
    for key, found in _setting(engine, bases).items():
        if content.get(key, found) != found:
            where = " in train.deepspeed" if key == "zero_stage" else ""
            raise ConfigError(
                f"{folder}: written with {key} {content[key]}, found {found}, which cannot go on exactly; "
                f"use {content[key]} again{where}, or another --tag to start anew"
            )
    engine.load_checkpoint(str(folder), content["tag"], load_module_strict=False)
    states = torch.load(folder / content["tag"] / f"random_{engine.global_rank}.pt", weights_only=True)
    _restore_random_states(states)
    return Position(**content["position"])


def _setting(engine: Any, bases: dict[str, str]) -> dict[str, Any]:
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


def _barrier(engine: Any) -> None:
    if engine.world_size > 1:
        torch.distributed.barrier()
