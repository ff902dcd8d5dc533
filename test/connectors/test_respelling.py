"""Whisper's tokens without case, and words in the LLM's units."""

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from toy_byte_level import merged
from transformers import PreTrainedTokenizerFast, WhisperTokenizerFast

from speechllm.connectors._respelling import Respelling
from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._words import Runs, Spelling
from speechllm.decoders._subwords import SubwordUnits


@pytest.fixture(scope="module")
def tokens() -> WhisperTokens:
    vocabulary, merges = merged("ĠJane", "Ġja", "Ġhad", "ness", "Ġhap", "py")
    vocabulary |= {name: len(vocabulary) + i for i, name in enumerate(("<|endoftext|>", "<|startoftranscript|>"))}
    return WhisperTokens(WhisperTokenizerFast(vocab=vocabulary, merges=merges))


@pytest.fixture(scope="module")
def units() -> SubwordUnits:
    vocabulary, merges = merged("Ġja", "ne", "Ġhad", "Ġhappy", "ppi", "ness")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return SubwordUnits(PreTrainedTokenizerFast(tokenizer_object=tokenizer), 100, lower_case=True)


def spelled(tokens: WhisperTokens, text: str) -> list[list[str]]:
    return [[tokens.text((token,)) for token in word] for word in tokens.words(text)]


def test_words_have_the_tokens_of_the_form_with_fewer(tokens: WhisperTokens) -> None:
    assert spelled(tokens, "Jane had JANE") == [[" jane"], [" had"], [" jane"]]
    assert spelled(tokens, "jab Had") == [[" ja", "b"], [" had"]]  # as many as Ja, b
    assert spelled(tokens, "happiness") == [[" hap", "p", "i", "ness"]]
    assert spelled(tokens, " ") == []


def test_tokens_that_differ_in_case_are_one(tokens: WhisperTokens) -> None:
    texts = [tokens.text((place,)) for place in range(len(tokens.ids))]
    assert texts.count(" jane") == texts.count(" ja") == texts.count("a") == 1
    assert not any(character.isascii() and character.isupper() for text in texts for character in text)
    assert len(set(tokens.ids)) == len(tokens.ids)
    assert [text.startswith(" ") for text in texts] == tokens.begins


def test_bytes_beyond_ascii_are_text_together(tokens: WhisperTokens) -> None:
    (word,) = tokens.words("Café")
    assert tokens.text(tuple(word)) == " café"


class Case:
    """Posteriors of one utterance in Whisper's tokens, and in the LLM's units."""

    def __init__(self, tokens: WhisperTokens, units: SubwordUnits) -> None:
        self.tokens, self.units = tokens, units
        self.first_W = torch.tensor([-1, *(token for token, begins in enumerate(tokens.begins) if begins)])
        self.respelling = Respelling(tokens, units, self.first_W)

    def first(self, word: str) -> int:
        """Return the class of the first token of a word."""
        return self.first_W.tolist().index(self.tokens.words(word)[0][0])

    def unit(self, word: str, place: int) -> int:
        """Return the class of a unit of a word."""
        return 1 + self.units(word)[place]

    def spelling(self, word: str, prob: float) -> Spelling:
        return Spelling(tuple(self.tokens.words(word)[0]), prob)

    def posteriors(self, *states: dict[int, float]) -> Tensor:
        probs_BMW = torch.zeros(1, len(states), len(self.first_W))
        for state, probs in enumerate(states):
            for place, prob in probs.items():
                probs_BMW[0, state, place] = prob
        return probs_BMW.clamp(min=1e-30).log()


def test_further_units_follow_the_last_state_of_a_word(tokens: WhisperTokens, units: SubwordUnits) -> None:
    """One token of Whisper, two units of the LLM; the second spelling of the word has one unit."""
    case = Case(tokens, units)
    jane, had = case.first("jane"), case.first("had")
    log_probs_BMW = case.posteriors({0: 0.9, jane: 0.1}, {jane: 0.8, had: 0.2}, {0: 0.6, jane: 0.4}, {had: 1.0})
    runs = Runs(torch.tensor([0, 0]), torch.tensor([1, 3]), torch.tensor([1, 3]))
    spellings = [[case.spelling("jane", 0.6), case.spelling("had", 0.2)], [case.spelling("had", 1.0)]]
    found = case.respelling(log_probs_BMW, torch.tensor([4]), runs, spellings)
    assert (found.lens_B.tolist(), found.states_BP.tolist()) == ([5], [[0, 1, 1, 2, 3]])
    ja, ne, whole = case.unit("jane", 0), case.unit("jane", 1), case.unit("had", 0)
    expected = [{0: 0.9, ja: 0.1}, {ja: 0.8, whole: 0.2}, {ne: 0.75, 0: 0.25}, {0: 0.6, ja: 0.4}, {whole: 1.0}]
    for log_probs_C, probs in zip(found.log_probs_BPC[0], expected, strict=True):
        assert math.isfinite(float(log_probs_C.min()))
        for place, prob in probs.items():
            assert float(log_probs_C[place].exp()) == pytest.approx(prob, abs=1e-6)
        assert float(log_probs_C.exp().sum()) == pytest.approx(1, abs=1e-6)


def test_a_word_may_have_another_first_unit_than_its_first_token(tokens: WhisperTokens, units: SubwordUnits) -> None:
    """The token " hap" is a unit; with "p" and "y" after it, the word is one unit, which it begins."""
    case = Case(tokens, units)
    hap, happ, happy = case.unit("hap", 0), case.unit("happiness", 0), case.unit("happy", 0)
    assert [units.texts[place] for place in units("happiness")] == [" happ", "i", "ness"]
    assert (len(units("happy")), len({hap, happ, happy})) == (1, 3)
    token, had = case.first("happy"), case.first("had")
    log_probs_BMW = case.posteriors({token: 0.8, 0: 0.2}, {token: 0.5, had: 0.5})
    spellings = [[case.spelling("happy", 0.6), case.spelling("happiness", 0.2)]]
    runs = Runs(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    found = case.respelling(log_probs_BMW, torch.tensor([2]), runs, spellings)
    assert found.states_BP.tolist() == [[0, 0, 0, 1]]
    first, second, third, other = found.log_probs_BPC[0].exp()
    assert [float(first[place]) for place in (0, happy, happ, hap)] == pytest.approx([0.2, 0.6, 0.2, 0.0])
    assert [float(second[place]) for place in (0, case.unit("happiness", 1))] == pytest.approx([0.75, 0.25])
    assert [float(third[place]) for place in (0, case.unit("happiness", 2))] == pytest.approx([0.75, 0.25])
    assert [float(other[place]) for place in (happy, hap)] == pytest.approx([0.0, 0.5])  # not a state of the word


def test_no_words_leave_the_states(tokens: WhisperTokens, units: SubwordUnits) -> None:
    case = Case(tokens, units)
    none = torch.empty(0, dtype=torch.long)
    found = case.respelling(case.posteriors({0: 1.0}, {0: 1.0}), torch.tensor([2]), Runs(none, none, none), [])
    assert (found.lens_B.tolist(), found.states_BP.tolist()) == ([2], [[0, 1]])
    assert found.log_probs_BPC.argmax(-1).tolist() == [[0, 0]]
