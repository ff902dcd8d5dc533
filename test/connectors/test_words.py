"""Words of transcripts and their states, and the search for spellings."""

import pytest
import torch
from torch import Tensor

from speechllm.connectors._words import MOST_SPELLINGS, SpellingSearch, best_runs, locate


def log_probs(*utts: list[int], classes: int = 4) -> Tensor:
    """Return log-probabilities with these best classes."""
    probs_BMC = torch.full((len(utts), max(map(len, utts)), classes), 0.02)
    for utt, best in enumerate(utts):
        probs_BMC[utt, torch.arange(len(best)), torch.tensor(best)] = 0.94
    return probs_BMC.log()


def test_words_are_at_the_last_state_of_their_first_unit() -> None:
    log_probs_BMW = log_probs([0, 1, 1, 0, 3, 0], [2, 0, 2, 0], [0, 0])
    words = [[[5], [7, 8]], [[6, 9, 9], [6]], [[5], [5]]]
    found = locate(log_probs_BMW, torch.tensor([6, 4, 2]), [[1, 3], [2, 2], [1, 1]], words)
    places = list(zip(found.utts_R.tolist(), found.states_R.tolist(), found.tokens, strict=True))
    # the third utterance is too short: CTC needs a blank between two equal units
    assert places == [(1, 0, [6, 9, 9]), (0, 4, [7, 8]), (0, 2, [5]), (1, 2, [6])]
    assert [found.longer(number) for number in range(4)] == [4, 2, 1, 0]


def test_transcripts_without_words_have_no_places() -> None:
    found = locate(log_probs([0, 0]), torch.tensor([2]), [[]], [[]])
    assert (len(found.utts_R), len(found.states_R), found.tokens, found.longer(0)) == (0, 0, [], 0)


def test_a_run_ends_before_another_label() -> None:
    runs = best_runs(torch.tensor([[0, 1, 1, 2, 0, 3], [0, 0, 0, 0, 0, 0], [4, 4, 0, 4, 0, 0]]))
    places = list(zip(*(one.tolist() for one in runs), strict=True))
    assert places == [(0, 1, 2), (0, 3, 3), (0, 5, 5), (2, 0, 1), (2, 3, 3)]


def test_probable_spellings_are_complete_with_their_probabilities() -> None:
    """Two words; tokens 10 and 11 begin words, 20 and 21 continue them."""
    search = SpellingSearch(2, torch.device("cpu"))
    first_W, further_F = torch.tensor([10, 11]), torch.tensor([-1, 20, 21])
    before_R = search.extend(torch.tensor([[0.6, 0.05], [0.4, 0.3]]).log(), first_W)
    assert before_R.tolist() == [0, 1, 1]  # 0.05 is less than a tenth of 0.6
    assert search.tokens_RS.tolist() == [[10], [10], [11]]
    before_R = search.extend(torch.tensor([[0.0, 0.9, 0.1], [0.96, 0.04, 0.0], [0.5, 0.3, 0.2]]).log(), further_F)
    assert before_R.tolist() == [0, 0, 2, 2]  # the second is complete: 0.4 * 0.04 is less than a tenth of 0.4 * 0.96
    assert search.tokens_RS.tolist() == [[10, 20], [10, 21], [11, 20], [11, 21]]
    assert search.words_R.tolist() == [0, 0, 1, 1]
    probs_RF = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.1, 0.1, 0.8]])
    before_R = search.extend(probs_RF.log(), further_F)
    assert before_R.tolist() == [0, 3]
    first, second = search.finish()
    assert [tokens for tokens, _ in first] == [(10, 20), (10, 21), (10, 20, 20)]
    assert [prob for _, prob in first] == pytest.approx([0.27, 0.06, 0.27])
    assert [tokens for tokens, _ in second] == [(10,), (11,), (11, 20), (11, 21, 21)]
    assert [prob for _, prob in second] == pytest.approx([0.384, 0.15, 0.081, 0.048])


def test_a_word_has_a_spelling_if_no_token_is_probable() -> None:
    search = SpellingSearch(1, torch.device("cpu"))
    search.extend(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([10, 11]))
    for _ in range(12):
        search.extend(torch.full((len(search.words_R), 50), 0.02).log(), torch.arange(49, -1, -1))
    (spellings,) = search.finish()
    assert len(spellings) == MOST_SPELLINGS


def test_the_best_spellings_of_each_word_go_on() -> None:
    search = SpellingSearch(2, torch.device("cpu"))
    search.extend(torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]).log(), torch.tensor([10, 11, 12]))
    probs_RF = torch.tensor([[0.4, 0.35, 0.25]] * 6)
    before_R = search.extend(probs_RF.log(), torch.tensor([20, 21, 22]))
    assert MOST_SPELLINGS == 5
    assert search.words_R.tolist() == [0] * 5 + [1] * 5
    assert before_R.tolist() == [0, 0, 0, 1, 1, 3, 3, 3, 4, 4]  # 0.2 times 0.4 is less than 0.3 times 0.35
    assert search.tokens_RS[:5].tolist() == [[10, 20], [10, 21], [10, 22], [11, 20], [11, 21]]


def test_nothing_has_no_spellings() -> None:
    search = SpellingSearch(0, torch.device("cpu"))
    assert search.extend(torch.empty(0, 2), torch.tensor([10, 11])).tolist() == []
    assert search.finish() == []
