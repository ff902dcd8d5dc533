"""A trained model, to be used from Python.

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
        name: an experiment (``exp/...``), a packed directory, the name of a shipped model, or a hub id; None: the first
            of the shipped models.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto``: a GPU if there is one.
        overrides: ``section.key=value`` strings for the search (``decode.search.num_beams=4``), the precision
            (``decode.dtype=bfloat16``), the prompt, or where the base models are (``encoder.path=...``).
        merge_lora: add the LLM's adapters to its weights: faster, the same up to rounding; it cannot be saved then.
        quantize: ``int8``: 8-bit linear layers of encoder and LLM on the CPU; adapters are merged, and a text may
            change with its batch.
        trust_components: import the modules outside speechllm that the model names as its components, and so run their
            code; otherwise such a model is refused.

    Raises:
        ConfigError: if there is no such model or device, its base models are not found, or are others than it was
            trained with.
    """
    with collector_paused():
        target = _device(device)
        trained = read_model(name, overrides, trust_components=trust_components)
        if quantize is not None:
            _check_quantize(quantize, target, trained.config.decode.dtype)
        built = load_model(trained.path, trained.config, torch_dtype(trained.config.decode.dtype))
        if merge_lora or quantize is not None:
            built.model.decoder.merge_adapters()
        if quantize is not None:
            built.model.decoder.check()  # in float32, since rounding exceeds its tolerance
            for part in PARTS:
                quantize_linears(built.model.get_submodule(part))
        return Model(trained, built, target, is_merged=merge_lora or quantize is not None, quantize=quantize)


def _check_quantize(quantize: str, device: torch.device, dtype: str) -> None:
    """Raise ConfigError unless ``quantize`` is known, the device the CPU, and the precision float32."""
    if quantize != "int8":
        raise ConfigError(f"quantize: found {quantize!r}, expected int8, or None")
    if device.type != "cpu" or dtype != "float32":
        raise ConfigError(
            f"quantize: found device {device.type} and decode.dtype {dtype}, expected cpu and float32; "
            "on a GPU use decode.dtype=bfloat16"
        )


def _device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        ConfigError: if this machine has none of that name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tensor = torch.zeros(1, device=name)
        tensor.tolist()  # the device "meta" has no values
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:  # one of each by some devices
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise ConfigError(f"device: found {name!r}, expected auto, cpu, cuda, cuda:1, ...: {reason}") from error
    return tensor.device


_Part = TypeVar("_Part", bound=ComponentConfig)


class Model:
    """A trained model, ready to recognise speech; made by ``load``."""

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
        """Return the transcript of a recording of any length; longer speech than a window is cut at pauses.

        Args:
            audio: the path of a file, or ``(samples, rate)``. Samples are floating point, (N,), (N, channels) or
                (channels, N); channels are mixed.
            batch_size: windows recognised at once; changes no text in float32.
            max_window: maximum window in seconds, at least 1; None: as in training.
            context: text for the prompt, such as hot words with commas between.
            language: code (``de``) or English name of the language, for models whose prompt has a place for it.

        Raises:
            DataError: if the file or samples cannot be read.
            ConfigError: if the model's prompt has no place for a context or language that is given, or has one for a
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
        """Yield the transcripts of recordings, in order; ``audios`` is read as they are asked for.

        Arguments and errors are those of ``transcribe``. A batch may hold windows of several recordings.
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
        """As ``transcribe_all``, but yield an error in place of the transcript of an unreadable recording, and go on.

        ``progress`` is told how many seconds of speech have been done whenever some have.
        """
        check_options(batch_size, max_window)
        if context and not self.config.prompt.takes_context:
            raise ConfigError(
                "context: found a context, but the prompt of the model has no place for it; expected a model trained "
                "with prompt.context, or prompt.context among the overrides"
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
        """Return the English name for the prompt, empty if the prompt has no place for one and none is given."""
        if bool(language) != self.config.prompt.takes_language:
            found, has = (repr(language), "no place") if language else ("none", "a place")
            raise ConfigError(
                f"language: found {found}, but the prompt of the model has {has} for a language, {{language}}; "
                f"{'leave the language out' if language else 'give one, such as de'}"
            )
        return language_name(language, "language") if language else ""

    def fingerprint(self, max_window: Seconds | None = None, context: str = "", language: str = "") -> str:
        """Return the fingerprint of all that a transcript depends on except the audio.

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
        """Write the model to a directory that ``load`` reads on any machine.

        Args:
            out_dir: a new directory.
            dtype: precision of the trained weights.
            encoder: hub id, or name, by which the base model is to be found; None: as now if that is a hub id,
                otherwise the base model is copied into the directory.
            decoder: the same of the LLM.
            notes: Markdown for its card: data, licences, limits.
            name: in its card; None: that of the directory.

        Raises:
            ConfigError: if the directory is there already, or adapters were merged.
        """
        out = Path(out_dir)
        if self._is_merged:
            raise ConfigError(
                "save_pretrained: the adapters are merged into the LLM; load the model without merge_lora"
            )
        if out.exists():
            raise ConfigError(f"{out}: is there already; choose another directory, or remove it")
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
        """Upload the model to Hugging Face's hub, where ``load(repo_id)`` finds it; return the commit's address.

        Args:
            repo_id: ``USER/NAME``; created if it is not there.
            private: whether a repository that is created is private.
            dtype: as for ``save_pretrained``, and likewise ``encoder``, ``decoder`` and ``notes``.
            encoder: hub id of the encoder.
            decoder: hub id of the LLM.
            notes: Markdown for its card.

        Raises:
            ConfigError: if the hub refuses it or cannot be reached, or adapters were merged.
        """
        check_repo(repo_id)
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder, "packed")
            self.save_pretrained(packed, dtype=dtype, encoder=encoder, decoder=decoder, notes=notes, name=repo_id)
            return push(packed, repo_id, private=private)

    def _base_name(self, part: str) -> str:
        """Return the name of a base model, as it was before it was copied anywhere."""
        return str(self.about.get("bases", {}).get(part) or base_name(getattr(self.config, part)))


def _concat_duration(config: ExperimentConfig) -> Seconds:
    """Return the largest duration of random concatenation in training (seconds); 0 without it."""
    return config.data.concat.duration if config.data.concat is not None else 0.0


def _portable(part: _Part, name: str, other: str | None, out: Path) -> _Part:
    """Return the configuration of a base model, named so that it is found on any machine, copied if need be."""
    if other is not None:
        return replace(part, path=other)
    source = Path(base_path(part) or "")
    if not source.name or not source.is_dir():
        return part
    (out / name).mkdir()
    for path in sorted(path for pattern in BASE_FILES for path in source.glob(pattern)):
        shutil.copyfile(path, out / name / path.name)
    return replace(part, path=f"./{name}")
