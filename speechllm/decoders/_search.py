"""Search for the tokens of several utterances: greedy, speculative, or with beams."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechllm.decoders._beam import BeamSearch
from speechllm.decoders._compiled import CompiledState, CompiledSteps
from speechllm.decoders._draft import Draft
from speechllm.decoders._greedy import GreedySearch, Row
from speechllm.decoders._scores import TokenScores
from speechllm.decoders._state import State
from speechllm.interfaces import GenerationOptions, Posteriors


@dataclass(frozen=True)
class Found:
    """Result of a search for one utterance."""

    ids: list[int]
    """Tokens, optionally followed by the end of sequence."""
    log_probs: list[float]
    """Log-probability of each token."""
    score: float
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True)
class Search:
    """Search with an LLM.

    Args:
        model: causal LM of transformers.
        embed: function from token ids to embeddings.
        eos: end-of-sequence token.
        compiled: compiled steps; None: the LLM is not compiled.
    """

    model: Any
    embed: Callable[[Tensor], Tensor]
    eos: int
    compiled: CompiledSteps | None = None

    def __call__(
        self,
        prompts: list[Tensor],
        max_new_tokens: list[int],
        options: GenerationOptions,
        posteriors: Posteriors | None,
        drafts: list[Draft] | None,
    ) -> list[list[Found]]:
        """Return the n-best tokens of each utterance.

        Args:
            prompts: prompts (U, E).
            max_new_tokens: largest number of tokens of each utterance.
            options: options of the search.
            posteriors: posteriors of a CTC head; None without a CTC head.
            drafts: draft of each utterance for greedy search, without influence on its tokens; None: one token per
                step.
        """
        scores = TokenScores(options, self.eos, posteriors)
        if options.num_beams > 1:
            return self._beam(prompts, max_new_tokens, scores, options)
        return self._greedy(prompts, max_new_tokens, scores, options.length_penalty, drafts)

    def _greedy(
        self,
        prompts: list[Tensor],
        max_new_tokens: list[int],
        scores: TokenScores,
        length_penalty: float,
        drafts: list[Draft] | None,
    ) -> list[list[Found]]:
        state = State(self.model)
        if drafts is None or not state.is_plain:
            drafts = [Draft() for _ in max_new_tokens]
        rows = [Row(limit, draft) for limit, draft in zip(max_new_tokens, drafts, strict=True)]
        search = GreedySearch(rows, scores, self.eos, prompts[0].device)
        drafted_BU = search.first_draft()
        logits_BUV = self._begin(state, prompts, drafted_BU)
        search.run(state if drafted_BU.shape[1] else self._for_steps(state, max(max_new_tokens)), logits_BUV)
        return [
            [Found(row.ids, row.log_probs, row.score(length_penalty), row.num_drafted, row.num_accepted)]
            for row in rows
        ]

    def _beam(
        self, prompts: list[Tensor], max_new_tokens: list[int], scores: TokenScores, options: GenerationOptions
    ) -> list[list[Found]]:
        search = BeamSearch(max_new_tokens, options, scores, self.eos, prompts[0].device)
        state = State(self.model)
        logits_BV = self._begin(state, prompts)[:, -1]
        results = search.run(self._for_steps(state, max(max_new_tokens)), logits_BV)
        found = [[each[: options.nbest].tolist() for each in beams] for beams in results]
        return [[Found(*one) for one in zip(*nbest, strict=True)] for nbest in found]

    def _begin(self, state: State, prompts: list[Tensor], drafted_BU: Tensor | None = None) -> Tensor:
        """Compute prompts (U, E), padded on the left, and drafted tokens; return the logits (B, U, V) after them."""
        lens_B = torch.tensor([len(prompt) for prompt in prompts], device=prompts[0].device)
        embeds_BUE = pad_sequence(prompts, batch_first=True, padding_side="left")
        if drafted_BU is None:
            return state.begin(embeds_BUE, lens_B)
        drafted_BUE = self.embed(drafted_BU).to(embeds_BUE.dtype)
        return state.begin(torch.cat([embeds_BUE, drafted_BUE], 1), lens_B, drafted_BU.shape[1])

    def _for_steps(self, state: State, num_tokens: int) -> State | CompiledState:
        """Return a state for steps of one token: a compiled state if configured, otherwise ``state``."""
        return state if self.compiled is None else CompiledState(state, self.compiled, num_tokens)
