"""Joint decoding: CTC prefix probabilities compared with all alignments, and the search with both scores."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from speechllm.decoders import causal_lm
from speechllm.decoders._draft import Draft
from speechllm.decoders._joint_search import CTCPrefixScorer, Prefixes
from speechllm.decoders._search import Search
from speechllm.interfaces import GenerationOptions, Posteriors

STATES, CLASSES = 5, 3  # a blank and two pieces
WHOLE = torch.ones(1, dtype=torch.long) * STATES
FIRST = torch.tensor([0])  # the only utterance


def said(path: tuple[int, ...]) -> tuple[int, ...]:
    """Return the transcript of an alignment."""
    return tuple(one for one, _ in itertools.groupby(path) if one)


def by_enumeration(log_probs_MC: Tensor) -> dict[tuple[int, ...], float]:
    """Return the probability of every transcript."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(CLASSES), repeat=len(log_probs_MC)):
        probability = float(sum(log_probs_MC[m, one] for m, one in enumerate(path)).exp())
        found[said(path)] = found.get(said(path), 0.0) + probability
    return found


def extended(scorer: CTCPrefixScorer, pieces: tuple[int, ...]) -> Prefixes:
    prefixes = scorer.begin()
    for piece in pieces:
        prefixes = scorer.extend(prefixes, torch.tensor([piece]), FIRST)
    return prefixes


@pytest.mark.parametrize("pieces", [(1,), (2, 1), (1, 1), (1, 2, 2), (2, 2, 2), (1, 1, 1, 1)])
def test_beginnings_have_the_probability_of_all_that_begins_so(pieces: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    log_probs_BMC = torch.randn(1, STATES + 2, CLASSES).double().mul(3).log_softmax(-1)  # two are padding
    transcripts = by_enumeration(log_probs_BMC[0, :STATES])
    scorer = CTCPrefixScorer(log_probs_BMC, WHOLE)
    prefix = extended(scorer, pieces)
    begin_so = sum(p for text, p in transcripts.items() if text[: len(pieces)] == pieces)
    assert prefix.total.exp().item() == pytest.approx(begin_so, abs=1e-12)
    totals_1K = scorer.score(extended(scorer, pieces[:-1]), torch.tensor([[pieces[-1], 1, 2]]), FIRST)
    assert totals_1K[0, 0].exp().item() == pytest.approx(begin_so, abs=1e-12)
    assert scorer.complete(prefix, FIRST).exp().item() == pytest.approx(transcripts.get(pieces, 0.0), abs=1e-12)


def test_the_most_probable_units_are_proposed() -> None:
    torch.manual_seed(0)
    log_probs_BMC = torch.randn(1, 9, 40).double().mul(3).log_softmax(-1)
    scorer = CTCPrefixScorer(log_probs_BMC, torch.tensor([7]))
    before = extended(scorer, (3, 1))
    units_1K = torch.tensor([[one for one in range(1, 40) if one != 1]])  # not the last unit again
    expected = units_1K[0, scorer.score(before, units_1K, FIRST)[0].argsort(descending=True)].tolist()
    proposed = [one for one in scorer.propose(before, FIRST)[0].tolist() if one != 1]
    assert len(proposed) >= 9
    assert proposed == expected[: len(proposed)]


def test_a_long_transcript_has_the_probability_of_the_loss() -> None:
    torch.manual_seed(0)
    log_probs_BMC = torch.randn(1, 400, CLASSES).double().mul(8).log_softmax(-1)
    pieces = tuple(torch.randint(1, CLASSES, (90,)).tolist())
    lens_B = torch.tensor([400])
    loss = ctc_loss(log_probs_BMC.transpose(0, 1), torch.tensor([pieces]), lens_B, torch.tensor([90]), reduction="sum")
    scorer = CTCPrefixScorer(log_probs_BMC, lens_B)
    assert scorer.complete(extended(scorer, pieces), FIRST).item() == pytest.approx(-loss.item(), rel=1e-9)


def test_nothing_said_in_no_states() -> None:
    scorer = CTCPrefixScorer(torch.zeros(1, 0, CLASSES), torch.tensor([0]))
    assert scorer.complete(scorer.begin(), FIRST).item() == 0
    assert extended(scorer, (1,)).total.item() == float("-inf")
    assert scorer.score(scorer.begin(), torch.tensor([[1, 2]]), FIRST).tolist() == [[float("-inf")] * 2]
    assert scorer.propose(scorer.begin(), FIRST).tolist() == [[]]


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> causal_lm.CausalLM:
    return causal_lm.Config(path=str(tiny_llm)).build()


TEXTS = ["she had all year", "a year", ""]


def posteriors_of(decoder: causal_lm.CausalLM, texts: list[str]) -> Posteriors:
    """Return posteriors near 1 of ``texts``, each unit in two states with a blank behind."""
    subwords = decoder.subword_units(20)
    rows = [torch.tensor([each for place in subwords(t) for each in (place + 1, place + 1, 0)] + [0]) for t in texts]
    lens_B = torch.tensor([len(row) for row in rows])
    classes_BM = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    probs_BMC = torch.nn.functional.one_hot(classes_BM, 1 + len(subwords.ids)) * 0.99 + 1e-5
    return Posteriors(probs_BMC.log(), lens_B, subwords)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_what_ctc_is_sure_of_is_written_whatever_the_llm_would_write(
    decoder: causal_lm.CausalLM, num_beams: int
) -> None:
    torch.manual_seed(0)
    prompts = [torch.randn(length, decoder.embedding_dim) for length in (7, 3, 5)]
    candidates = 2 * num_beams  # so that most tokens of the transcripts are proposed by CTC alone
    options = GenerationOptions(num_beams=num_beams, length_penalty=0, ctc_weight=0.9, ctc_candidates=candidates)
    posteriors = posteriors_of(decoder, TEXTS)
    found = decoder.generate(prompts, [20, 20, 20], options, posteriors)
    assert [nbest[0].text for nbest in found] == TEXTS
    assert not any(nbest[0].truncated for nbest in found)
    capped = decoder.generate(prompts, [2, 2, 2], options, posteriors)
    assert all(nbest[0].num_tokens <= 2 for nbest in capped)
    second = Posteriors(posteriors.log_probs_BMC[1:2], posteriors.stacked_lens_B[1:2], posteriors.subwords)
    alone = decoder.generate(prompts[1:2], [20], options, second)
    assert alone[0][0].score == pytest.approx(found[1][0].score, abs=1e-5)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_what_has_ended_stays_as_it_is_beside_longer_batch_mates(decoder: causal_lm.CausalLM, num_beams: int) -> None:
    """Short before long, so that finished rows could be confused with prefixes of others."""
    torch.manual_seed(0)
    subwords = decoder.subword_units(20)
    lens_B, max_new_tokens = torch.tensor([2, 9, 60]), [3, 6, 25]
    log_probs_BMC = torch.randn(3, 60, 1 + len(subwords.ids)).mul(2).log_softmax(-1)
    prompts = [torch.randn(length, decoder.embedding_dim) for length in (3, 7, 5)]
    options = GenerationOptions(num_beams=num_beams, ctc_weight=0.4, ctc_candidates=2 * num_beams)
    together = decoder.generate(prompts, max_new_tokens, options, Posteriors(log_probs_BMC, lens_B, subwords))
    for i, limit in enumerate(max_new_tokens):
        alone = Posteriors(log_probs_BMC[i : i + 1, : lens_B[i]], lens_B[i : i + 1], subwords)
        (expected,) = decoder.generate(prompts[i : i + 1], [limit], options, alone)
        assert together[i][0].text == expected[0].text
        assert together[i][0].score == pytest.approx(expected[0].score, abs=1e-4)


def test_without_a_weight_ctc_changes_nothing(decoder: causal_lm.CausalLM) -> None:
    torch.manual_seed(0)
    prompts = [torch.randn(6, decoder.embedding_dim)]
    options = GenerationOptions()
    (with_posteriors,) = decoder.generate(prompts, [5], options, posteriors_of(decoder, TEXTS[:1]))[0]
    (without,) = decoder.generate(prompts, [5], options)[0]
    assert [one for one, _ in with_posteriors.tokens] == [one for one, _ in without.tokens]
    assert with_posteriors.score == pytest.approx(without.score, abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("max_new_tokens", [12, 3])
def test_drafts_of_a_ctc_head_change_no_hypothesis(
    decoder: causal_lm.CausalLM, weight: float, max_new_tokens: int
) -> None:
    torch.manual_seed(0)
    prompts = [torch.randn(length, decoder.embedding_dim) for length in (7, 3, 5)]
    vocabulary = decoder.model.get_input_embeddings().num_embeddings
    options = GenerationOptions(ctc_weight=weight, ctc_candidates=vocabulary, no_repeat_ngram=3)
    posteriors = posteriors_of(decoder, TEXTS)
    limits = [max_new_tokens, 12, 5]
    found = decoder.generate(prompts, limits, options, posteriors)
    expected = decoder.generate(prompts, limits, replace(options, speculative=False), posteriors)
    for (one,), (other,) in zip(found, expected, strict=True):
        assert (one.text, one.num_tokens, one.truncated) == (other.text, other.num_tokens, other.truncated)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert other.drafted == 0
    assert found[0][0].drafted > 0
    search = Search(decoder.model, decoder.embed, decoder.tokenizer.eos_token_id)
    with torch.inference_mode():  # the CTC hypothesis has other tokens than this LLM prefers, so draft its own, too
        tokens = [nbest[0].ids for nbest in search(prompts, limits, options, posteriors, None)]
        again = search(prompts, limits, options, posteriors, [Draft(ids) for ids in tokens])
    assert [nbest[0].ids for nbest in again] == tokens
    assert again[0][0].accepted >= len(tokens[0]) - 2  # two passes, each with a token of its own
