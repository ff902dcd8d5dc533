"""Words of transcripts, their states, and the order of the positions that continue them."""

import torch
from torch import Tensor

from speechllm.connectors._words import Positions, beginnings, in_order, locate, mixture, run_ends, split_words


def log_probs(*utts: list[int], classes: int = 4) -> Tensor:
    """Return log-probabilities with these best classes."""
    probs_BMC = torch.full((len(utts), max(map(len, utts)), classes), 0.02)
    for utt, best in enumerate(utts):
        probs_BMC[utt, torch.arange(len(best)), torch.tensor(best)] = 0.94
    return probs_BMC.log()


def test_units_without_a_word_before_them_are_left_out() -> None:
    assert split_words([1, 0, 2, 1, 3, 1, 0], [False, True, False, True]) == [[1, 0, 2], [1], [3], [1, 0]]
    assert split_words([0, 2, 1], [False, True, False]) == [[1]]
    assert split_words([], [True]) == []


def test_words_are_at_the_last_state_of_their_first_unit() -> None:
    log_probs_BMW = log_probs([0, 1, 1, 0, 3, 0], [2, 0, 2, 0], [0, 0])
    words = [[[5], [7, 8]], [[6, 9, 9], [6]], [[5], [5]]]
    found = locate(log_probs_BMW, torch.tensor([6, 4, 2]), [[1, 3], [2, 2], [1, 1]], words)
    places = list(zip(found.utts_R.tolist(), found.states_R.tolist(), found.units, strict=True))
    # the third utterance is too short: CTC needs a blank between two equal units
    assert places == [(1, 0, [6, 9, 9]), (0, 4, [7, 8]), (0, 2, [5]), (1, 2, [6])]
    assert [found.longer(number) for number in range(4)] == [4, 2, 1, 0]


def test_transcripts_without_words_have_no_places() -> None:
    found = locate(log_probs([0, 0]), torch.tensor([2]), [[]], [[]])
    assert (len(found.utts_R), len(found.states_R), found.units, found.longer(0)) == (0, 0, [], 0)


def test_a_run_ends_before_another_label() -> None:
    utts_R, states_R = run_ends(torch.tensor([[0, 1, 1, 2, 0, 3], [0, 0, 0, 0, 0, 0], [4, 4, 0, 4, 0, 0]]))
    assert list(zip(utts_R.tolist(), states_R.tolist(), strict=True)) == [(0, 2), (0, 3), (0, 5), (2, 1), (2, 3)]


def test_further_positions_follow_their_state() -> None:
    """Two utterances of 3 and 2 states; a word of two further positions, and two words of one."""
    places = [([0, 0, 0, 1, 1], [0, 1, 2, 0, 1]), ([0, 0, 1], [0, 2, 1]), ([0], [0])]
    steps, value = [], 0
    for step, (utts, states) in enumerate(places):
        values_R = torch.arange(value, value + len(utts), dtype=torch.float)
        value += len(utts)
        steps.append(Positions(torch.tensor(utts), torch.tensor(states), step, values_R[:, None], -values_R[:, None]))
    hidden_BMH, log_probs_BMC, states_BM, lens_B = in_order(steps, torch.tensor([3, 2]))
    assert lens_B.tolist() == [6, 3]
    assert states_BM.tolist() == [[0, 0, 0, 1, 2, 2], [0, 1, 1, 0, 0, 0]]
    assert hidden_BMH[0, :, 0].tolist() == [0, 5, 8, 1, 2, 6]
    assert hidden_BMH[1, :3, 0].tolist() == [3, 4, 7]
    assert log_probs_BMC.equal(-hidden_BMH)


def test_a_word_goes_on_with_its_probable_first_units() -> None:
    probs_NW = torch.tensor([[0.2, 0.4, 0.06, 0.3, 0.04], [0.0, 0.02, 0.02, 0.95, 0.01]])
    word_R, classes_R, shares_R = beginnings(probs_NW.log())
    assert (word_R.tolist(), classes_R.tolist()) == ([0, 0, 1], [1, 3, 3])
    torch.testing.assert_close(shares_R, torch.tensor([4 / 7, 3 / 7, 1.0]))


def test_beginnings_that_ended_are_counted_as_the_end() -> None:
    probs_RF = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])
    hidden_RH = torch.tensor([[1.0], [4.0], [9.0]])
    shares_R = torch.tensor([0.4, 0.2, 1.0])  # 0.4 of the first word ended
    word_N, hidden_NH, log_probs_NF = mixture(torch.tensor([3, 3, 5]), shares_R, hidden_RH, probs_RF.log())
    assert word_N.tolist() == [3, 5]
    expected = torch.tensor([[0.4 * 0.5 + 0.2 * 0.1 + 0.4, 0.4 * 0.5 + 0.2 * 0.2, 0.2 * 0.7], [0.25, 0.25, 0.5]])
    torch.testing.assert_close(log_probs_NF.exp(), expected)
    torch.testing.assert_close(hidden_NH, torch.tensor([[2.0], [9.0]]))
