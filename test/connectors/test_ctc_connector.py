"""The CTC connector: its loss, its speech tokens, and none for blanks."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from speechllm.connectors import _ctc
from speechllm.connectors.ctc import Config, CTCConnector
from speechllm.ctc import ctc_objective
from speechllm.decoders import causal_lm
from speechllm.errors import ConfigError
from speechllm.interfaces import Posteriors
from speechllm.models.ctc import count_units

SEGMENT = 24  # states


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> causal_lm.CausalLM:
    return causal_lm.Config(path=str(tiny_llm)).build()


@pytest.fixture
def connector(decoder: causal_lm.CausalLM) -> CTCConnector:
    torch.manual_seed(0)
    made = Config(stack=2, hidden=64, num_layers=1, bpe_merges=10).build(16, decoder.embedding_dim, SEGMENT)
    made.bind(decoder)
    torch.nn.init.zeros_(made.residual.bias)
    return made.eval()


def posteriors_of(connector: CTCConnector, *utterances: list[int], certainty: float = 0.999) -> Posteriors:
    """Return posteriors of ``utterances``: for each stacked state a class, 0 for the blank."""
    lens_B = torch.tensor([len(one) for one in utterances])
    classes_BM = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in utterances], batch_first=True)
    number = 1 + len(connector.subwords.ids)
    others = (1 - certainty) / (number - 1)
    probs_BMC = one_hot(classes_BM, number) * (certainty - others) + others
    return Posteriors(probs_BMC.log(), lens_B, connector.subwords)


def embed(connector: CTCConnector, posteriors: Posteriors) -> tuple[Tensor, Tensor]:
    return connector.embed(torch.randn(*posteriors.log_probs_BMC.shape[:2], 64), posteriors)


def rows(connector: CTCConnector, decoder: causal_lm.CausalLM, classes: list[int]) -> Tensor:
    return decoder.embed(torch.tensor([connector.subwords.ids[one - 1] for one in classes]))


def test_runs_become_embeddings_and_blanks_nothing(connector: CTCConnector, decoder: causal_lm.CausalLM) -> None:
    embeds_BSE, lens_B = embed(connector, posteriors_of(connector, [0, 3, 3, 0, 3, 5, 0], [4, 4, 4], [0, 0]))
    assert lens_B.tolist() == [3, 1, 0]
    torch.testing.assert_close(embeds_BSE[0], rows(connector, decoder, [3, 3, 5]), atol=2e-3, rtol=0)
    torch.testing.assert_close(embeds_BSE[1, :1], rows(connector, decoder, [4]), atol=2e-3, rtol=0)


def test_an_uncertain_blank_is_kept(connector: CTCConnector) -> None:
    """Its posterior is below blank_threshold, and a unit dropped here could not be recovered by the LLM."""
    _, lens_B = embed(connector, posteriors_of(connector, [0, 0, 0], certainty=0.9))
    assert lens_B.tolist() == [1]


def test_silence_gives_no_speech_tokens(connector: CTCConnector) -> None:
    embeds_BSE, lens_B = embed(connector, posteriors_of(connector, [0, 0], [0]))
    assert lens_B.tolist() == [0, 0] and embeds_BSE.shape[:2] == (2, 0)


def test_the_loss_is_that_of_the_subword_units(connector: CTCConnector) -> None:
    classes = [one + 1 for one in connector.subwords("she had")]
    spaced = [one for each in classes for one in (each, 0)]
    right = ctc_objective(posteriors_of(connector, spaced), ["she had"])
    wrong = ctc_objective(posteriors_of(connector, spaced), ["all year"])
    assert count_units(connector.subwords, ["she had"]) == len(classes) and right < 0.1 < 10 < wrong
    too_short = ctc_objective(posteriors_of(connector, classes[:1]), ["she had"])
    assert too_short == 0


def test_an_empty_transcript_asks_for_blanks(connector: CTCConnector) -> None:
    right = ctc_objective(posteriors_of(connector, [0, 0, 0]), [""])
    wrong = ctc_objective(posteriors_of(connector, [0, 4, 0]), [""])
    assert count_units(connector.subwords, [""]) == 1 and right < 0.1 < 5 < wrong
    both = ctc_objective(posteriors_of(connector, [0, 4, 0], [0, 3]), ["", "she had"])
    assert count_units(connector.subwords, ["", "she had"]) == 1 + len(connector.subwords("she had"))
    assert both >= wrong


def test_descent_ends_at_the_subword_units(connector: CTCConnector) -> None:
    torch.manual_seed(0)
    states_BLD, lens_B, texts = torch.randn(2, 40, 16), torch.tensor([40, 36]), ["she had", "all year"]
    optimizer = torch.optim.Adam(connector.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = ctc_objective(connector(states_BLD, lens_B).posteriors, texts)
        loss.backward()
        optimizer.step()
    posteriors = connector(states_BLD, lens_B).posteriors
    best_BM = posteriors.log_probs_BMC.argmax(-1)
    for best_M, length, text in zip(best_BM, posteriors.stacked_lens_B.tolist(), texts, strict=True):
        assert [one - 1 for one in best_M[:length].unique_consecutive().tolist() if one] == connector.subwords(text)


def test_masks_are_of_training_alone_and_about_as_many_as_asked_for(connector: CTCConnector) -> None:
    valid_BM = torch.ones(200, 100, dtype=torch.bool)
    assert not connector._masked(valid_BM).any()
    share = connector.train()._masked(valid_BM).float().mean()
    assert 0.06 < share < 0.11  # spans overlap, and begin within the utterance


def test_the_most_probable_units_give_nearly_the_expectation(
    connector: CTCConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    log_probs_KC = torch.randn(5, len(connector.subwords.ids)).mul(3).log_softmax(-1)
    of_all = connector._expected(log_probs_KC)
    monkeypatch.setattr(_ctc, "EXPECTED_UNITS", 8)
    of_some = connector._expected(log_probs_KC)
    assert 0 < (of_some - of_all).abs().max() < 0.1 * of_all.abs().max()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="stack and bpe_merges: found 0 and 500"):
        Config(stack=0)
    with pytest.raises(ConfigError, match="num_layers: found 0"):
        Config(num_layers=0)
    with pytest.raises(ConfigError, match="hidden: found 100, expected a multiple of 64"):
        Config(hidden=100)
    with pytest.raises(ConfigError, match="blank_threshold: found 0, expected more than 0"):
        Config(blank_threshold=0)
