"""CTC against the embedding matrix: its formula, the end of descent, padding and short speech."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from speechllm.decoders import causal_lm
from speechllm.errors import DataError
from speechllm.interfaces import ConnectorOutput, Posteriors
from speechllm.models.ctc import EmbeddingMatrixHead, confidence

TEXTS = ["the quick brown fox", "she had all year", "the lazy dog"]


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> causal_lm.CausalLM:
    return causal_lm.Config(path=str(tiny_llm)).build()


@pytest.fixture(scope="module")
def ctc(decoder: causal_lm.CausalLM) -> EmbeddingMatrixHead:
    return EmbeddingMatrixHead(decoder, TEXTS)


def spoken(decoder: causal_lm.CausalLM, ids: list[int], blank: int) -> Tensor:
    """Return speech tokens of ``ids`` with high posteriors, with a blank before and after each."""
    return decoder.embed(torch.tensor([blank, *(i for one in ids for i in (one, blank))]))[None]


def loss_of(head: EmbeddingMatrixHead, speech_BSE: Tensor, lens: list[int], texts: list[str], decoder: Any) -> Tensor:
    return head(ConnectorOutput(speech_BSE, torch.tensor(lens)), texts, decoder)


def test_loss_is_ctc_over_distances_plus_the_distances(decoder: causal_lm.CausalLM, ctc: EmbeddingMatrixHead) -> None:
    torch.manual_seed(0)
    ids = decoder.tokenize(TEXTS[0])
    speech_BSE = torch.randn(1, 2 * len(ids) + 1, decoder.embedding_dim) * 0.02
    matrix_VE = decoder.embed(ctc.ids_V)
    variance = (matrix_VE - matrix_VE.mean(0)).pow(2).sum(1).mean()
    squares_BSV = torch.cdist(speech_BSE, matrix_VE[None]).pow(2)
    probs_BSV = (-squares_BSV / (2 * variance * 0.25**2)).softmax(-1)
    labels = torch.tensor([[ctc.ids_V.tolist().index(one) for one in ids]])
    lens = torch.tensor([speech_BSE.shape[1]]), torch.tensor([len(ids)])
    by_ctc = ctc_loss(probs_BSV.log().transpose(0, 1), labels, *lens, reduction="sum")
    regulariser = (speech_BSE - probs_BSV @ matrix_VE).pow(2).sum() / (2 * variance)
    found = loss_of(ctc, speech_BSE, [speech_BSE.shape[1]], TEXTS[:1], decoder)
    torch.testing.assert_close(found, by_ctc + regulariser, rtol=1e-4, atol=1e-4)


def test_the_right_text_costs_little_and_another_much(decoder: causal_lm.CausalLM, ctc: EmbeddingMatrixHead) -> None:
    speech_BSE = spoken(decoder, decoder.tokenize(TEXTS[0]), int(ctc.ids_V[0]))
    right, wrong = (loss_of(ctc, speech_BSE, [speech_BSE.shape[1]], [text], decoder) for text in TEXTS[:2])
    assert right < 1.0 < 10.0 < wrong


def test_embeddings_of_the_text_are_where_descent_ends(decoder: causal_lm.CausalLM, ctc: EmbeddingMatrixHead) -> None:
    torch.manual_seed(0)
    ids = decoder.tokenize(TEXTS[2])
    speech_BSE = torch.zeros(1, 3 * len(ids), decoder.embedding_dim, requires_grad=True)
    with torch.no_grad():
        speech_BSE += torch.randn_like(speech_BSE) * 0.01
    optimizer = torch.optim.Adam([speech_BSE], lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        loss_of(ctc, speech_BSE, [speech_BSE.shape[1]], TEXTS[2:], decoder).backward()
        optimizer.step()
    nearest = ctc.ids_V[torch.cdist(speech_BSE[0].detach(), decoder.embed(ctc.ids_V)).argmin(1)]
    read = [one for one in nearest.unique_consecutive().tolist() if one != ctc.ids_V[0]]
    assert read == ids
    distances = (speech_BSE[0].detach() - decoder.embed(nearest)).norm(dim=1)
    assert distances.max() < 0.5 * decoder.embed(nearest).norm(dim=1).mean()


def test_padding_and_batch_mates_change_nothing(decoder: causal_lm.CausalLM, ctc: EmbeddingMatrixHead) -> None:
    torch.manual_seed(0)
    lens = [24, 30, 18]
    speech_BSE = torch.randn(3, 30, decoder.embedding_dim) * 0.02
    alone = [loss_of(ctc, speech_BSE[i : i + 1, : lens[i]], [lens[i]], [TEXTS[i]], decoder) for i in range(3)]
    together = loss_of(ctc, speech_BSE, lens, TEXTS, decoder)
    torch.testing.assert_close(together, torch.stack(alone).sum(), rtol=1e-5, atol=1e-4)


def test_too_little_speech_for_its_text_adds_nothing(decoder: causal_lm.CausalLM, ctc: EmbeddingMatrixHead) -> None:
    ids = decoder.tokenize(TEXTS[0])
    speech_BSE = torch.randn(1, len(ids) - 1, decoder.embedding_dim, requires_grad=True)
    loss = loss_of(ctc, speech_BSE, [len(ids) - 1], TEXTS[:1], decoder)
    loss.backward()
    assert loss == 0 and not speech_BSE.grad.any()


def test_a_repeated_token_needs_a_blank_between(decoder: causal_lm.CausalLM) -> None:
    repeated = next(text for text in ("aa", "ee", "..", "zz") if len(set(decoder.tokenize(text))) == 1)
    head = EmbeddingMatrixHead(decoder, [repeated])
    number = len(decoder.tokenize(repeated))
    for length, fits in ((number, number == 1), (2 * number - 1, True)):
        speech_BSE = torch.randn(1, length, decoder.embedding_dim)
        assert (loss_of(head, speech_BSE, [length], [repeated], decoder) > 0) == fits


def test_tokens_outside_the_classes_are_left_out(decoder: causal_lm.CausalLM, ctc: EmbeddingMatrixHead) -> None:
    classes = set(ctc.ids_V.tolist())
    unknown = next(one for one in "ZQX7" if not classes & set(decoder.tokenize(one)))
    speech_BSE = spoken(decoder, decoder.tokenize(TEXTS[0]), int(ctc.ids_V[0]))
    lens = [speech_BSE.shape[1]]
    with_it = loss_of(ctc, speech_BSE, lens, [TEXTS[0] + unknown], decoder)
    torch.testing.assert_close(with_it, loss_of(ctc, speech_BSE, lens, TEXTS[:1], decoder))


def test_confidence_is_the_mean_posterior_of_non_blank_states() -> None:
    probs_BMC = torch.tensor([[[0.1, 0.9], [0.3, 0.7], [0.6, 0.4]], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]])
    found = confidence(Posteriors(probs_BMC.log(), torch.tensor([3, 2]), lambda text: []))
    torch.testing.assert_close(found, torch.tensor([0.8, 0.0]))


def test_no_transcripts_are_refused(decoder: causal_lm.CausalLM) -> None:
    with pytest.raises(DataError, match="found training transcripts without tokens"):
        EmbeddingMatrixHead(decoder, [""])
