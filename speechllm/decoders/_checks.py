"""Checks of the logits of an LLM on a few tokens: embeddings against token ids, and packed against padded sequences.

Families of LLMs differ in ways that their configurations do not state: additional inputs of token ids, search that
starts with token ids only, states that leak from one packed sequence to the next. Both checks are deterministic and
change no random state.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechllm.decoders._state import State
from speechllm.errors import ConfigError, SpeechLLMError

PROMPT = "one two three four"
TOKENS = 5
"""Largest number of tokens of the prompt in a check."""
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Largest accepted ``distance`` of two sets of logits; measured: 3e-7."""
HALF_PRECISION = 0.15
"""The same in half precision; measured with SmolLM2 (30 layers) in bfloat16: 0.044."""
ROUNDING = 3.0
"""Largest accepted ratio of the ``distance`` of later packed sequences to that of the first; measured: 1.4."""
PADDING_LOGIT = 1e4
"""Larger logits are not compared, because some families have huge logits for the padding of the vocabulary."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch off dropout and gradients within the block, and restore the mode of every module afterwards."""
    modes = [(one, one.training) for one in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for one, mode in modes:
            one.training = mode


def check_embeddings(model: Any, embed: Callable[[Tensor], Tensor], ids_U: Tensor) -> None:
    """Check that the LLM computes equal logits from embeddings and from token ids, in training and in search.

    One of two prompts contains a vector that is not the embedding of a token, like a speech token.

    Args:
        model: causal LM of transformers, in evaluation mode.
        embed: embedding of token ids.
        ids_U: a few tokens.

    Raises:
        ConfigError: if the logits differ, or cannot be computed.
    """
    kind = model.config.model_type
    try:
        found, expected = _scores(model, embed, ids_U)
    except Exception as error:  # families reject embeddings with errors of every class
        raise ConfigError(
            f"decoder.path: a {kind} model cannot continue prompts that contain speech: {_first_line(error)}; "
            "choose another LLM"
        ) from error
    _compare(
        found,
        expected,
        TOLERANCES.get(model.dtype, HALF_PRECISION),
        f"decoder.path: a {kind} model scores embeddings differently from their tokens, so it needs other inputs, too; "
        "choose another LLM",
    )


class Logits(Protocol):
    """Function that computes logits, such as ``CausalLM._logits``."""

    def __call__(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor, *, packed: bool) -> Tensor:
        """Return the logits (number of selected positions, V)."""
        ...


def check_packing(logits: Logits, kind: str, embeds_UE: Tensor) -> None:
    """Check that packed and padded sequences of different lengths have equal logits.

    In half precision, the first sequence measures the effect of rounding, because no other sequence precedes it.

    Args:
        logits: function that computes logits, packed or padded.
        kind: family of the LLM, for errors.
        embeds_UE: embeddings of a few tokens.

    Raises:
        ConfigError: if the logits differ, or cannot be computed.
    """
    embeds_BUE = pad_sequence([embeds_UE, embeds_UE.flip(0)[1:], embeds_UE], batch_first=True)
    lens_B = torch.tensor([len(embeds_UE), len(embeds_UE) - 1, len(embeds_UE)], device=embeds_UE.device)
    mask_BU = torch.arange(embeds_BUE.shape[1], device=lens_B.device) < lens_B[:, None]
    try:
        found = logits(embeds_BUE, mask_BU, mask_BU, packed=True)
    except SpeechLLMError:
        raise
    except Exception as error:  # families reject packed sequences with errors of every class
        raise ConfigError(
            f"train.packing: a {kind} model does not support packed sequences: {_first_line(error)}; set it to false"
        ) from error
    expected = logits(embeds_BUE, mask_BU, mask_BU, packed=False)
    fault = f"train.packing: a {kind} model scores packed sequences differently from padded ones; set it to false"
    allowed, first = TOLERANCES.get(embeds_UE.dtype), slice(int(lens_B[0]))
    _compare(found[first], expected[first], allowed or HALF_PRECISION, fault)
    rounding = ROUNDING * distance(found[first], expected[first])
    _compare(found, expected, allowed or max(rounding, HALF_PRECISION / 10), fault)


def _scores(model: Any, embed: Callable[[Tensor], Tensor], ids_U: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of two tokens of two prompts (4, V), computed in search and in one pass over all tokens."""
    tokens_UE = embed(ids_U)
    speech_UE = torch.stack([tokens_UE[0], tokens_UE.mean(0), *tokens_UE[2:]])[: max(1, len(ids_U) - 1)]
    prompts = [tokens_UE, speech_UE]
    embeds_BUE = pad_sequence(prompts, batch_first=True, padding_side="left")
    lens_B = torch.tensor([len(one) for one in prompts], device=embeds_BUE.device)
    state = State(model)
    first_BV = state.begin(embeds_BUE, lens_B)[:, -1]
    first_B = first_BV.argmax(-1)
    found_BUV = torch.stack([first_BV, state.extend(first_B[:, None])[:, -1]], 1)
    whole = [
        model(input_ids=torch.cat([ids_U, first_B[:1]])[None], use_cache=False).logits[0, -2:],
        model(inputs_embeds=torch.cat([speech_UE, embed(first_B[1:])])[None], use_cache=False).logits[0, -2:],
    ]
    return torch.cat(list(found_BUV)), torch.cat(whole)


def _compare(found_UV: Tensor, expected_UV: Tensor, allowed: float, fault: str) -> None:
    """Raise ConfigError if the ``distance`` of two sets of logits is more than ``allowed``."""
    measured = distance(found_UV, expected_UV)
    if not measured <= allowed:
        fault, _, advice = fault.partition("; ")
        raise ConfigError(f"{fault}: found a distance of {measured:.2g}, expected {allowed:.2g} at most; {advice}")


def distance(found_UV: Tensor, expected_UV: Tensor) -> float:
    """Return the root mean square difference of logits, relative to the standard deviation of the expected logits."""
    found_UV, expected_UV = found_UV.cpu().double(), expected_UV.cpu().double()
    compared_UV = ~(expected_UV.abs() > PADDING_LOGIT)
    difference = (found_UV - expected_UV)[compared_UV]
    spread = (expected_UV - torch.where(compared_UV, expected_UV, 0.0).mean(-1, keepdim=True))[compared_UV]
    return float(difference.norm() / spread.norm().clamp(min=torch.finfo(torch.float64).tiny))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
