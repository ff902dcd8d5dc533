"""Search: parity with transformers' own, drafts that change no token, and compiled steps that change none either."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_families import NOT_PACKED, PACKED, tiny
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
)

from speechllm.decoders._draft import Draft
from speechllm.decoders._greedy import WINDOW, GreedySearch, Row
from speechllm.decoders._scores import TokenScores, repeated
from speechllm.decoders._search import Found, Search
from speechllm.decoders.causal_lm import CausalLM, Config
from speechllm.interfaces import GenerationOptions, Posteriors

LIMITS = [9, 4, 17, 12]


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llm)


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> CausalLM:
    return Config(path=str(tiny_llm)).build().eval()


def prompts_of(decoder: CausalLM, seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(length, decoder.embedding_dim) for length in (7, 3, 11, 5)]


def search_of(decoder: CausalLM) -> Search:
    return Search(decoder.model, decoder.embed, decoder.tokenizer.eos_token_id)


class EndAtLimit(LogitsProcessor):
    """Allow nothing but the end of sequence after ``limit`` tokens."""

    def __init__(self, limit: int, eos: int) -> None:
        self.limit, self.eos = limit, eos

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores of the next token."""
        if input_ids.shape[1] < self.limit:
            return scores
        only_end = torch.full_like(scores, float("-inf"))
        only_end[:, self.eos] = scores[:, self.eos]
        return only_end


def reference(decoder: CausalLM, prompt: Tensor, limit: int, options: GenerationOptions) -> list[Found]:
    """Return the result of transformers' search for one prompt, with its beam search score."""
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=limit + 1,
        num_beams=options.num_beams,
        num_return_sequences=options.nbest,
        length_penalty=options.length_penalty,
        early_stopping=False,
        return_dict_in_generate=True,
        output_scores=True,
        eos_token_id=decoder.tokenizer.eos_token_id,
        pad_token_id=decoder.tokenizer.eos_token_id,
    )
    changes = LogitsProcessorList([EndAtLimit(limit, decoder.tokenizer.eos_token_id)])
    if options.no_repeat_ngram:
        changes.insert(0, NoRepeatNGramLogitsProcessor(options.no_repeat_ngram))
    output = decoder.model.generate(
        inputs_embeds=prompt[None],
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        generation_config=config,
        logits_processor=changes,
    )
    scores = output.sequences_scores.tolist() if options.num_beams > 1 else [0.0]
    return [Found(ids, [], score) for ids, score in zip(output.sequences.tolist(), scores, strict=True)]


def text_tokens(decoder: CausalLM, ids: Sequence[int]) -> list[int]:
    """Return the tokens before the end of sequence."""
    end = decoder.tokenizer.eos_token_id
    return list(ids[: ids.index(end)] if end in ids else ids)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"no_repeat_ngram": 2},
        {"num_beams": 2},
        {"num_beams": 4, "nbest": 4},
        {"num_beams": 3, "nbest": 2, "length_penalty": 0.0, "no_repeat_ngram": 1},
        {"num_beams": 3, "length_penalty": 2.0},
    ],
)
def test_batches_find_what_transformers_finds_for_each_prompt(
    decoder: CausalLM, options: dict[str, Any], seed: int
) -> None:
    search = GenerationOptions(**options)
    prompts = prompts_of(decoder, seed)
    with torch.inference_mode():
        found = search_of(decoder)(prompts, LIMITS, search, None, None)
        expected = [reference(decoder, prompt, limit, search) for prompt, limit in zip(prompts, LIMITS, strict=True)]
    for nbest, others in zip(found, expected, strict=True):
        assert len(nbest) == len(others) == search.nbest
        for one, other in zip(nbest, others, strict=True):
            assert text_tokens(decoder, one.ids) == text_tokens(decoder, other.ids)
            if search.num_beams > 1:
                assert one.score == pytest.approx(other.score, abs=1e-4)


def drafts_of(tokens: list[list[int]]) -> dict[str, list[list[int]]]:
    """Return drafts that are right, wrong in several ways, and of no use."""
    return {
        "right": tokens,
        "replaced": [[*ids[:2], 40, *ids[3:]] for ids in tokens],
        "deleted": [ids[:1] + ids[2:] for ids in tokens],
        "inserted": [[*ids[:2], 40, 41, *ids[2:]] for ids in tokens],
        "longer": [ids + ids for ids in tokens],
        "of one only": [tokens[0], [], [], []],
        "wrong": [[40 + i for i in range(len(ids))] for ids in tokens],
    }


@pytest.mark.parametrize("options", [{}, {"no_repeat_ngram": 2}])
@pytest.mark.parametrize("ends", [False, True])
def test_drafts_change_no_token(decoder: CausalLM, options: dict[str, Any], ends: bool) -> None:
    prompts, search = prompts_of(decoder), search_of(decoder)
    greedy = GenerationOptions(**options)
    with torch.inference_mode():
        if ends:  # a token that two of the hypotheses have ends them
            (first,) = search(prompts[2:3], [17], greedy, None, None)[0]
            search = Search(decoder.model, decoder.embed, first.ids[6])
        expected = [nbest[0] for nbest in search(prompts, LIMITS, greedy, None, None)]
        assert not ends or len(expected[2].ids) < LIMITS[2]
        for name, drafts in drafts_of([one.ids for one in expected]).items():
            found = search(prompts, LIMITS, greedy, None, [Draft(ids) for ids in drafts])
            for one, (other,) in zip(expected, found, strict=True):
                assert one.ids == other.ids, name
                assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
                assert one.score == pytest.approx(other.score, abs=1e-4)
                assert other.accepted <= other.drafted
            if name == "right":
                numbers = [len(one.log_probs) for one in expected]
                assert [one.accepted for (one,) in found] == [n - math.ceil(n / (WINDOW + 1)) for n in numbers]
            if name in ("replaced", "deleted", "inserted"):
                assert found[2][0].accepted > len(expected[2].ids) / 2, name


@pytest.mark.parametrize(
    ("lengths", "cut"),
    [
        ([8], [8]),
        ([1, 8, 0], [1, 8, 0]),
        ([8, 2, 0, 1], [2, 2, 0, 1]),
        ([8, 3, 7, 1, 2, 3, 0, 0], [3, 3, 3, 1, 2, 3, 0, 0]),
    ],
)
def test_at_most_one_draft_in_four_is_cut(lengths: list[int], cut: list[int]) -> None:
    rows = [Row(20, Draft(range(1, 1 + length))) for length in lengths]
    search = GreedySearch(rows, TokenScores(GenerationOptions(), 0, None), 0, torch.device("cpu"))
    assert (search.first_draft() > 0).sum(1).tolist() == cut


@pytest.mark.parametrize("family", [*PACKED, *NOT_PACKED])
def test_drafts_change_no_token_of_any_family(family: str, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    prompts, search = prompts_of(decoder), search_of(decoder)
    with torch.inference_mode():
        expected = [nbest[0].ids for nbest in search(prompts, LIMITS, GenerationOptions(), None, None)]
        for drafts in drafts_of(expected).values():
            found = search(prompts, LIMITS, GenerationOptions(), None, [Draft(ids) for ids in drafts])
            assert [nbest[0].ids for nbest in found] == expected


def texts_of(decoder: CausalLM, options: GenerationOptions) -> list[list[tuple[str, float]]]:
    with torch.inference_mode():
        found = decoder.generate(prompts_of(decoder), LIMITS, options)
    return [[(one.text, pytest.approx(one.score, abs=1e-4)) for one in nbest] for nbest in found]


BEAMS = GenerationOptions(num_beams=3, nbest=2)


@pytest.mark.parametrize("family", [*PACKED, *NOT_PACKED])
def test_a_cache_of_fixed_size_changes_no_hypothesis(
    family: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The step is not compiled here, only its cache is that of compiled steps."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    searches = [GenerationOptions()] if family == "recurrent_gemma" else [GenerationOptions(), BEAMS]
    expected = [texts_of(decoder, options) for options in searches]
    decoder.compile_steps()
    assert [texts_of(decoder, options) for options in searches] == expected
    cannot = {
        "mistral",
        "gemma3_text",
        "gemma2",
        "gpt_oss",
        "lfm2",
        "mamba",
        "falcon_h1",
        "recurrent_gemma",
        "mpt",
        "bloom",
    }
    assert ("decode.compile: the LLM's step cannot be compiled" in caplog.text) == (family in cannot)


def test_failure_to_compile_is_one_warning(
    decoder: CausalLM, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*_: Any) -> Tensor:
        raise RuntimeError("no C++ compiler\nstack")

    expected = texts_of(decoder, BEAMS)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: no_compiler)
    decoder.compile_steps()
    assert texts_of(decoder, BEAMS) == expected == texts_of(decoder, BEAMS)
    assert [record.getMessage() for record in caplog.records] == [
        "decode.compile: the LLM's step cannot be compiled, decoding goes on uncompiled: no C++ compiler"
    ]


@pytest.mark.slow
def test_compiled_steps_change_no_hypothesis(tiny_llm: Path, caplog: pytest.LogCaptureFixture) -> None:
    decoder = Config(path=str(tiny_llm)).build().eval()
    units = decoder.subword_units(20)
    torch.manual_seed(1)
    log_probs_BMC = torch.randn(4, 30, 1 + len(units.ids)).mul(2).log_softmax(-1)
    posteriors = Posteriors(log_probs_BMC, torch.tensor([9, 30, 14, 21]), units)
    joint = GenerationOptions(ctc_weight=0.4, speculative=False)
    searches = [GenerationOptions(), BEAMS, joint, replace(BEAMS, ctc_weight=0.4, no_repeat_ngram=2)]

    def texts() -> list[list[list[str]]]:
        with torch.inference_mode():
            found = [decoder.generate(prompts_of(decoder), LIMITS, one, posteriors) for one in searches]
        return [[[one.text for one in nbest] for nbest in each] for each in found]

    expected = texts()
    decoder.compile_steps()
    assert texts() == expected == texts()
    assert "decode.compile" not in caplog.text
    steps = decoder._compiled
    assert steps is not None and list(steps._caches) == [(4, 128), (16, 128)]


@pytest.mark.parametrize(
    ("search", "rest"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        ([1, 2], [3, 4, 5, 6]),
        ([1, 9], [3, 4, 5, 6]),
        ([1, 9, 2], [3, 4, 5, 6]),
        ([1, 3], [4, 5, 6]),
        ([1, 9, 8, 4], [5, 6]),
        ([1, 2, 3, 4, 5, 6, 7], []),
    ],
)
def test_a_draft_goes_on_behind_what_the_search_found(search: list[int], rest: list[int]) -> None:
    draft = Draft([1, 2, 3, 4, 5, 6])
    for token in search:
        draft.follow(token)
    assert draft.rest(9) == rest
    assert draft.rest(1) == rest[:1]
    assert draft.rest(-1) == []


def test_ngrams_that_would_repeat() -> None:
    assert repeated([1, 2, 3, 1, 2], 3) == [3]
    assert repeated([1, 2, 1, 3, 1], 2) == [2, 3]
    assert repeated([4, 5], 1) == [4, 5]
    assert repeated([1], 2) == repeated([], 1) == repeated([1], 4) == []
