"""Where trained models are found: experiments, packed directories, those that ship with the project, and the hub.

A packed directory holds ``config.json``, ``model.safetensors`` (what was trained), the LLM's tokenizer and a
``README.md``; the base models by hub id, or in ``encoder`` and ``decoder``. Nothing in it is ever unpickled or run.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import yaml

from speechllm import config as configs
from speechllm.errors import ConfigError, DataError
from speechllm.experiment import ExperimentConfig, inference_overrides, load_config, read_experiment
from speechllm.models.weights import read_metadata
from speechllm.registry import outside_components
from speechllm.report.record import scores_of
from speechllm.report.set_score import known_entries

CONFIG = "config.json"
EXPERIMENT = "config.yaml"
WEIGHTS = "model.safetensors"
ABOUT = "about"  # key of config.json beside the sections of the experiment
SHIPPED = Path(__file__).parent / "shipped"
BASES = Path(__file__).parents[2] / "downloads" / "models"
"""Where ``tools/offline_models/fetch_models.py`` puts base models in a checkout."""
BASES_VARIABLE = "SPEECHLLM_MODELS"
"""Environment variable: a folder of base models beside that one."""
CHANGEABLE = ("decode", "prompt", "encoder.path", "decoder.path", "decoder.tokenizer")
"""What overrides may change of a trained model."""
PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class TrainedModel:
    """A trained model on the disk, not yet loaded."""

    path: Path
    config: ExperimentConfig
    """Its configuration, to recognise audio with; paths of base models are such that they are found."""
    about: dict[str, Any]
    """How it was trained and what it scored: ``command``, ``git``, ``steps``, ``training_data``, ``scores``."""


def shipped() -> list[str]:
    """Return the names of the models that ship with the project."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))


def find_model(name: str | os.PathLike[str] | None) -> Path:
    """Return the directory of a trained model: of that path, of a shipped model, or downloaded from the hub.

    Without a name it is the first of the shipped models.

    Raises:
        ConfigError: if there is none of that name, or it lacks its configuration or weights.
    """
    if name is None:
        if not shipped():
            raise ConfigError("no model was named, and none ships with this installation; name a trained one")
        name = shipped()[0]
    path = Path(name)
    if not path.is_dir():
        path = SHIPPED / name if str(name) in shipped() else _download(str(name))
    if not any((path / config).is_file() for config in (CONFIG, EXPERIMENT)) or not (path / WEIGHTS).is_file():
        raise ConfigError(
            f"{path}: found no {CONFIG} (or config.yaml) and {WEIGHTS}, expected a trained experiment or packed model; "
            "train and average it first"
        )
    return path


def read_model(
    name: str | os.PathLike[str] | None, overrides: Iterable[str] = (), *, trust_components: bool = False
) -> TrainedModel:
    """Read what a trained model is, without loading it.

    Args:
        name: see ``find_model``.
        overrides: ``section.key=value`` strings; of the decode section, the prompt and the paths of base models.
        trust_components: import modules outside the library that it names.

    Raises:
        ConfigError: if it is not there or cannot be read, or an override would change what was trained.
    """
    path, overrides = find_model(name), list(overrides)
    for override in overrides:
        if not override.startswith(tuple(f"{key}{end}" for key in CHANGEABLE for end in ".=")):
            raise ConfigError(f"{override!r}: was fixed by training; only {', '.join(CHANGEABLE)} can be changed")
    with outside_components(trust_components):
        if (path / CONFIG).is_file():
            tree = _read_json(path / CONFIG)
            about = tree.pop(ABOUT, {})
            config = configs.from_tree(ExperimentConfig, tree, overrides, where=path / CONFIG)
        else:
            about = _about(path)
            config = configs.load(ExperimentConfig, path / EXPERIMENT, overrides)
    config = replace(config, data=replace(config.data, dump="features"))  # so that there is an encoder
    return TrainedModel(path, _with_bases(config, path), about)


def read_config(name: str, overrides: Iterable[str] = (), trust_components: bool = False) -> ExperimentConfig:
    """Return the configuration in an experiment YAML, or that of a trained model.

    A YAML that is named may use components outside the library; those of a model, an experiment's included, have to be
    trusted.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return load_config(path, overrides)
    if (path / EXPERIMENT).is_file():
        with outside_components(trust_components):
            return load_config(path / EXPERIMENT, overrides)
    return read_model(name, overrides, trust_components=trust_components).config


def read_to_decode(
    name: str, inference_config: Path | None = None, overrides: Iterable[str] = (), *, trust_components: bool = False
) -> tuple[Path, ExperimentConfig]:
    """Return the directory of a trained model and its configuration, to decode dumps with it.

    Args:
        name: see ``find_model``.
        inference_config: YAML of another ``decode`` section.
        overrides: see ``read_experiment`` and ``read_model``.
        trust_components: import modules outside the library that it names.
    """
    path = find_model(name)
    if (path / CONFIG).is_file():
        overrides = [*inference_overrides(inference_config), *overrides]
        return path, read_model(path, overrides, trust_components=trust_components).config
    with outside_components(trust_components):
        return path, read_experiment(path, inference_config, overrides)


def write_config(path: Path, config: ExperimentConfig, about: dict[str, Any]) -> None:
    """Write ``config.json``."""
    kind = {"model_type": "speechllm", "architectures": ["SpeechLLM"]}
    tree = {**configs.to_dict(config), ABOUT: {**kind, **about}}
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def training_data(about: dict[str, Any]) -> list[str]:
    """Return the names of the sets that a model was trained on, as far as its training's command tells."""
    words = str(about.get("command", "")).split()
    if "--train" not in words:
        return []
    rest = words[words.index("--train") + 1 :]
    dumps = rest[: next((k for k, word in enumerate(rest) if word.startswith("-")), len(rest))]
    return [Path(dump).name for dump in dumps]


def _download(name: str) -> Path:
    known = f"no such directory, and no model that ships with the project ({', '.join(shipped()) or 'none'})"
    if name.count("/") != 1 or name[0] in "./~" or Path(name).parent.is_dir():
        raise ConfigError(f"{name}: {known}; name one of these, or a hub id")
    wanted = ["*.json", "*.safetensors", "README.md", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {known}, and it cannot be downloaded from the hub: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON: {error}; get the model again") from error
    if not isinstance(tree, dict) or "connector" not in tree:
        raise ConfigError(f"{path}: no model of speechllm: it says nothing of a connector")
    return tree


def _about(exp_dir: Path) -> dict[str, Any]:
    """Return how an experiment was trained and what it has scored so far."""
    record = exp_dir / "run.yaml"
    run = yaml.safe_load(record.read_text(encoding="utf-8")) if record.is_file() else {}
    try:
        scores = {name: known_entries(score) for name, score in scores_of(exp_dir).items()}
    except DataError:
        scores = {}  # nothing was decoded and scored yet
    steps = read_metadata(exp_dir / WEIGHTS).get("steps", [])
    about = {"name": exp_dir.resolve().name, "command": run.get("command", ""), "git": run.get("git", "")}
    return {**about, "steps": steps, "training_data": training_data(about), "scores": scores}


def _with_bases(config: ExperimentConfig, near: Path) -> ExperimentConfig:
    """Return ``config`` with paths of base models and tokenizer under which they are found from here."""
    changed = {}
    for name in PARTS:
        part = getattr(config, name)
        keys = [key for key in ("path", "tokenizer") if getattr(part, key, None) is not None]
        changed[name] = replace(part, **{key: _find_base(getattr(part, key), near) for key in keys})
    return replace(config, **changed)


def _find_base(path: str, near: Path) -> str:
    """Return a directory for the base model ``path`` of the model in ``near``, or ``path`` itself: a hub id.

    It is looked for in the model's directory, if it begins with a dot, in the present one, in that of the recipe whose
    experiment the model is, and by its name in the folders of base models. That it is the right one is known by its
    fingerprint.
    """
    folders = [BASES, *([Path(os.environ[BASES_VARIABLE])] if BASES_VARIABLE in os.environ else [])]
    inside = [near / path] if path.startswith(".") else []
    recipe = near.resolve().parent.parent
    places = [*inside, Path(path), recipe / path, *(folder / Path(path).name for folder in folders)]
    return next((str(place) for place in places if place.is_dir()), path)
