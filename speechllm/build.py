"""Build the model of an experiment from base models on disk or hub, a connector and trained weights."""

from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import torch

from speechllm import config as configs
from speechllm.data.audio_dataset import AudioDataset
from speechllm.data.batch import Collate
from speechllm.data.dataset import SpeechDataset
from speechllm.data.derive.augment import Augmentation, Augmenter, is_augmented
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import read_language
from speechllm.data.language import language_name
from speechllm.errors import ConfigError
from speechllm.experiment import ExperimentConfig, base_name, base_path
from speechllm.interfaces import Encoder, Frontend, Seconds
from speechllm.models.speech_llm import SpeechLLM
from speechllm.models.weights import check_finite, load_weights, model_fingerprint
from speechllm.provenance import fingerprint

NOT_OURS = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "*.gguf"]
"""Files of a hub model in unused formats."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model, its frontend, and the fingerprints for checks of dumps and checkpoints."""

    model: SpeechLLM
    frontend: Frontend
    dump_fingerprint: dict[str, object]
    """Settings that a dump and this model must share."""
    bases: dict[str, str]
    """Fingerprints of the base models."""
    state_rate: float
    """Encoder states per second."""

    def collate(self) -> Collate:
        """Return a function from dumped utterances to a batch for the model."""
        return Collate(encoded=self.dump_fingerprint["dump"] == "encoder")

    def padded_duration(self, duration: Seconds) -> Seconds:
        """Return the duration of an utterance with the padding of the encoder; see ``Encoder.padded_duration``."""
        return duration if self.model.encoder is None else self.model.encoder.padded_duration(duration)


def build(config: ExperimentConfig, dtype: torch.dtype) -> Built:
    """Build the untrained model: base models from disk or hub, and a connector with random weights.

    A model for dumped encoder states has no encoder.
    """
    torch.manual_seed(config.seed)
    frontend, encoder, dump_fingerprint, bases = build_encoder(config, dtype)
    decoder = config.decoder.build(dtype=dtype)
    connector = config.connector.build(
        input_dim=encoder.output_dim, output_dim=decoder.embedding_dim, segment_states=encoder.segment_states
    )
    connector.bind_encoder(encoder)
    model = SpeechLLM(None if config.data.dump == "encoder" else encoder, connector.to(dtype), decoder, config.prompt)
    bases["decoder"] = model_fingerprint(decoder.model)
    if connector.base_model is not None:
        bases["connector"] = model_fingerprint(connector.base_model)
        check_finite(connector.base_model.state_dict(), f"encoder.path: {base_name(config.encoder)}")
    check_finite(encoder.state_dict(), f"encoder.path: {base_name(config.encoder)}")
    check_finite(decoder.model.state_dict(), f"decoder.path: {base_name(config.decoder)}")
    return Built(
        model=model,
        frontend=frontend,
        dump_fingerprint=dump_fingerprint,
        bases=bases,
        state_rate=encoder.frame_rate,
    )


def open_set(config: ExperimentConfig, directory: Path, *, training: bool = False) -> SpeechDataset:
    """Open a set of an experiment: a dump, or the audio of a data directory if ``data.dump`` is none.

    Args:
        config: the experiment.
        directory: the dump or the data directory, see ``experiment.set_dir``.
        training: whether to augment audio.

    Raises:
        DataError: if the set is incomplete.
        ConfigError: if its audio would be augmented twice, or the prompt needs a language and the set has none.
    """
    dataset = _open_dump_or_audio(config, directory, training=training)
    if config.prompt.takes_language:
        language = read_language(directory)
        if language is None:
            raise ConfigError(
                f"{directory}: found no file language, expected a file with the code of the language, such as de, for "
                "{language} in the prompt; write it to the data directory, and run stage 2 again"
            )
        dataset.languages = [language_name(language, f"{directory}/language")]
    return dataset


def _open_dump_or_audio(config: ExperimentConfig, directory: Path, *, training: bool) -> SpeechDataset:
    if config.data.dump != "none":
        return DumpDataset(directory, config.data.transcript)
    change = None
    if training and config.data.augment is not None:
        if is_augmented(directory):
            raise ConfigError(
                f"{directory}: found an augmented set, expected a set without augmentation for data.augment with "
                "data.dump: none; remove the set from the training sets, or set data.augment: null"
            )
        change = Augmenter(Augmentation.of(config.data.augment))
    return AudioDataset(directory, config.frontend.build(), config.data.transcript, change, config.seed)


def build_encoder(
    config: ExperimentConfig, dtype: torch.dtype
) -> tuple[Frontend, Encoder, dict[str, object], dict[str, str]]:
    """Return frontend, encoder, fingerprint of their dump, and the encoder's fingerprint as ``{"encoder": ...}``."""
    frontend, encoder = config.frontend.build(), config.encoder.build(dtype=dtype)
    if frontend.feature_dim != encoder.feature_dim:
        raise ConfigError(
            f"frontend: found {frontend.feature_dim} features per frame, but the encoder {base_name(config.encoder)} "
            f"expects {encoder.feature_dim}; use {{type: log_mel, num_mels: 80}} for Whisper (large-v3: 128), "
            "{type: waveform} for HuBERT and WavLM"
        )
    bases = {"encoder": model_fingerprint(encoder)}
    dump_fingerprint = feature_fingerprint(frontend) | {"dump": config.data.dump}
    if config.data.dump == "encoder":
        if any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ConfigError(
                "data.dump: found 'encoder' with encoder layers to be trained, expected a frozen encoder; "
                "freeze it, or set data.dump: features"
            )
        dump_fingerprint["encoder"] = {**encoder.fingerprint(), "fingerprint": bases["encoder"]}
    return frontend, encoder, dump_fingerprint, bases


def encoder_files(config: ExperimentConfig) -> str:
    """Return a fingerprint of the configuration of frontend and encoder and of the sizes and times of their files.

    No weights are read. It is empty if the encoder has no files on this machine.
    """
    path = base_path(config.encoder)
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
    return fingerprint(frontend, encoder, str(folder.absolute()), states)


def feature_fingerprint(frontend: Frontend) -> dict[str, object]:
    """Return the fingerprint of a dump of features."""
    return {"dump": "features", "frontend": frontend.fingerprint()}


def load_model(
    exp_dir: Path, config: ExperimentConfig, dtype: torch.dtype, weights: str = "model.safetensors"
) -> Built:
    """Build the model of an experiment and load its trained weights."""
    built = build(config, dtype)
    load_weights(built.model, exp_dir / weights, built.bases)
    built.model.eval()
    return built


def fetch_models(config: ExperimentConfig) -> None:
    """Download the base models that have a hub id and are not in the cache."""
    for name, part in (("encoder", config.encoder), ("decoder", config.decoder)):
        path = base_path(part)
        if path is None or Path(path).is_dir():
            continue
        if path[:1] in (".", "/", "~"):
            raise ConfigError(f"{name}.path: no directory {path}; create it (tools/offline_models) or name a hub id")
        try:
            huggingface_hub.snapshot_download(path, ignore_patterns=NOT_OURS)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name}.path: {path!r} cannot be downloaded from the hub: {error}") from error


def torch_dtype(name: str) -> torch.dtype:
    """Return the torch type called ``name``."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype
