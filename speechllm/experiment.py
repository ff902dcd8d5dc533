"""The experiment: one YAML, and what is built and run from it."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import yaml

from speechllm import config as configs
from speechllm.atomic import new_file
from speechllm.config import component
from speechllm.data.batch import Collate
from speechllm.data.config import DataConfig
from speechllm.errors import ConfigError
from speechllm.inference.config import DecodeConfig
from speechllm.interfaces import Frontend, Seconds
from speechllm.models.prompt import PromptConfig
from speechllm.models.speech_llm import SpeechLLM
from speechllm.models.weights import check_finite, fingerprint, load_weights
from speechllm.score.environment import run_record
from speechllm.train.config import TrainConfig

MODEL = ("frontend", "encoder", "connector", "decoder", "prompt")
"""Sections that define the model."""
MAY_CHANGE = (
    "max_steps",
    "log_every",
    "valid_every",
    "mismatched_batches",
    "decode_utterances",
    "keep_best",
    "packing",
    "deepspeed",
)
"""Settings of ``train`` with which a training may go on differently."""
NOT_OURS = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "*.gguf"]
"""Files of a hub model in forms that are not read."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything that defines an experiment."""

    seed: int = 1
    """Seed of initial weights, dropout and the order of the data."""
    frontend: Any = component("frontends")
    """Samples to features."""
    encoder: Any = component("encoders")
    """Features to states."""
    connector: Any = component("connectors")
    """States to embeddings of the LLM."""
    decoder: Any = component("decoders")
    """The LLM."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    """What the LLM reads around the speech."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is dumped and how batches are made."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimisation."""
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    """Search."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: found {self.seed}, expected at least 0 and less than 2**63")


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model with what the data needs to know of it."""

    model: SpeechLLM
    frontend: Frontend
    identity: dict[str, Any]
    """What a dump that this model reads must say of itself."""
    bases: dict[str, str]
    """Fingerprints of the base models."""

    def collate(self) -> Collate:
        """Return a function that makes a batch for the model of utterances as dumped."""
        return Collate(encoded=self.identity["dump"] == "encoder")

    def padded_duration(self, duration: Seconds) -> Seconds:
        """Return the duration that the model's encoder computes for an utterance; see ``Encoder.padded_duration``."""
        return duration if self.model.encoder is None else self.model.encoder.padded_duration(duration)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read an experiment's YAML; ``overrides`` are ``section.key=value`` strings."""
    return configs.load(ExperimentConfig, path, overrides)


def dump_name(config: ExperimentConfig) -> str:
    """Return the name of the dump that an experiment reads; only experiments that can share one have the same name.

    Options left as they are by default do not count, so that one more of them renames no dump.
    """
    frontend = configs.component_to_dict("frontends", config.frontend)
    if config.data.dump == "features":
        name = "_".join(str(value) for value in frontend.values())
        return name if config.data.compress else f"{name}_float32"
    encoder = configs.component_to_dict("encoders", config.encoder)
    for option in dataclasses.fields(config.encoder):
        if encoder[option.name] == option.default:
            del encoder[option.name]
    return f"{base_name(config.encoder)}_{digest(frontend, encoder)[:6]}"


def base_name(part: Any) -> str:
    """Return a short name of the model that a component is built on: the end of its path, or its type."""
    return Path(getattr(part, "path", type(part).__module__.rpartition(".")[2])).name


def fetch_models(config: ExperimentConfig) -> None:
    """Download the base models that are named by hub id and not yet in the cache."""
    for name in ("encoder", "decoder"):
        path = getattr(getattr(config, name), "path", None)
        if path is None or Path(path).is_dir():
            continue
        if path[:1] in (".", "/", "~"):
            raise ConfigError(f"{name}.path: no directory {path}; make it (tools/fetch_models.py) or name a hub id")
        try:
            huggingface_hub.snapshot_download(path, ignore_patterns=NOT_OURS)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name}.path: {path!r} cannot be downloaded from the hub: {error}") from error


def build(config: ExperimentConfig, dtype: torch.dtype) -> Built:
    """Build the untrained model: base models from disk or hub, a connector drawn from the seed.

    A model that reads dumped encoder states comes without its encoder.
    """
    torch.manual_seed(config.seed)
    frontend, encoder, identity, bases = build_encoder(config, dtype)
    decoder = config.decoder.build(dtype=dtype)
    connector = config.connector.build(
        input_dim=encoder.output_dim, output_dim=decoder.embedding_dim, segment_states=encoder.segment_states
    )
    model = SpeechLLM(None if config.data.dump == "encoder" else encoder, connector.to(dtype), decoder, config.prompt)
    bases["decoder"] = fingerprint(decoder.model)
    for name, part in (("encoder", encoder), ("decoder", decoder.model)):
        check_finite(part.state_dict(), f"{name}.path: {getattr(getattr(config, name), 'path', name)}")
    return Built(
        model=model,
        frontend=frontend,
        identity=identity,
        bases=bases,
    )


def build_encoder(config: ExperimentConfig, dtype: torch.dtype) -> tuple[Frontend, Any, dict[str, Any], dict[str, str]]:
    """Return frontend, encoder, the identity of their dump, and the encoder's fingerprint as ``{"encoder": ...}``."""
    frontend, encoder = config.frontend.build(), config.encoder.build(dtype=dtype)
    if frontend.feature_dim != encoder.feature_dim:
        raise ConfigError(
            f"frontend: gives {frontend.feature_dim} features a frame, but the encoder {config.encoder.path} expects "
            f"{encoder.feature_dim}; Whisper wants {{type: log_mel, num_mels: 80}} (large-v3: 128), "
            "HuBERT and WavLM {type: waveform}"
        )
    bases = {"encoder": fingerprint(encoder)}
    identity = feature_identity(frontend) | {"dump": config.data.dump}
    if config.data.dump == "encoder":
        if any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ConfigError("data.dump: 'encoder' dumps states of a frozen encoder, but some of it is to be trained")
        identity["encoder"] = {**encoder.identity(), "fingerprint": bases["encoder"]}
    return frontend, encoder, identity, bases


def encoder_files(config: ExperimentConfig) -> str:
    """Return a digest of frontend and encoder that needs no weights: configuration, and size and time of each file.

    It is empty if the files are not on this machine, or the encoder has none.
    """
    path = getattr(config.encoder, "path", None)
    if path is None:
        return ""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(huggingface_hub.snapshot_download(path, local_files_only=True))
        except (OSError, ValueError):
            return ""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    states = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    frontend = configs.component_to_dict("frontends", config.frontend)
    encoder = configs.component_to_dict("encoders", config.encoder)
    return digest(frontend, encoder, str(folder.absolute()), states)


def feature_identity(frontend: Frontend) -> dict[str, Any]:
    """Return the identity of a dump of features."""
    return {"dump": "features", "frontend": frontend.identity()}


def load_model(
    exp_dir: Path, config: ExperimentConfig, dtype: torch.dtype, weights: str = "model.safetensors"
) -> Built:
    """Build the model of an experiment and load its trained weights."""
    built = build(config, dtype)
    load_weights(built.model, exp_dir / weights, built.bases)
    built.model.eval()
    return built


def read_experiment(
    exp_dir: Path, inference_config: Path | None = None, overrides: Iterable[str] = ()
) -> ExperimentConfig:
    """Read the configuration that an experiment was trained with, to decode with it.

    Args:
        exp_dir: the experiment.
        inference_config: YAML of another ``decode`` section.
        overrides: of the decode section and the paths of the models; of what shapes model and data they may only
            repeat what was trained, and others change nothing.

    Raises:
        ConfigError: if there is no experiment, or an override would change what was trained.
    """
    if not (exp_dir / "config.yaml").is_file():
        raise ConfigError(f"{exp_dir}: no config.yaml, expected a trained experiment; run the training stage first")
    overrides = [*inference_overrides(inference_config), *overrides]
    config = load_config(exp_dir / "config.yaml", overrides)
    trained = load_config(exp_dir / "config.yaml")
    now, then = (_without_paths(entry) for entry in (config, trained))
    changed = [key for key in MODEL if now[key] != then[key]]
    if changed or (config.data.dump, config.data.transcript) != (trained.data.dump, trained.data.transcript):
        raise ConfigError(
            f"{exp_dir}: trained with another {' and '.join(changed) or 'data section'} than the overrides say; "
            "only decode.*, encoder.path and decoder.path can be changed after training"
        )
    return config


def is_begun(exp_dir: Path) -> bool:
    """Return whether an experiment has a resume checkpoint."""
    return (exp_dir / "checkpoints" / "resume.json").exists()


def inference_overrides(inference_config: Path | None) -> list[str]:
    """Return the override that replaces the ``decode`` section by that of another YAML; none if there is no other."""
    if inference_config is None:
        return []
    return [f"decode={json.dumps(configs.to_dict(configs.load(DecodeConfig, inference_config)))}"]


def check_same(exp_dir: Path, config: ExperimentConfig) -> None:
    """Make sure that a training which goes on is the one that was begun.

    Raises:
        ConfigError: if ``exp_dir`` was trained with another configuration, but for how long and how often.
    """
    if not is_begun(exp_dir):
        return
    old, new = (configs.to_dict(entry) for entry in (load_config(exp_dir / "config.yaml"), config))
    changed = [key for key in ("seed", *MODEL, "data") if old[key] != new[key]]
    changed += [
        f"train.{key}" for key in new["train"] if key not in MAY_CHANGE and old["train"][key] != new["train"][key]
    ]
    if changed:
        raise ConfigError(
            f"{exp_dir}: was trained with another {' and '.join(changed)}; choose another --tag, or remove it"
        )


def with_recorded_prompt(exp_dir: Path, config: ExperimentConfig) -> ExperimentConfig:
    """Return ``config`` with the text of the chat template that the training in ``exp_dir`` was begun with, if any."""
    if config.prompt.chat_text is not None or not (exp_dir / "checkpoints" / "resume.json").exists():
        return config
    recorded = load_config(exp_dir / "config.yaml").prompt.chat_text
    return replace(config, prompt=replace(config.prompt, chat_text=recorded))


def write_record(exp_dir: Path, config: ExperimentConfig) -> None:
    """Write config.yaml and run.yaml: configuration, command, versions."""
    for name, content in (("config.yaml", configs.to_dict(config)), ("run.yaml", run_record())):
        with new_file(exp_dir / name) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def digest(*contents: Any) -> str:
    """Return a short digest of plain values."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _without_paths(config: ExperimentConfig) -> dict[str, Any]:
    """Return the sections as plain values, types of components included, but for where models lie."""
    sections = configs.to_dict(config)
    return {key: {name: value for name, value in sections[key].items() if name != "path"} for key in MODEL}
