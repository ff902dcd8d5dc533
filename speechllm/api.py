"""Use of a trained model from Python.

from speechllm import load

model = load("exp/whisper_tiny_smollm2_fc")
print(model.transcribe("a.wav").text)
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import torch

from speechllm.atomic import new_dir
from speechllm.build import Built, load_model, torch_dtype
from speechllm.collector import collector_paused
from speechllm.config import to_dict
from speechllm.data.context import context_case
from speechllm.data.dataset import example_of
from speechllm.data.language import language_name
from speechllm.errors import ConfigError, DataError
from speechllm.experiment import ExperimentConfig, base_name, base_path
from speechllm.inference.recognize import recognizer
from speechllm.inference.transcribe import Audio, Transcriber, check_options
from speechllm.inference.transcript import Transcript
from speechllm.interfaces import ComponentConfig, Seconds
from speechllm.models.int8 import quantize_linears
from speechllm.models.weights import save_weights
from speechllm.pretrained.card import model_card
from speechllm.pretrained.directory import CONFIG, PARTS, WEIGHTS, TrainedModel, read_model, write_config
from speechllm.pretrained.hub import check_repo, push
from speechllm.provenance import file_fingerprint, fingerprint

Name: TypeAlias = str | os.PathLike[str]
BASE_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def load(
    name: Name | None = None,
    *,
    device: str = "auto",
    overrides: Iterable[str] = (),
    merge_lora: bool = False,
    quantize: Literal["int8"] | None = None,
    trust_components: bool = False,
) -> "Model":
    """Load a trained model.

    Args:
        name: an experiment (``exp/...``), a packed directory, the name of a shipped model, or a hub id; None: the
            shipped model ``DEFAULT``.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto``: a GPU if there is one.
        overrides: ``section.key=value`` strings for the search (``decode.search.num_beams=4``), the precision
            (``decode.dtype=bfloat16``), the prompt, or the paths of the base models (``encoder.path=...``).
        merge_lora: add adapters to the weights: faster, and equal up to rounding; the model cannot be saved.
        quantize: ``int8``: 8-bit linear layers of the base models on the CPU; adapters are merged, and a transcript may
            depend on its batch.
        trust_components: import components from outside speechllm, which runs their code; otherwise a model with such
            components is rejected.

    Raises:
        ConfigError: if the model, the device or a base model does not exist, or a base model differs from the one in
            training.
    """
    with collector_paused():
        target = _device(device)
        trained = read_model(name, overrides, trust_components=trust_components)
        if quantize is not None:
            _check_quantize(quantize, target, trained.config.decode.dtype)
        built = load_model(trained.path, trained.config, torch_dtype(trained.config.decode.dtype))
        if merge_lora or quantize is not None:
            built.model.merge_adapters()
        if quantize is not None:
            built.model.decoder.check()  # in float32, because the rounding of int8 exceeds the tolerance of the check
            for part in (built.model.encoder, built.model.connector, built.model.decoder):
                if isinstance(part, torch.nn.Module):  # not None
                    quantize_linears(part, frozen_only=part is built.model.connector)
        return Model(trained, built, target, is_merged=merge_lora or quantize is not None, quantize=quantize)


def _check_quantize(quantize: str, device: torch.device, dtype: str) -> None:
    """Raise ConfigError unless ``quantize`` is int8, the device is the CPU, and the precision is float32."""
    if quantize != "int8":
        raise ConfigError(f"quantize: found {quantize!r}, expected int8 or None")
    if device.type != "cpu" or dtype != "float32":
        raise ConfigError(
            f"quantize: found device {device.type} and decode.dtype {dtype}, expected cpu and float32; "
            "on a GPU use decode.dtype=bfloat16"
        )


def _device(name: str) -> torch.device:
    """Return the device called ``name``.

    Raises:
        ConfigError: if this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tensor = torch.zeros(1, device=name)
        tensor.tolist()  # the device "meta" has no values
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:  # devices raise different classes
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise ConfigError(f"device: found {name!r}, expected auto, cpu, cuda, cuda:1, ...: {reason}") from error
    return tensor.device


_Part = TypeVar("_Part", bound=ComponentConfig)


class Model:
    """A trained model that recognises speech, returned by ``load``."""

    def __init__(
        self, trained: TrainedModel, built: Built, device: torch.device, *, is_merged: bool, quantize: str | None = None
    ) -> None:
        self._path = trained.path
        self.config: ExperimentConfig = trained.config
        self.about = trained.about
        self.device = device
        self.frontend = built.frontend
        self.speech_llm = built.model
        self.max_window: Seconds = max(trained.config.data.max_duration, _concat_duration(trained.config))
        """Maximum window: the longest speech in training (seconds)."""
        self._bases, self._is_merged, self._quantize = built.bases, is_merged, quantize
        self._recognize = recognizer(built, trained.config.decode, device)

    from_pretrained = staticmethod(load)

    def transcribe(
        self,
        audio: Audio,
        *,
        batch_size: int = 8,
        max_window: Seconds | None = None,
        context: str = "",
        language: str = "",
    ) -> Transcript:
        """Return the transcript of a recording of any length; speech longer than a window is cut at pauses.

        Args:
            audio: the path of a file, or ``(samples, rate)``. Samples are floating point, (N,), (N, channels) or
                (channels, N); channels are averaged.
            batch_size: windows decoded at once; in float32 it changes no transcript.
            max_window: maximum window in seconds, at least 1; None: as in training.
            context: text for the prompt, such as hot words separated by commas.
            language: code (``de``) or English name of the language, if the prompt contains ``{language}``.

        Raises:
            DataError: if the file or samples cannot be read.
            ConfigError: if a context or language is given and the prompt has no place for it, or the prompt needs a
                language and none is given.
        """
        return next(
            self.transcribe_all(
                [audio], batch_size=batch_size, max_window=max_window, context=context, language=language
            )
        )

    def transcribe_all(
        self,
        audios: Iterable[Audio],
        *,
        batch_size: int = 8,
        max_window: Seconds | None = None,
        context: str = "",
        language: str = "",
    ) -> Iterator[Transcript]:
        """Yield the transcripts of recordings, in order; ``audios`` is read lazily.

        Arguments and errors are those of ``transcribe``. A batch may contain windows of several recordings.
        """
        for result in self.transcribe_each(
            audios, batch_size=batch_size, max_window=max_window, context=context, language=language
        ):
            if isinstance(result, DataError):
                raise result
            yield result

    def transcribe_each(
        self,
        audio: Iterable[Audio],
        *,
        batch_size: int = 8,
        max_window: Seconds | None = None,
        context: str = "",
        language: str = "",
        progress: Callable[[Seconds], None] | None = None,
    ) -> Iterator[Transcript | DataError]:
        """Yield a transcript, or the error of an unreadable recording, for each of several recordings.

        Arguments are those of ``transcribe_all``. ``progress`` is called with the seconds of each finished window.
        """
        check_options(batch_size, max_window)
        if context and not self.config.prompt.takes_context:
            raise ConfigError(
                "context: found a context, but the prompt of the model has no place for it; expected a model trained "
                "with prompt.context, or an override of prompt.context"
            )
        name = self._language_name(language)
        cased = context_case(" ".join(context.split()), self.config.data.transcript)
        transcriber = Transcriber(
            lambda batch: self._recognize([example_of(samples_N, self.frontend, cased, name) for samples_N in batch]),
            sample_rate=self.frontend.sample_rate,
            max_window=max_window or self.max_window,
            batch_size=batch_size,
            progress=progress,
        )
        return transcriber(audio)

    def _language_name(self, language: str) -> str:
        """Return the English name of the language for the prompt; empty if the prompt has no place for a language."""
        if bool(language) != self.config.prompt.takes_language:
            found, has = (repr(language), "no place") if language else ("none", "a place")
            raise ConfigError(
                f"language: found {found}, but the prompt of the model has {has} for a language, {{language}}; "
                f"{'leave the language out' if language else 'give one, such as de'}"
            )
        return language_name(language, "language") if language else ""

    def fingerprint(self, max_window: Seconds | None = None, context: str = "", language: str = "") -> str:
        """Return the fingerprint of all inputs of a transcript except the audio.

        Args:
            max_window: as for ``transcribe``.
            context: as for ``transcribe``.
            language: as for ``transcribe``.
        """
        parts = [file_fingerprint(self._path / WEIGHTS), self._bases, to_dict(self.config)]
        window = [] if max_window in (None, self.max_window) else [max_window]
        quantize = [self._quantize] if self._quantize else []
        given = [{name: text} for name, text in (("context", context), ("language", language)) if text]
        return fingerprint(*parts, *window, *quantize, *given)

    def save_pretrained(
        self,
        out_dir: Name,
        *,
        dtype: Literal["float16", "float32", "bfloat16"] = "float16",
        encoder: str | None = None,
        decoder: str | None = None,
        notes: str = "",
        name: str | None = None,
    ) -> None:
        """Write the model to a directory that ``load`` can read on any machine.

        Args:
            out_dir: a new directory.
            dtype: precision of the trained weights.
            encoder: hub id or name of the encoder; None: the present hub id, or a copy of a local base model in the
                directory.
            decoder: hub id or name of the LLM; None: likewise.
            notes: Markdown for the model card: data, licences, limits.
            name: name in the model card; None: the name of the directory.

        Raises:
            ConfigError: if the directory exists already, or adapters were merged.
        """
        out = Path(out_dir)
        if self._is_merged:
            raise ConfigError(
                "save_pretrained: the adapters are merged into the LLM; load the model without merge_lora"
            )
        if out.exists():
            raise ConfigError(f"{out}: exists already; choose another directory, or remove it")
        about = {**self.about, "bases": {part: self._base_name(part) for part in PARTS}}
        trained = {name: p for name, p in self.speech_llm.named_parameters() if p.requires_grad}
        metadata = {"steps": self.about.get("steps", []), "bases": self._bases}
        with new_dir(out) as folder:
            self.speech_llm.decoder.save_tokenizer(folder / "tokenizer")
            llm = replace(self.config.decoder, tokenizer="./tokenizer")
            config = replace(
                self.config,
                encoder=_portable(self.config.encoder, "encoder", encoder, folder),
                decoder=_portable(llm, "decoder", decoder, folder),
            )
            save_weights(folder / WEIGHTS, trained, metadata, torch_dtype(dtype))
            card = model_card(name or out.resolve().name, config, about, notes)
            (folder / "README.md").write_text(card, encoding="utf-8")
            write_config(folder / CONFIG, config, about)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        dtype: Literal["float16", "float32", "bfloat16"] = "float16",
        encoder: str | None = None,
        decoder: str | None = None,
        notes: str = "",
    ) -> str:
        """Upload the model to Hugging Face's hub for ``load(repo_id)``; return the address of the commit.

        Args:
            repo_id: ``USER/NAME``; created if it does not exist.
            private: whether a new repository is private.
            dtype: see ``save_pretrained``.
            encoder: see ``save_pretrained``.
            decoder: see ``save_pretrained``.
            notes: see ``save_pretrained``.

        Raises:
            ConfigError: if the hub rejects the model or cannot be reached, or adapters were merged.
        """
        check_repo(repo_id)
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder, "packed")
            self.save_pretrained(packed, dtype=dtype, encoder=encoder, decoder=decoder, notes=notes, name=repo_id)
            return push(packed, repo_id, private=private)

    def _base_name(self, part: str) -> str:
        """Return the original name of a base model, also where it was copied to a packed directory."""
        return str(self.about.get("bases", {}).get(part) or base_name(getattr(self.config, part)))


def _concat_duration(config: ExperimentConfig) -> Seconds:
    """Return the largest duration of random concatenation in training (seconds); 0 without it."""
    return config.data.concat.duration if config.data.concat is not None else 0.0


def _portable(part: _Part, name: str, other: str | None, out: Path) -> _Part:
    """Return the configuration of a base model with a path that is valid on any machine; copy a local base model."""
    if other is not None:
        return replace(part, path=other)
    source = Path(base_path(part) or "")
    if not source.name or not source.is_dir():
        return part
    (out / name).mkdir()
    for path in sorted(path for pattern in BASE_FILES for path in source.glob(pattern)):
        shutil.copyfile(path, out / name / path.name)
    return replace(part, path=f"./{name}")
