"""Directories of trained models: experiments, packed directories, shipped models and downloads from the hub.

A packed directory contains ``config.json``, ``model.safetensors`` (trained weights), the LLM's tokenizer and a
``README.md``. Base models have a hub id, or are in its folders ``encoder`` and ``decoder``. Its files are never
unpickled or executed.
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
ABOUT = "about"  # key of config.json in addition to the sections of the experiment
SHIPPED = Path(__file__).parent / "shipped"
DEFAULT = "base-smollm2-whisper-ctc"
"""Name of the shipped model that is used if none is named."""
BASES = Path(__file__).parents[2] / "downloads" / "models"
"""Folder of base models downloaded by ``tools/offline_models/fetch_models.py`` in a checkout."""
BASES_VARIABLE = "SPEECHLLM_MODELS"
"""Environment variable with a further folder of base models."""
CHANGEABLE = ("decode", "prompt", "encoder.path", "decoder.path", "decoder.tokenizer")
"""Settings of a trained model that overrides may change."""
WITHOUT_DUMP = "data.dump=none"
"""Further override of a trained model: sets are read as audio."""
PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class TrainedModel:
    """A trained model on disk, not loaded."""

    path: Path
    config: ExperimentConfig
    """Configuration for recognition of audio, with the paths of base models on this machine."""
    about: dict[str, Any]
    """Record of training: ``command``, ``git``, ``steps``, ``training_data``, ``scores``, ``initial_share``."""


def shipped() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))


def find_model(name: str | os.PathLike[str] | None) -> Path:
    """Return the directory of a trained model: a path, a shipped model, or a download from the hub.

    Without a name, it is that of the shipped model ``DEFAULT``.

    Raises:
        ConfigError: if the model does not exist, or its configuration or weights are missing.
    """
    if name is None:
        if DEFAULT not in shipped():
            raise ConfigError(
                f"model: found no name and no shipped model {DEFAULT}, expected a trained model; name one"
            )
        name = DEFAULT
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
    """Read the configuration and record of a trained model, without its weights.

    Args:
        name: see ``find_model``.
        overrides: ``section.key=value`` strings for the decode section, the prompt and the paths of base models, or
            ``data.dump=none``.
        trust_components: whether to import components from outside the library.

    Raises:
        ConfigError: if the model does not exist or cannot be read, or an override would change its training.
    """
    path, overrides = find_model(name), list(overrides)
    changeable = tuple(f"{key}{end}" for key in CHANGEABLE for end in ".=")
    for override in overrides:
        if override != WITHOUT_DUMP and not override.startswith(changeable):
            expected = ", ".join([*CHANGEABLE, WITHOUT_DUMP])
            raise ConfigError(f"{override!r}: cannot change after training; expected one of {expected}")
    with outside_components(trust_components):
        if (path / CONFIG).is_file():
            tree = _read_json(path / CONFIG)
            about = tree.pop(ABOUT, {})
            config = configs.from_tree(ExperimentConfig, tree, overrides, where=path / CONFIG)
        else:
            about = _about(path)
            config = configs.load(ExperimentConfig, path / EXPERIMENT, overrides)
    if config.data.dump == "encoder":
        config = replace(config, data=replace(config.data, dump="features"))  # so that the model has an encoder
    return TrainedModel(path, _with_bases(config, path), about)


def read_config(name: str, overrides: Iterable[str] = (), trust_components: bool = False) -> ExperimentConfig:
    """Return the configuration in an experiment YAML, or that of a trained model.

    An experiment YAML may use components from outside the library; for a trained model or an experiment directory, this
    needs ``trust_components``.
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
    """Return the directory of a trained model and its configuration for decoding of dumps.

    Args:
        name: see ``find_model``.
        inference_config: YAML of another ``decode`` section.
        overrides: see ``read_experiment`` and ``read_model``.
        trust_components: whether to import components from outside the library.
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
    """Return the names of the training sets of a model, as given in the command of its training."""
    words = str(about.get("command", "")).split()
    if "--train" not in words:
        return []
    rest = words[words.index("--train") + 1 :]
    dumps = rest[: next((k for k, word in enumerate(rest) if word.startswith("-")), len(rest))]
    return [Path(dump).name for dump in dumps]


def _download(name: str) -> Path:
    known = f"no such directory and no such shipped model ({', '.join(shipped()) or 'none'})"
    if name.count("/") != 1 or name[0] in "./~" or Path(name).parent.is_dir():
        raise ConfigError(f"{name}: {known}; name a directory, a shipped model or a hub id")
    wanted = ["*.json", "*.safetensors", "README.md", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {known}, and it cannot be downloaded from the hub: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}; restore the model") from error
    if not isinstance(tree, dict) or "connector" not in tree:
        raise ConfigError(f"{path}: found no section connector, expected a model of speechllm; name another model")
    return tree


def _about(exp_dir: Path) -> dict[str, Any]:
    """Return the record of the training of an experiment, and its scores so far."""
    record = exp_dir / "run.yaml"
    run = yaml.safe_load(record.read_text(encoding="utf-8")) if record.is_file() else {}
    try:
        scores = {name: known_entries(score) for name, score in scores_of(exp_dir).items()}
    except DataError:
        scores = {}  # nothing was decoded and scored yet
    metadata = read_metadata(exp_dir / WEIGHTS)
    weights: dict[str, Any] = {key: metadata[key] for key in ("steps", "initial_share") if key in metadata}
    about = {"name": exp_dir.resolve().name, "command": run.get("command", ""), "git": run.get("git", "")}
    return {**about, **weights, "training_data": training_data(about), "scores": scores}


def _with_bases(config: ExperimentConfig, near: Path) -> ExperimentConfig:
    """Return ``config`` with the paths of base models and tokenizer on this machine."""
    changed = {}
    for name in PARTS:
        part = getattr(config, name)
        keys = [key for key in ("path", "tokenizer") if getattr(part, key, None) is not None]
        changed[name] = replace(part, **{key: _find_base(getattr(part, key), near) for key in keys})
    return replace(config, **changed)


def _find_base(path: str, near: Path) -> str:
    """Return the directory of the base model ``path`` of the model in ``near``; ``path`` itself if it is a hub id.

    The candidates are, in order: ``path`` relative to the model's directory if it begins with a dot, relative to the
    working directory, and relative to the recipe of the experiment, then its name in the folders of base models. The
    fingerprint of the base model is checked later.
    """
    folders = [BASES, *([Path(os.environ[BASES_VARIABLE])] if BASES_VARIABLE in os.environ else [])]
    inside = [near / path] if path.startswith(".") else []
    recipe = near.resolve().parent.parent
    places = [*inside, Path(path), recipe / path, *(folder / Path(path).name for folder in folders)]
    return next((str(place) for place in places if place.is_dir()), path)
