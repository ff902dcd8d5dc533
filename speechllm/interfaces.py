"""The contracts between the components. Read this file first.

Names of tensors end in the letters of their shapes:

    B  utterances of a batch              T  feature frames (Whisper: 100 a second)
    N  samples of a waveform              F  feature dimension (mel bins)
    L  encoder frames (Whisper: 50/s)     D  encoder dimension
    S  speech tokens (connector output)   E  embedding dimension of the LLM
    U  text tokens                        V  vocabulary of the LLM
    M  stacked encoder states             C  CTC classes: blank and subword units
    R  rows of a search: beams            H  attention heads, or a hidden dimension

For example, ``feats_BTF`` is a padded batch of features and ``feat_lens_B`` the number of valid frames of each
utterance. Padding is always on the right, except in ``Decoder.generate``. Durations are ``Seconds``.

Data flow::

    samples_N -> Frontend -> feats_BTF -> Encoder -> states_BLD -> Connector -> embeds_BSE -> Decoder -> text

Each size is configured once: a connector is built from the encoder's ``output_dim`` and ``segment_states`` and the
decoder's ``embedding_dim``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:  # so that verbs for data and configurations start without torch
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from dataclasses import Field
    from pathlib import Path

    import numpy as np
    import torch
    from torch import Tensor

Seconds: TypeAlias = float
_Self = TypeVar("_Self")


class Module(Protocol):
    """Members of ``torch.nn.Module`` that the library uses; encoders, connectors and decoders are modules."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Return all parameters."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return all parameters and buffers by name."""
        ...

    @overload
    def to(self: _Self, device: torch.device, /) -> _Self: ...
    @overload
    def to(self: _Self, dtype: torch.dtype, /) -> _Self: ...

    def eval(self: _Self) -> _Self:
        """Turn off dropout."""
        ...


class Utterances(Protocol):
    """A batch of utterances; see ``speechllm.data.batch``."""

    utt_ids: list[str]
    inputs: Tensor  # feats_BTF, or states_BLD as dumped
    feat_lens_B: Tensor  # on the CPU
    texts: list[str]
    encoded: bool  # whether ``inputs`` are states
    epoch: int
    contexts: list[str]  # texts for the prompts; empty without contexts
    languages: list[str]  # English names for the prompts; empty without languages


class Frontend(Protocol):
    """Features of the samples of one utterance, on the CPU."""

    sample_rate: int  # Hz
    frame_rate: int  # feature frames per second
    feature_dim: int  # F
    silence_value: float  # value of every feature for samples of zero

    def extract(self, samples_N: np.ndarray) -> np.ndarray:
        """Return feats_TF (float32), the content of a dump."""
        ...

    def levels(self, feats_TF: np.ndarray) -> np.ndarray:
        """Return the level (dB) of every 10 ms of features."""
        ...

    def fingerprint(self) -> dict[str, object]:
        """Return the settings that a dump and a model must share."""
        ...


class Encoder(Module, Protocol):
    """States of features, for speech of any length; frozen unless configured otherwise.

    The encoder normalises features, pads them and cuts them into segments, on its own device.
    """

    path: str  # hub id or local directory of the base model
    feature_dim: int  # F of the frontend
    output_dim: int  # D
    frame_rate: float  # states per second
    segment_states: int  # states of a full segment; longer speech is encoded segment by segment

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Return the number of valid states for each number of feature frames."""
        ...

    def padded_duration(self, duration: Seconds) -> Seconds:
        """Return the duration of an utterance with the padding of its window."""
        ...

    def __call__(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return states_BLD and state_lens_B; features after ``feat_lens_B`` have no influence."""
        ...

    def merge_adapters(self) -> None:
        """Add adapters, if there are any, to the weights that they adapt; they cannot be trained any more."""
        ...

    def fingerprint(self) -> dict[str, object]:
        """Return the settings that a dump of states and a model must share."""
        ...


class SubwordUnits(Protocol):
    """Subword units: a small set of frequent tokens of the LLM."""

    ids: list[int]
    """Token ids of all units."""
    texts: list[str]
    """Text of each unit, with a space before the first unit of a word."""

    def __call__(self, text: str) -> list[int]:
        """Return the indices in ``ids`` of the units of ``text``."""
        ...

    def units(self, token: int, first: bool = False) -> list[int]:
        """Return the indices in ``ids`` of the units of a token of the LLM; ``first``: the token begins a text."""
        ...

    def token(self, place: int, first: bool = False) -> int:
        """Return the LLM's token that is a unit; ``first``: the token begins a text, without a space if it can."""
        ...


class Posteriors(NamedTuple):
    """Log-probabilities of a CTC head for a blank and subword units (C classes) in each stacked state (M)."""

    log_probs_BMC: Tensor
    """Class 0 is the blank, class i + 1 is the unit ``subwords.ids[i]``."""
    stacked_lens_B: Tensor
    """Number of valid stacked states, and of positions between them that a connector may add."""
    subwords: SubwordUnits
    stack: int = 1
    """Number of encoder states in each stacked state."""
    states_BM: Tensor | None = None
    """Stacked state of each position if a connector adds positions between states; None: position m is state m."""

    def select(self, utts: Tensor) -> Posteriors:
        """Return the posteriors of some utterances of the batch, given by their indices."""
        states_BM = None if self.states_BM is None else self.states_BM[utts]
        return self._replace(
            log_probs_BMC=self.log_probs_BMC[utts], stacked_lens_B=self.stacked_lens_B[utts], states_BM=states_BM
        )


class ConnectorOutput(NamedTuple):
    """Speech tokens of a batch, and the posteriors of a connector with a CTC head."""

    embeds_BSE: Tensor
    speech_lens_B: Tensor
    posteriors: Posteriors | None = None


class Connector(Module, Protocol):
    """Embeddings of the LLM from encoder states: the trained part of the model."""

    subwords: SubwordUnits | None  # of the CTC head; None without a CTC head
    ctc_weight: float  # weight of the CTC head's loss, relative to the LLM's loss
    exact_lengths: bool  # whether ``output_lengths`` are exact, and known before the states are computed
    rescores: bool  # whether ``log_probs`` can be called

    @property
    def base_model(self) -> Module | None:
        """Frozen base model; None without one. Its fingerprint is checked, its linear layers are called as modules."""
        ...

    def bind_encoder(self, encoder: Encoder) -> None:
        """Load parts of the encoder's base model; called once, before ``bind``."""
        ...

    def merge_adapters(self) -> None:
        """Add adapters, if there are any, to the weights that they adapt; they cannot be trained any more."""
        ...

    def bind(self, decoder: Decoder) -> None:
        """Store references to parts of the LLM, such as its embedding matrix; called once."""
        ...

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of speech tokens for each number of states, or a high estimate."""
        ...

    def __call__(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return the speech tokens; states after ``state_lens_B`` have no influence."""
        ...

    def ctc_loss(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]) -> Tensor:
        """Return the summed loss of transcripts (nats) in the CTC head; not called without one."""
        ...

    def with_ctc_loss(
        self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]
    ) -> tuple[ConnectorOutput, Tensor]:
        """Return the speech tokens and ``ctc_loss`` of the same computation; not called without a CTC head."""
        ...

    def log_probs(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[list[str]]) -> list[list[float] | None]:
        """Return the log-probabilities of the n-best texts of each utterance, None if there are none."""
        ...


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Options of the search, the same for every utterance."""

    num_beams: int = 1
    """Beam width; 1 is greedy search."""
    length_penalty: float = 1.0
    """Exponent of the length, the divisor of a hypothesis' log-probability (beam search)."""
    no_repeat_ngram: int = 0
    """Length of n-grams not to repeat in a hypothesis (tokens); 0: off."""
    nbest: int = 1
    """Hypotheses per utterance, at most num_beams."""
    speculative: bool = True
    """Whether greedy search verifies CTC hypotheses as drafts: faster, same text."""
    ctc_weight: float = 0.0
    """Weight of the CTC head in joint decoding (0 to 1)."""
    ctc_candidates: int = 20
    """Number of the LLM's tokens that joint decoding scores; CTC proposes others."""
    ctc_confidence: float = 0.0
    """Least mean non-blank CTC posterior (0 to 1); below: empty hypotheses."""
    hot_word_distance: float | None = None
    """Largest CTC distance of hot words (nats per unit); null: all are used."""
    rescoring_weight: float = 0.0
    """Weight of Whisper's decoder in n-best rescoring (whisper_ctc, beam search; 0 to below 1)."""


@dataclass(frozen=True, kw_only=True)
class TimedWord:
    """A word of a text with its times in the audio; start, end and confidence may be None."""

    word: str
    start: Seconds | None = None
    end: Seconds | None = None
    confidence: float | None = None
    """Mean posterior (0 to 1) of the word's subword units in their aligned stacked states."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One result of decoding an utterance."""

    text: str
    score: float
    """Sum of the tokens' log-probabilities or joint scores / length ** length_penalty, interpolated by rescoring."""
    num_tokens: int
    truncated: bool
    """Whether ``max_new_tokens`` were generated before the end-of-sequence token."""
    tokens: Sequence[tuple[str, float]] = ()
    """Text and log-probability (nats, in the search) of each token."""
    drafted: int = 0
    """Number of tokens drafted by speculative decoding, in all passes of the LLM."""
    accepted: int = 0
    """Number of drafted tokens that the LLM accepted."""
    words: Sequence[TimedWord] = ()
    """Words of the text with times relative to the start of the speech; empty unless word times are configured."""


class Decoder(Module, Protocol):
    """The LLM: tokenizer, embedding matrix, loss and generation."""

    embedding_dim: int  # E
    num_embeddings: int  # V
    packs: bool  # whether ``logits`` are computed without padding
    model: Module  # the base model, with adapters

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass: less memory, more time."""
        ...

    def pack_sequences(self) -> None:
        """Compute ``logits`` without padding: the same values in less time."""
        ...

    def compile_layers(self, backend: Callable[..., Any]) -> None:
        """Compile every layer for all shapes with a backend of ``torch.compile``."""
        ...

    def check(self) -> None:
        """Check on the first call that embeddings as input, and packing, change no score of a token."""
        ...

    def compile_steps(self) -> None:
        """Enable compilation of the LLM's step of one token per row in ``generate``."""
        ...

    def merge_adapters(self) -> None:
        """Add the adapters, if any, to the weights of the LLM: faster, but not trainable."""
        ...

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer with its chat template in Hugging Face's format."""
        ...

    def tokenize(self, text: str, *, begin: bool = False, end: bool = False, special: bool = False) -> list[int]:
        """Return token ids, optionally with the LLM's beginning-of-sequence and end-of-sequence tokens.

        If ``special``, as in prompts, names of special tokens in ``text`` become these tokens; otherwise they are text.
        """
        ...

    def subword_units(self, merges: int, lower_case: bool = False) -> SubwordUnits:
        """Return the units of the first ``merges`` BPE merges; ``lower_case``: units and texts have no capitals."""
        ...

    def chat(self, message: str) -> str:
        """Return ``message`` in the LLM's chat template up to the answer, with a beginning token if there is one."""
        ...

    def embed(self, ids_U: Tensor) -> Tensor:
        """Return the embeddings (U, E) of token ids."""
        ...

    def embedding_matrix(self) -> Tensor:
        """Return the embedding matrix (V, E)."""
        ...

    def logits(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor) -> Tensor:
        """Return the next-token logits (number of selected positions, V) at the positions in ``select_BU``.

        ``mask_BU`` and ``select_BU`` are on the CPU.
        """
        ...

    def generate(
        self,
        prompts: list[Tensor],
        max_new_tokens: list[int],
        options: GenerationOptions,
        posteriors: Posteriors | None = None,
    ) -> list[list[Hypothesis]]:
        """Continue each prompt (U, E) by at most its ``max_new_tokens``; return the n-best, best first.

        With ``posteriors`` and ``options.ctc_weight``, the score of each token combines the LLM and CTC.
        """
        ...


class ComponentConfig(Protocol):
    """Section of a component in the YAML: a frozen dataclass named ``Config``."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


class FrontendConfig(ComponentConfig, Protocol):
    """The section ``frontend``."""

    def build(self) -> Frontend:
        """Return the frontend."""
        ...


class EncoderConfig(ComponentConfig, Protocol):
    """The section ``encoder``."""

    def build(self, dtype: torch.dtype) -> Encoder:
        """Return the encoder, with the weights of its base model."""
        ...


class ConnectorConfig(ComponentConfig, Protocol):
    """The section ``connector``."""

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> Connector:
        """Return a connector with initial weights from D to E; see ``Encoder.segment_states``."""
        ...


class DecoderConfig(ComponentConfig, Protocol):
    """The section ``decoder``."""

    def build(self, dtype: torch.dtype) -> Decoder:
        """Return the LLM, with the weights of its base model."""
        ...
