"""The contracts between the components. Read this file first.

Shapes are written into names, with these letters:

    B  utterances of a batch              T  feature frames (Whisper: 100 a second)
    N  samples of a waveform              F  feature dimension (mel bins)
    L  encoder frames (Whisper: 50/s)     D  encoder dimension
    S  speech tokens (connector output)   E  embedding dimension of the LLM
    U  text tokens                        V  vocabulary of the LLM
    M  stacked encoder states             C  CTC classes: blank and subword units
    R  rows of a search: beams            H  attention heads, or a hidden dimension

so ``feats_BTF`` is a padded batch of features and ``feat_lens_B`` the number of valid frames of each
utterance. Padding is always on the right, except in ``Decoder.generate``. Durations are ``Seconds``.

Data flows one way::

    samples_N -> Frontend -> feats_BTF -> Encoder -> states_BLD -> Connector -> embeds_BSE -> Decoder -> text

A size that a neighbour knows is never configured twice: a connector is built from the encoder's
``output_dim`` and ``segment_states`` and the decoder's ``embedding_dim``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:  # so that what prepares data or reads configurations starts without torch
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from dataclasses import Field
    from pathlib import Path

    import numpy as np
    import torch
    from torch import Tensor

Seconds: TypeAlias = float


_Self = TypeVar("_Self")


class Module(Protocol):
    """The members in use of ``torch.nn.Module``, which encoders, connectors and decoders are."""

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
    """A batch of utterances, as ``speechllm.data.batch`` makes it."""

    utt_ids: list[str]
    inputs: Tensor  # feats_BTF, or states_BLD as dumped
    feat_lens_B: Tensor  # on the CPU
    texts: list[str]
    encoded: bool  # whether ``inputs`` are states
    epoch: int
    contexts: list[str]  # texts for the prompts; an empty list: none
    languages: list[str]  # English names for the prompts; an empty list: none


class Frontend(Protocol):
    """Samples to features, one utterance at a time, on the CPU."""

    sample_rate: int  # Hz
    frame_rate: int  # feature frames per second
    feature_dim: int  # F
    silence_value: float  # of every feature where the samples are zero

    def extract(self, samples_N: np.ndarray) -> np.ndarray:
        """Return feats_TF (float32) as they are dumped."""
        ...

    def fingerprint(self) -> dict[str, object]:
        """Return the settings that a dump and the model that reads it must share."""
        ...


class Encoder(Module, Protocol):
    """Features to states, for speech of any length; frozen unless its config says otherwise.

    The encoder owns its window: it normalises features, pads them and cuts them into segments on its own device.
    """

    feature_dim: int  # F of the frontend
    output_dim: int  # D
    frame_rate: float  # states per second
    segment_states: int  # states of a whole segment; longer speech is encoded segment by segment

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Return the number of valid states for each number of feature frames."""
        ...

    def padded_duration(self, duration: Seconds) -> Seconds:
        """Return the duration that is computed for an utterance of ``duration``, padding of its window included."""
        ...

    def __call__(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return states_BLD and state_lens_B; features beyond ``feat_lens_B`` have no influence."""
        ...

    def fingerprint(self) -> dict[str, object]:
        """Return the settings that a dump of states and the model that reads it must share."""
        ...


class SubwordUnits(Protocol):
    """Subword units of the LLM's vocabulary, few enough that each is frequent."""

    ids: list[int]
    """Token ids of all units."""

    def __call__(self, text: str) -> list[int]:
        """Return the places in ``ids`` of the units of ``text``."""
        ...

    def units(self, token: int, first: bool = False) -> list[int]:
        """Return the places in ``ids`` of the units of a token of the LLM, of a text's first word if ``first``."""
        ...


class Posteriors(NamedTuple):
    """Log-probabilities of a blank and subword units (C classes) in each stacked state (M), from a CTC head."""

    log_probs_BMC: Tensor
    """Class 0 is the blank, class i + 1 the unit ``subwords.ids[i]``."""
    stacked_lens_B: Tensor
    """Number of valid stacked states."""
    subwords: SubwordUnits
    stack: int = 1
    """Number of encoder states in each stacked state."""


class ConnectorOutput(NamedTuple):
    """Speech tokens of a batch, and the posteriors of a connector with a CTC head."""

    embeds_BSE: Tensor
    speech_lens_B: Tensor
    posteriors: Posteriors | None = None


class Connector(Module, Protocol):
    """States to embeddings of the LLM: the trained part."""

    subwords: SubwordUnits | None
    """Subword units of its CTC head; None without one."""
    ctc_weight: float
    """Weight of the CTC head's loss beside the LLM's loss."""
    exact_lengths: bool
    """Whether ``output_lengths`` are the numbers of speech tokens: they are known before the states then."""

    def bind(self, decoder: Decoder) -> None:
        """Take the parts of the LLM that the connector needs, such as its embedding matrix; called once."""
        ...

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the largest number of speech tokens for each number of states."""
        ...

    def __call__(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return the speech tokens; states beyond ``state_lens_B`` have no influence."""
        ...


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How text is searched for; the same for every utterance."""

    num_beams: int = 1
    """Beam width; 1 is greedy search."""
    length_penalty: float = 1.0
    """Exponent of the length by which a hypothesis' log-probability is divided (beam search)."""
    no_repeat_ngram: int = 0
    """No n-gram of this many tokens occurs twice in a hypothesis; 0: no limit."""
    nbest: int = 1
    """Hypotheses kept per utterance, at most num_beams."""
    speculative: bool = True
    """Whether greedy search verifies the hypothesis of a CTC head as a draft: the same text in fewer passes."""
    ctc_weight: float = 0.0
    """Weight, 0 to 1, of the CTC of a connector that spells, beside the LLM, in the choice of each token."""
    ctc_candidates: int = 20
    """Tokens, the LLM's most probable, among which CTC has a say."""
    ctc_confidence: float = 0.0
    """Where such a CTC is less sure (0 to 1), on average, of the pieces that it spells, nothing is written."""


@dataclass(frozen=True, kw_only=True)
class TimedWord:
    """A word of a text and its place in the audio; start, end and confidence are None for a word without times."""

    word: str
    start: Seconds | None = None
    end: Seconds | None = None
    confidence: float | None = None
    """Mean posterior, 0 to 1, of the word's subword units in the stacked states that they are aligned to."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One result of decoding an utterance."""

    text: str
    score: float
    """Sum of the log-probabilities (or joint scores) of the tokens, divided by the length as the search does."""
    num_tokens: int
    truncated: bool
    """Whether ``max_new_tokens`` were generated before the end-of-sequence token."""
    tokens: Sequence[tuple[str, float]] = ()
    """Each token: what it adds to the text, and its log-probability (nats) in the search."""
    drafted: int = 0
    """Tokens that speculative decoding drafted, in all passes of the LLM."""
    accepted: int = 0
    """Drafted tokens that were the LLM's choice."""
    words: Sequence[TimedWord] = ()
    """Words of the text with their times from the beginning of the speech; empty unless word times are configured."""


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
        """Compute ``logits`` without padding: the same, in less time."""
        ...

    def compile_layers(self, backend: Callable[..., Any]) -> None:
        """Compile every layer, for all shapes, by a backend of ``torch.compile``."""
        ...

    def check(self) -> None:
        """Make sure, the first time, that speech among the embeddings, and packing, change no score of a token."""
        ...

    def compile_steps(self) -> None:
        """Have ``generate`` compile the LLM's step of one token for each row of a search."""
        ...

    def merge_adapters(self) -> None:
        """Add adapters, if there are any, to the weights that they adapt: faster, and no longer to be trained."""
        ...

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer, with its chat template, in Hugging Face's form."""
        ...

    def tokenize(self, text: str, *, begin: bool = False, end: bool = False, special: bool = False) -> list[int]:
        """Return token ids, with the LLM's own beginning token where asked, and its end-of-sequence token.

        The name of a special token in ``text`` is that token if ``special``, as in prompts, and else text.
        """
        ...

    def subword_units(self, merges: int) -> SubwordUnits:
        """Return the subword units that the first ``merges`` BPE merges of the LLM's tokenizer define."""
        ...

    def chat(self, message: str) -> str:
        """Return ``message`` in the LLM's chat template up to the answer, with the beginning token if it has one."""
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

        With ``posteriors`` and ``options.ctc_weight``, the scores of the LLM and of CTC are combined in the choice of
        each token.
        """
        ...


class ComponentConfig(Protocol):
    """A component's section of the YAML: a frozen dataclass named ``Config``."""

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
        """Return the connector from D to E, with initial weights; see ``Encoder.segment_states``."""
        ...


class DecoderConfig(ComponentConfig, Protocol):
    """The section ``decoder``."""

    def build(self, dtype: torch.dtype) -> Decoder:
        """Return the LLM, with the weights of its base model."""
        ...
