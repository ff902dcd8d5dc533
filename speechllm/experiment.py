"""The experiment: the schema of its YAML, and its directory."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from speechllm import config as configs
from speechllm.atomic import new_file
from speechllm.config import component
from speechllm.data.config import DataConfig
from speechllm.errors import ConfigError
from speechllm.inference.config import DecodeConfig
from speechllm.interfaces import ComponentConfig, ConnectorConfig, DecoderConfig, EncoderConfig, FrontendConfig
from speechllm.models.prompt import PromptConfig
from speechllm.provenance import fingerprint, run_record
from speechllm.train.config import TrainConfig

MODEL = ("frontend", "encoder", "connector", "decoder", "prompt")
"""Sections that define the model."""
MAY_CHANGE = (
    "max_steps",
    "log_every",
    "loggers",
    "valid_every",
    "shuffled_batches",
    "decode_utterances",
    "keep_best",
    "packing",
    "compile",
    "activation_checkpointing",
    "deepspeed",
)
"""Settings of ``train`` that may change when a training is resumed."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything that defines an experiment."""

    seed: int = 1
    """Seed of initial weights, dropout and the order of the data."""
    frontend: FrontendConfig = component("frontends")
    """Samples to features."""
    encoder: EncoderConfig = component("encoders")
    """Features to states."""
    connector: ConnectorConfig = component("connectors")
    """States to embeddings of the LLM."""
    decoder: DecoderConfig = component("decoders")
    """The LLM."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    """Prompt around the speech."""
    data: DataConfig = field(default_factory=DataConfig)
    """Features, batches and augmentation."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimisation."""
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    """Search."""

    def __post_init__(self) -> None:
        """Check the values of several sections together."""
        if self.data.batch_tokens is not None and not self.train.packing:
            raise ConfigError(
                f"data.batch_tokens: found {self.data.batch_tokens} with train.packing false, but padding is not "
                "counted; set train.packing: true, or use data.batch_duration alone"
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: found {self.seed}, expected at least 0 and less than 2**63")
        if self.data.hot_words is not None and not self.prompt.takes_context:
            raise ConfigError(
                "data.hot_words: found hot words, but the prompt has no place for them; expected "
                "prompt.context, a text with {context}"
            )


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read an experiment's YAML; ``overrides`` are ``section.key=value`` strings."""
    return configs.load(ExperimentConfig, path, overrides)


def dump_name(config: ExperimentConfig) -> str:
    """Return the name of the dump of an experiment; experiments share a dump if and only if they share its name.

    Encoder options with default values are left out, so that a new option does not rename existing dumps.
    """
    frontend = configs.component_to_dict("frontends", config.frontend)
    if config.data.dump != "encoder":
        name = "_".join(str(value) for value in frontend.values())
        return name if config.data.compress else f"{name}_float32"
    encoder = configs.component_to_dict("encoders", config.encoder)
    for option in dataclasses.fields(config.encoder):
        if encoder[option.name] == option.default:
            del encoder[option.name]
    return f"{base_name(config.encoder)}_{fingerprint(frontend, encoder)[:6]}"


def set_dir(config: ExperimentConfig, dump: Path, name: str, data_dir: Path) -> Path:
    """Return the directory of a set for an experiment: its dump below ``dump``, or its data directory."""
    return data_dir if config.data.dump == "none" else dump / dump_name(config) / name


def base_path(part: ComponentConfig) -> str | None:
    """Return the hub id or directory of the base model of a component; None without one."""
    path: str | None = getattr(part, "path", None)
    return path


def base_name(part: ComponentConfig) -> str:
    """Return a short name of the base model of a component: the last part of its path, or its type."""
    return Path(base_path(part) or type(part).__module__.rpartition(".")[2]).name


def read_experiment(
    exp_dir: Path, inference_config: Path | None = None, overrides: Iterable[str] = ()
) -> ExperimentConfig:
    """Read the configuration of a trained experiment for decoding.

    Args:
        exp_dir: the experiment.
        inference_config: YAML of another ``decode`` section.
        overrides: overrides of the decode section and of the paths of the base models; settings of the model and its
            inputs must equal those of the training, and other settings have no effect.

    Raises:
        ConfigError: if the experiment does not exist, or an override changes the trained model or its inputs.
    """
    if not (exp_dir / "config.yaml").is_file():
        raise ConfigError(f"{exp_dir}: no config.yaml, expected a trained experiment; run the training stage first")
    overrides = [*inference_overrides(inference_config), *overrides]
    config = load_config(exp_dir / "config.yaml", overrides)
    trained = load_config(exp_dir / "config.yaml")
    now, then = (_without_paths(entry) for entry in (config, trained))
    changed = [key for key in MODEL if now[key] != then[key]]
    if changed or _inputs(config) != _inputs(trained):
        raise ConfigError(
            f"{exp_dir}: trained with another {' and '.join(changed) or 'data section'} than that of the overrides; "
            "only decode.*, encoder.path, decoder.path and data.dump (features or none) can be changed after training"
        )
    return config


def is_begun(exp_dir: Path) -> bool:
    """Return whether an experiment has a resume checkpoint."""
    return (exp_dir / "checkpoints" / "resume.json").exists()


def inference_overrides(inference_config: Path | None) -> list[str]:
    """Return the override that replaces the ``decode`` section by that of another YAML; no override without one."""
    if inference_config is None:
        return []
    return [f"decode={json.dumps(configs.to_dict(configs.load(DecodeConfig, inference_config)))}"]


def check_same(exp_dir: Path, config: ExperimentConfig) -> None:
    """Check that the configuration of a resumed training has not changed.

    Raises:
        ConfigError: if ``exp_dir`` was trained with other settings, except those in ``MAY_CHANGE``.
    """
    if not is_begun(exp_dir):
        return
    old, new = (configs.to_dict(entry) for entry in (load_config(exp_dir / "config.yaml"), config))
    changed = [key for key in ("seed", *MODEL, "data") if old[key] != new[key]]
    changed += [
        f"train.{key}" for key in new["train"] if key not in MAY_CHANGE and old["train"][key] != new["train"][key]
    ]
    if all(one["train"]["ctc_steps"] == one["train"]["max_steps"] for one in (old, new)):
        changed = [one for one in changed if one != "train.ctc_steps"]  # max_steps under another name
    if changed:
        raise ConfigError(
            f"{exp_dir}: was trained with another {' and '.join(changed)}; choose another --tag, or remove it"
        )


def with_recorded_prompt(exp_dir: Path, config: ExperimentConfig) -> ExperimentConfig:
    """Return ``config`` with the text of the chat template that the training in ``exp_dir`` has recorded, if any."""
    if config.prompt.chat_text is not None or not (exp_dir / "checkpoints" / "resume.json").exists():
        return config
    recorded = load_config(exp_dir / "config.yaml").prompt.chat_text
    return replace(config, prompt=replace(config.prompt, chat_text=recorded))


def write_record(exp_dir: Path, config: ExperimentConfig) -> None:
    """Write config.yaml and run.yaml: configuration, command, versions."""
    for name, content in (("config.yaml", configs.to_dict(config)), ("run.yaml", run_record())):
        with new_file(exp_dir / name) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _inputs(config: ExperimentConfig) -> tuple[bool, str]:
    """Return the data settings that inference must share with training; features may be dumped or not."""
    return config.data.dump == "encoder", config.data.transcript


def _without_paths(config: ExperimentConfig) -> dict[str, Any]:
    """Return the sections of the model as plain values with component types, without the paths of base models."""
    sections = configs.to_dict(config)
    return {key: {name: value for name, value in sections[key].items() if name != "path"} for key in MODEL}
