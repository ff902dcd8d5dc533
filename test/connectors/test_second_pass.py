"""The second pass is Whisper's own decoder, after the text of the first pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_byte_level import merged
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizerFast

from speechllm.base_models import load_whisper
from speechllm.connectors._second_pass import SecondPass
from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._word_head import WordHead
from speechllm.connectors._words import Runs

SEGMENT = 12  # states
PIECES = ("Ġsh", "ĠSh", "Ġh", "Ġa", "ĠA", "Ġd", "Ġo", "Ġr", "Ġ1", "Ġ(", "ay", "Ay", "es", "ES", "st")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    vocabulary, merges = merged(*PIECES)
    for special in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"):
        vocabulary[special] = len(vocabulary)
    return WhisperTokenizerFast(vocab=vocabulary, merges=merges)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, tiny_whisper: Path, tokenizer: Any) -> Path:
    """Return the directory of a Whisper with random weights and with logits of some size."""
    torch.manual_seed(0)
    config = WhisperConfig.from_pretrained(tiny_whisper, vocab_size=len(tokenizer), init_std=0.3)
    path = tmp_path_factory.mktemp("whisper")
    WhisperForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def whisper(path: Path) -> Any:
    return WhisperForConditionalGeneration.from_pretrained(path).eval()


@pytest.fixture(scope="module")
def tokens(tokenizer: Any) -> WhisperTokens:
    return WhisperTokens(tokenizer)


def made(path: Path, tokenizer: Any, tokens: WhisperTokens, weight: float = 1.0) -> SecondPass:
    decoder = load_whisper("decoder", str(path), torch.float32, option="encoder.path")
    embeddings_VH = decoder.embed_tokens.weight.detach()
    head = WordHead(tokens.begins, embeddings_VH[tokens.ids], embeddings_VH[tokenizer.eos_token_id])
    return SecondPass(decoder, tokenizer.prefix_tokens, tokenizer.eos_token_id, tokens, head, SEGMENT, weight)


@torch.no_grad()
def own_probs(whisper: Any, ids: list[int], states_LD: Tensor, tokens: WhisperTokens) -> Tensor:
    """Return Whisper's probabilities of the next token without case (T)."""
    logits_V = whisper(decoder_input_ids=torch.tensor([ids]), encoder_outputs=(states_LD[None],)).logits[0, -1]
    return torch.stack([logits_V.softmax(0)[forms].sum() for forms in tokens.forms])


def test_scores_are_those_of_whispers_decoder(path: Path, whisper: Any, tokenizer: Any, tokens: WhisperTokens) -> None:
    """Words of two utterances, one of them with two segments; the text of a segment does not have those before it."""
    second = made(path, tokenizer, tokens)
    begins_T, spoken_T = torch.tensor(tokens.begins), torch.tensor(tokens.spoken)
    assert sum(tokens.begins) > 8 and not all(spoken_T[begins_T]) and not all(spoken_T[~begins_T])
    states_BLD, lens_B = torch.randn(2, SEGMENT + 5, 64), torch.tensor([SEGMENT + 5, 9])
    words = [tuple(tokens.words(word)[0]) for word in ("she", "had", "a", "day", "of", "rest")]
    utts_N, states_N = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 4, SEGMENT, SEGMENT + 4, 2, 6])
    speech = [states_BLD[0, :SEGMENT]] * 2 + [states_BLD[0, SEGMENT:]] * 2 + [states_BLD[1, :9]] * 2
    before = [[], words[:1], [], words[2:3], [], words[4:5]]
    texts = second.score_texts(states_BLD, lens_B, utts_N, states_N, words)
    written = [tokenizer.prefix_tokens + [tokens.forms[one][0] for word in some for one in word] for some in before]
    for ids, states_LD, found_W in zip(written, speech, texts.log_probs_NW.exp(), strict=True):
        expected_T = own_probs(whisper, ids, states_LD, tokens)
        torch.testing.assert_close(found_W, expected_T[begins_T], atol=1e-6, rtol=0)
    rows = [5, 1, 3, 3]  # in any order, a word more than once
    spellings = [tokens.words(word)[0] for word in ("rest", "had", "day", "dog")]
    written = [written[place] for place in rows]
    spelled = second.start(texts, torch.tensor(rows))
    first_RF = torch.randn(len(rows), 1 + tokens.begins.count(False)).log_softmax(1)
    inside_F = torch.tensor([False, *(spoken_T[~begins_T])])
    for step in range(2):
        found_RF = second.score_further(texts, spelled, torch.tensor([one[step] for one in spellings]), step, first_RF)
        written = [[*ids, tokens.forms[one[step]][0]] for ids, one in zip(written, spellings, strict=True)]
        for ids, place, found_F in zip(written, rows, found_RF.exp(), strict=True):
            expected_T = own_probs(whisper, ids, speech[place], tokens)[~begins_T & spoken_T]
            torch.testing.assert_close(found_F[inside_F], expected_T, atol=1e-6, rtol=0)
            assert float(found_F[~inside_F].sum()) == pytest.approx(1 - float(expected_T.sum()), abs=1e-5)


def test_texts_have_the_log_probabilities_of_whispers_decoder(
    path: Path, whisper: Any, tokenizer: Any, tokens: WhisperTokens
) -> None:
    """All but those of numbers and punctuation; capital and lower-case forms are one token."""
    second = made(path, tokenizer, tokens)
    states_LD = torch.randn(SEGMENT, 64)
    texts = [tuple(token for word in tokens.words(text) for token in word) for text in ("she had 1 day", "a rest,", "")]
    unspoken = [sum(not tokens.spoken[token] for token in one) for one in texts]
    assert unspoken == [1, 1, 0]
    for text, found in zip(texts, second.log_probs(states_LD, texts).tolist(), strict=True):
        ids, expected = list(tokenizer.prefix_tokens), 0.0
        for token in text:
            if tokens.spoken[token]:
                expected += float(own_probs(whisper, ids, states_LD, tokens)[token].log())
            ids.append(tokens.forms[token][0])
        logits_V = whisper(decoder_input_ids=torch.tensor([ids]), encoder_outputs=(states_LD[None],)).logits[0, -1]
        end = float(logits_V.log_softmax(0)[tokenizer.eos_token_id].detach())
        assert found == pytest.approx(expected + end, abs=1e-4)


def test_the_first_pass_selects_punctuation(path: Path, tokenizer: Any, tokens: WhisperTokens) -> None:
    second = made(path, tokenizer, tokens, weight=0.5)
    texts = second.score_texts(torch.randn(1, 8, 64), torch.tensor([8]), torch.tensor([0]), torch.tensor([0]), [(3,)])
    further = [token for token, begins in enumerate(tokens.begins) if not begins]
    comma = 1 + further.index(tokens.words(",")[0][1])
    first_RF = torch.zeros(1, 1 + len(further))
    first_RF[0, comma] = 4.0
    spelled = second.start(texts, torch.tensor([0]))
    found_RF = second.score_further(texts, spelled, torch.tensor(tokens.words("a")[0]), 0, first_RF.log_softmax(1))
    assert float(found_RF[0, comma] - found_RF[0, 0]) == pytest.approx(4.0, abs=1e-4)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_first_tokens_of_words_are_interpolated(
    weight: float, path: Path, tokenizer: Any, tokens: WhisperTokens
) -> None:
    """Blanks, numbers and punctuation, and states without a word, keep their probabilities."""
    second = made(path, tokenizer, tokens, weight)
    log_probs_BMW = torch.randn(2, 5, 1 + sum(tokens.begins)).log_softmax(-1)
    runs = Runs(torch.tensor([0, 0, 1]), torch.tensor([0, 3, 1]), torch.tensor([1, 3, 2]))
    words = [tuple(tokens.words(word)[0]) for word in ("she", "had", "rest")]
    texts = second.score_texts(torch.randn(2, 10, 64), torch.tensor([10, 8]), runs.utts_N, runs.firsts_N * 2, words)
    found_BMW = second.rescore(log_probs_BMW, runs, texts)
    torch.testing.assert_close(found_BMW.exp().sum(-1), torch.ones(2, 5))
    spoken_W = torch.tensor([False] + [tokens.spoken[token] for token, one in enumerate(tokens.begins) if one])
    assert 2 < int(spoken_W.sum()) < len(spoken_W) - 2
    torch.testing.assert_close(found_BMW[..., ~spoken_W], log_probs_BMW[..., ~spoken_W])
    states = {(0, 0): 0, (0, 1): 0, (0, 3): 1, (1, 1): 2, (1, 2): 2}
    for utt in range(2):
        for state in range(5):
            first_W, found_W = log_probs_BMW[utt, state, spoken_W], found_BMW[utt, state, spoken_W]
            word = states.get((utt, state))
            if word is not None:
                first_W = (1 - weight) * first_W + weight * texts.log_probs_NW[word, spoken_W[1:]]
            torch.testing.assert_close(found_W.softmax(0), first_W.softmax(0), atol=1e-6, rtol=0)


def test_more_words_than_whisper_has_positions(path: Path, tokenizer: Any, tokens: WhisperTokens) -> None:
    """Noise can have a word in every state."""
    second = made(path, tokenizer, tokens)
    number = len(second.positions_KH)
    nowhere_N = torch.zeros(number, dtype=torch.long)
    texts = second.score_texts(torch.randn(1, 8, 64), torch.tensor([8]), nowhere_N, nowhere_N, [(1, 2)] * number)
    assert texts.log_probs_NW.isfinite().all()
    spelled = second.start(texts, torch.arange(number))
    first_RF = torch.zeros(number, 1 + tokens.begins.count(False)).log_softmax(1)
    assert second.score_further(texts, spelled, torch.ones(number, dtype=torch.long), 0, first_RF).isfinite().all()
