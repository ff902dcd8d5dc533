"""CTC against the embedding table: what it sums, that it aligns, and that padding and short speech do no harm."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from speechllm.decoders import causal_lm
from speechllm.errors import DataError
from speechllm.models.ctc import EmbeddingCTC

TEXTS = ["the quick brown fox", "she had all year", "the lazy dog"]


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> causal_lm.CausalLM:
    return causal_lm.Config(path=str(tiny_llm)).build()


@pytest.fixture(scope="module")
def ctc(decoder: causal_lm.CausalLM) -> EmbeddingCTC:
    return EmbeddingCTC(decoder, TEXTS)


def spoken(decoder: causal_lm.CausalLM, ids: list[int], blank: int) -> Tensor:
    """Return speech tokens that say ``ids`` clearly, with a blank before and after each."""
    return decoder.embed(torch.tensor([blank, *(i for one in ids for i in (one, blank))]))[None]


@pytest.mark.parametrize(("progress", "temperature", "pull"), [(0.0, 0.5, 0.1), (0.5, 0.3, 0.2), (1.0, 0.18, 0.4)])
def test_loss_is_ctc_over_distances_and_the_distances_themselves(
    decoder: causal_lm.CausalLM, progress: float, temperature: float, pull: float
) -> None:
    ctc = EmbeddingCTC(decoder, TEXTS, temperature=(0.5, 0.18), pull=(0.1, 0.4))
    ctc.anneal(progress)
    torch.manual_seed(0)
    ids = decoder.tokenize(TEXTS[0])
    speech_BSE = torch.randn(1, 2 * len(ids) + 1, decoder.embedding_dim) * 0.02
    table_VE = decoder.embed(ctc.ids_V)
    variance = (table_VE - table_VE.mean(0)).pow(2).sum(1).mean()
    squares_BSV = torch.cdist(speech_BSE, table_VE[None]).pow(2)
    probs_BSV = (-squares_BSV / (2 * variance * temperature**2)).softmax(-1)
    labels = torch.tensor([[ctc.ids_V.tolist().index(one) for one in ids]])
    lens = torch.tensor([speech_BSE.shape[1]]), torch.tensor([len(ids)])
    aligned = ctc_loss(probs_BSV.log().transpose(0, 1), labels, *lens, reduction="sum")
    pulled = (speech_BSE - probs_BSV @ table_VE).pow(2).sum() / (2 * variance)
    torch.testing.assert_close(ctc(speech_BSE, lens[0], [ids], decoder), aligned + pull * pulled, rtol=1e-4, atol=1e-4)


def test_the_right_text_costs_little_and_another_much(decoder: causal_lm.CausalLM, ctc: EmbeddingCTC) -> None:
    ids, other = (decoder.tokenize(text) for text in TEXTS[:2])
    speech_BSE = spoken(decoder, ids, int(ctc.ids_V[0]))
    lens_B = torch.tensor([speech_BSE.shape[1]])
    assert ctc(speech_BSE, lens_B, [ids], decoder) < 1.0 < 10.0 < ctc(speech_BSE, lens_B, [other], decoder)


def test_embeddings_of_the_text_are_where_descent_ends(decoder: causal_lm.CausalLM, ctc: EmbeddingCTC) -> None:
    torch.manual_seed(0)
    ids = decoder.tokenize(TEXTS[2])
    speech_BSE = torch.zeros(1, 3 * len(ids), decoder.embedding_dim, requires_grad=True)
    with torch.no_grad():
        speech_BSE += torch.randn_like(speech_BSE) * 0.01
    optimizer = torch.optim.Adam([speech_BSE], lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        ctc(speech_BSE, torch.tensor([speech_BSE.shape[1]]), [ids], decoder).backward()
        optimizer.step()
    nearest = ctc.ids_V[torch.cdist(speech_BSE[0].detach(), decoder.embed(ctc.ids_V)).argmin(1)]
    read = [one for one in nearest.unique_consecutive().tolist() if one != ctc.ids_V[0]]
    assert read == ids
    distances = (speech_BSE[0].detach() - decoder.embed(nearest)).norm(dim=1)
    assert distances.max() < 0.5 * decoder.embed(nearest).norm(dim=1).mean()


def test_padding_and_batch_mates_change_nothing(decoder: causal_lm.CausalLM, ctc: EmbeddingCTC) -> None:
    torch.manual_seed(0)
    ids = [decoder.tokenize(text) for text in TEXTS]
    lens = [24, 30, 18]
    speech_BSE = torch.randn(3, 30, decoder.embedding_dim) * 0.02
    alone = [ctc(speech_BSE[i : i + 1, : lens[i]], torch.tensor([lens[i]]), [ids[i]], decoder) for i in range(3)]
    together = ctc(speech_BSE, torch.tensor(lens), ids, decoder)
    torch.testing.assert_close(together, torch.stack(alone).sum(), rtol=1e-5, atol=1e-4)


def test_too_little_speech_for_its_text_is_left_out(decoder: causal_lm.CausalLM, ctc: EmbeddingCTC) -> None:
    ids = decoder.tokenize(TEXTS[0])
    speech_BSE = torch.randn(1, len(ids) - 1, decoder.embedding_dim, requires_grad=True)
    loss = ctc(speech_BSE, torch.tensor([len(ids) - 1]), [ids], decoder)
    loss.backward()
    assert loss == 0 and not speech_BSE.grad.any()
    twice = [ids[0], ids[0]]  # a blank must stand between them
    for length, fits in ((2, False), (3, True)):
        assert (
            ctc(torch.randn(1, length, decoder.embedding_dim), torch.tensor([length]), [twice], decoder) > 0
        ) == fits


def test_tokens_that_cannot_be_told_apart_are_left_out(decoder: causal_lm.CausalLM, ctc: EmbeddingCTC) -> None:
    ids = decoder.tokenize(TEXTS[0])
    unknown = next(i for i in range(3, decoder.table().shape[0]) if i not in ctc.ids_V)
    speech_BSE = spoken(decoder, ids, int(ctc.ids_V[0]))
    lens_B = torch.tensor([speech_BSE.shape[1]])
    with_it = ctc(speech_BSE, lens_B, [[ids[0], unknown, *ids[1:]]], decoder)
    torch.testing.assert_close(with_it, ctc(speech_BSE, lens_B, [ids], decoder))


def test_no_transcripts_are_refused(decoder: causal_lm.CausalLM) -> None:
    with pytest.raises(DataError, match="the training transcripts have no token"):
        EmbeddingCTC(decoder, [""])
