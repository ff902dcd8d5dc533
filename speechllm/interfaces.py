"""The contracts between the rooms of the house. Read this file first.

Shapes are written into names, with these letters:

    B  utterances of a batch              T  feature frames (Whisper: 100 a second)
    N  samples of a waveform              F  feature dimension (mel bins)
    L  encoder frames (Whisper: 50/s)     D  encoder dimension
    S  speech tokens (connector output)   E  embedding dimension of the LLM
    U  text tokens                        V  vocabulary of the LLM
    M  encoder frames after merging       C  blank and pieces of text, of CTC
    R  rows of a search: beams            H  attention heads, or a hidden dimension

so ``feats_BTF`` is a padded batch of features and ``lens_B`` the number of valid frames of each
utterance. Padding is always on the right, except in ``Decoder.generate``. Durations are ``Seconds``.

Data flows one way::

    samples_N -> Frontend -> feats_BTF -> Encoder -> states_BLD -> Connector -> embeds_BSE -> Decoder -> text

A size that a neighbour knows is never configured twice: a connector is built from the encoder's
``output_dim`` and ``segment_states`` and the decoder's ``embedding_dim``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:  # so that what prepares data or reads configurations starts without torch
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

Seconds: TypeAlias = float


class Utterances(Protocol):
    """A batch of utterances, as ``speechllm.data.batch`` makes it."""

    utt_ids: list[str]
    inputs: Tensor  # feats_BTF, normalised, or states_BLD as the encoder gave them
    lens_B: Tensor
    texts: list[str]
    encoded: bool  # whether ``inputs`` are states
    epoch: int


class Frontend(Protocol):
    """Samples to features, one utterance at a time, on the CPU."""

    sample_rate: int  # Hz
    frame_rate: int  # feature frames per second
    feature_dim: int  # F
    silence_value: float  # of every feature where the samples are zero

    def extract(self, samples_N: np.ndarray) -> np.ndarray:
        """Return feats_TF (float32) as they are dumped: not yet normalised."""
        ...

    def valid_frames(self, num_frames: int, segment_frames: int) -> int:
        """Return how many of ``num_frames`` frames from ``extract`` an encoder of such segments is to see."""
        ...

    def normalize(self, feats_TF: Tensor, num_frames: int, segment_frames: int) -> Tensor:
        """Pad feats_TF with silence to ``num_frames`` frames and normalise each segment for the encoder."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what must be equal in a dump and in the model that reads it."""
        ...


class Encoder(Protocol):
    """Features to states; frozen unless its config says otherwise."""

    feature_dim: int  # F, what the frontend must give
    output_dim: int  # D
    frame_rate: float  # states per second
    segment_frames: int  # feature frames of a segment; longer speech is encoded segment by segment
    segment_states: int  # states of a whole segment
    pad_multiple: int | None
    """Number of feature frames, a multiple of which the input must be padded to; None: any number."""

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Return the number of valid states for each number of feature frames."""
        ...

    def __call__(self, feats_BTF: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return states_BLD and their lens_B."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what must be equal in a dump of states and in the model that reads it."""
        ...


class Connector(Protocol):
    """States to embeddings of the LLM: the part that is trained."""

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Return the number of speech tokens, at most, for each number of states."""
        ...

    def __call__(self, states_BLD: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeds_BSE and their lens_B; states beyond ``lens_B`` have no influence."""
        ...


@runtime_checkable
class TableReader(Protocol):
    """A connector that also reads the LLM's embedding table, which stays the LLM's own."""

    def read_table(self, table: Callable[[], Tensor]) -> None:
        """Take the function that returns the table (V, E)."""
        ...


@runtime_checkable
class Speller(Protocol):
    """A connector that learns by a CTC loss of its own to spell what it hears in the LLM's tokens."""

    ctc_weight: float
    """Weight of that loss beside the LLM's."""

    def read_decoder(self, decoder: Decoder) -> None:
        """Take the LLM with whose tokens it is to spell."""
        ...

    def hear(self, states_BLD: Tensor, lens_B: Tensor) -> Any:
        """Return what ``loss`` and ``embed`` are made of."""
        ...

    def count_units(self, texts: list[str]) -> int:
        """Return the number of subword units in transcripts, at least one for each."""
        ...

    def loss(self, heard: Any, texts: list[str]) -> Tensor:
        """Return the summed loss of the transcripts."""
        ...

    def embed(self, heard: Any) -> tuple[Tensor, Tensor]:
        """Return embeds_BSE and their lens_B, as calling the connector does."""
        ...

    def spelt(self, heard: Any) -> Spelt:
        """Return what was heard, for a search that the LLM and CTC do together."""
        ...


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How text is searched for; the same for every utterance."""

    num_beams: int = 1
    """Beam width; 1 is greedy search."""
    length_penalty: float = 1.0
    """Exponent of the length by which a hypothesis' log-probability is divided (beam search)."""
    repetition_penalty: float = 1.0
    """Factor (1: none) by which tokens already in the hypothesis are made less likely."""
    no_repeat_ngram: int = 0
    """No n-gram of this many tokens occurs twice in a hypothesis; 0: no limit."""
    nbest: int = 1
    """Hypotheses kept per utterance, at most num_beams."""
    ctc_weight: float = 0.0
    """Weight, 0 to 1, of the CTC of a connector that spells, beside the LLM, in the choice of each token."""
    ctc_candidates: int = 20
    """Tokens, the LLM's most probable, among which CTC has a say."""
    ctc_confidence: float = 0.0
    """Where such a CTC is less sure (0 to 1), on average, of the pieces that it spells, nothing is written."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One result of decoding an utterance."""

    text: str
    score: float
    """Sum of the log-probabilities (or joint scores) of the tokens, divided by the length as the search does."""
    num_tokens: int
    truncated: bool
    """Whether the token cap was reached before the end-of-sequence token."""
    margin: float | None = None
    """How close the closest choice of a token was, as a difference of log-probabilities; None unless greedy."""
    fallback: bool = False
    """Whether it was found by the fall-back search, because that of the first search had failed."""
    tokens: Sequence[tuple[str, float]] = ()
    """Each token: what it adds to the text, and its log-probability (nats) in the search."""


class Spelling(Protocol):
    """Text in pieces of the LLM's vocabulary that are short enough to be frequent."""

    ids: list[int]
    """Token ids of all pieces."""

    def __call__(self, text: str) -> list[int]:
        """Return the places in ``ids`` of the pieces of ``text``."""
        ...

    def pieces(self, token: int, first: bool = False) -> list[int]:
        """Return the places in ``ids`` of the pieces of a token of the LLM, of a text's first word if ``first``."""
        ...


class Spelt(NamedTuple):
    """What a connector that spells heard: log-probabilities of a blank and pieces (C) in each merged state (M)."""

    log_probs_BMC: Tensor
    """Class 0 is the blank, class i + 1 the piece ``spelling.ids[i]``."""
    lens_B: Tensor
    spelling: Spelling


class Decoder(Protocol):
    """The LLM: tokenizer, embedding table, loss and generation."""

    embedding_dim: int  # E

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass: less memory, more time."""
        ...

    def pack_sequences(self) -> None:
        """Compute ``logits`` without padding: the same, in less time."""
        ...

    def check(self) -> None:
        """Make sure, the first time, that speech among the embeddings, and packing, change no score of a token."""
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

    def spelling(self, merges: int) -> Spelling:
        """Return a tokenizer of shorter pieces, those that the first ``merges`` of the LLM's own make."""
        ...

    def chat(self, message: str) -> str:
        """Return ``message`` in the LLM's chat template up to the answer, with the beginning token if it has one."""
        ...

    def embed(self, ids_U: Tensor) -> Tensor:
        """Return the embeddings (U, E) of token ids."""
        ...

    def table(self) -> Tensor:
        """Return the whole embedding table (V, E)."""
        ...

    def logits(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor) -> Tensor:
        """Return the next-token logits (number of selected positions, V) at the positions in ``select_BU``."""
        ...

    def generate(
        self, prompts: list[Tensor], caps: list[int], options: GenerationOptions, spelt: Spelt | None = None
    ) -> list[list[Hypothesis]]:
        """Continue each prompt (U, E) by at most its cap of tokens; return the n-best, best first.

        With ``spelt`` and ``options.ctc_weight``, CTC has its say in the choice of each token.
        """
        ...
