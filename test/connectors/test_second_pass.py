"""The second pass is Whisper's own decoder, after the text of the first pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperTokenizerFast

from speechllm.base_models import load_whisper
from speechllm.connectors._second_pass import SecondPass
from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._word_head import WordHead
from speechllm.connectors._words import Runs

SEGMENT = 12


@pytest.fixture(scope="module")
def whisper(tiny_whisper: Path) -> Any:
    return WhisperForConditionalGeneration.from_pretrained(tiny_whisper).eval()


@pytest.fixture(scope="module")
def tokenizer(tiny_whisper: Path) -> Any:
    return WhisperTokenizerFast.from_pretrained(tiny_whisper)


@pytest.fixture(scope="module")
def tokens(tokenizer: Any) -> WhisperTokens:
    return WhisperTokens(tokenizer)


def made(path: Path, tokenizer: Any, tokens: WhisperTokens, weight: float = 1.0) -> SecondPass:
    decoder = load_whisper("decoder", str(path), torch.float32, option="encoder.path")
    embeddings_VH = decoder.embed_tokens.weight.detach()
    head = WordHead(tokens.begins, embeddings_VH[tokens.ids], embeddings_VH[tokenizer.eos_token_id])
    return SecondPass(decoder, tokenizer.prefix_tokens, tokens, head, SEGMENT, weight)


def own_logits(whisper: Any, ids: list[int], states_LD: Tensor) -> Tensor:
    """Return the logits of Whisper after the last of some tokens."""
    return whisper(decoder_input_ids=torch.tensor([ids]), encoder_outputs=(states_LD[None],)).logits[0, -1]


def first_probs(logits_V: Tensor, tokens: WhisperTokens) -> Tensor:
    """Return the probabilities of the tokens that begin a word, summed over their forms with capitals."""
    probs_V = logits_V.softmax(0)
    probs = [probs_V[ids].sum() for ids, begins in zip(tokens.forms, tokens.begins, strict=True) if begins]
    return torch.stack(probs) / torch.stack(probs).sum()


def test_scores_are_those_of_whispers_decoder(
    tiny_whisper: Path, whisper: Any, tokenizer: Any, tokens: WhisperTokens
) -> None:
    """Words of two utterances, one of them with two segments; the text of a segment does not have those before it."""
    second = made(tiny_whisper, tokenizer, tokens)
    states_BLD = torch.randn(2, SEGMENT + 5, 64)
    lens_B = torch.tensor([SEGMENT + 5, 9])
    words = [tuple(tokens.words(word)[0]) for word in ("she", "had", "a", "day", "of", "rest")]
    utts_N, states_N = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 4, SEGMENT, SEGMENT + 4, 2, 6])
    speech = [states_BLD[0, :SEGMENT]] * 2 + [states_BLD[0, SEGMENT:]] * 2 + [states_BLD[1, :9]] * 2
    before = [[], words[:1], [], words[2:3], [], words[4:5]]
    texts = second.read(states_BLD, lens_B, utts_N, states_N, words)
    ids = [tokenizer.prefix_tokens + [tokens.ids[one] for word in some for one in word] for some in before]
    for place in range(len(words)):
        expected_W = first_probs(own_logits(whisper, ids[place], speech[place]), tokens)
        torch.testing.assert_close(texts.log_probs_NW[place].exp(), expected_W, atol=1e-6, rtol=0)
    rows = [5, 1, 3, 3]  # in any order, a word more than once
    spellings = [tokens.words(word)[0] for word in ("rest", "had", "day", "dog")]
    spelled = second.begin(texts, torch.tensor(rows))
    further = [token for token, begins in enumerate(tokens.begins) if not begins]
    first_RF = torch.zeros(len(rows), 1 + len(further)).log_softmax(1)
    written = [ids[place] for place in rows]
    for step in range(3):
        tokens_R = torch.tensor([one[step] for one in spellings])
        found_RF = second.next(texts, spelled, tokens_R, step, first_RF)
        written = [[*some, tokens.ids[one]] for some, one in zip(written, tokens_R.tolist(), strict=True)]
        for row, place in enumerate(rows):
            logits_V = own_logits(whisper, written[row], speech[place])
            letters = [token for token in further if not tokens.punctuation[token]]
            inside = logits_V[[tokens.ids[token] for token in letters]]
            places = [1 + further.index(token) for token in letters]
            torch.testing.assert_close(found_RF[row, places].softmax(0), inside.softmax(0), atol=1e-6, rtol=0)
            capitals = [one for token in letters for one in tokens.forms[token]]
            is_end = torch.ones(len(logits_V), dtype=torch.bool)
            is_end[capitals] = False
            ends_F = [0] + [1 + further.index(token) for token in further if tokens.punctuation[token]]
            odds = logits_V[is_end].logsumexp(0) - inside.logsumexp(0)
            found = found_RF[row, ends_F].logsumexp(0) - found_RF[row, places].logsumexp(0)
            torch.testing.assert_close(found, odds, atol=1e-5, rtol=0)


def test_the_first_pass_selects_punctuation(tiny_whisper: Path, tokenizer: Any, tokens: WhisperTokens) -> None:
    second = made(tiny_whisper, tokenizer, tokens, weight=0.5)
    texts = second.read(torch.randn(1, 8, 64), torch.tensor([8]), torch.tensor([0]), torch.tensor([0]), [(3,)])
    further = [token for token, begins in enumerate(tokens.begins) if not begins]
    comma = 1 + further.index(tokens.words(",")[0][1])
    assert tokens.punctuation[further[comma - 1]]
    first_RF = torch.zeros(1, 1 + len(further))
    first_RF[0, comma] = 4.0
    first_RF = first_RF.log_softmax(1)
    spelled = second.begin(texts, torch.tensor([0]))
    found_RF = second.next(texts, spelled, torch.tensor([tokens.words("a")[0][0]]), 0, first_RF)
    assert float(found_RF[0, comma] - found_RF[0, 0]) == pytest.approx(4.0, abs=1e-4)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_first_tokens_are_interpolated_and_blanks_stay(
    weight: float, tiny_whisper: Path, tokenizer: Any, tokens: WhisperTokens
) -> None:
    second = made(tiny_whisper, tokenizer, tokens, weight)
    log_probs_BMW = torch.randn(2, 5, 1 + sum(tokens.begins)).log_softmax(-1)
    runs = Runs(torch.tensor([0, 0, 1]), torch.tensor([0, 3, 1]), torch.tensor([1, 3, 2]))
    words = [tuple(tokens.words(word)[0]) for word in ("she", "had", "rest")]
    texts = second.read(torch.randn(2, 10, 64), torch.tensor([10, 8]), runs.utts_N, runs.firsts_N * 2, words)
    found_BMW = second.rescore(log_probs_BMW, runs, texts)
    torch.testing.assert_close(found_BMW.exp().sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(found_BMW[..., 0], log_probs_BMW[..., 0])
    states = {(0, 0): 0, (0, 1): 0, (0, 3): 1, (1, 1): 2, (1, 2): 2}
    for utt in range(2):
        for state in range(5):
            first_W, found_W = log_probs_BMW[utt, state, 1:], found_BMW[utt, state, 1:]
            word = states.get((utt, state))
            if word is not None:
                first_W = (1 - weight) * first_W + weight * texts.log_probs_NW[word]
            torch.testing.assert_close(found_W.softmax(0), first_W.softmax(0), atol=1e-6, rtol=0)


def test_more_words_than_whisper_has_positions(tiny_whisper: Path, tokenizer: Any, tokens: WhisperTokens) -> None:
    """Noise can have a word in every state."""
    second = made(tiny_whisper, tokenizer, tokens)
    number = len(second.positions_KH)
    states_N = torch.arange(number).div(number, rounding_mode="floor")
    texts = second.read(
        torch.randn(1, 8, 64), torch.tensor([8]), torch.zeros_like(states_N), states_N, [(1, 2)] * number
    )
    assert texts.log_probs_NW.isfinite().all()
    spelled = second.begin(texts, torch.arange(number))
    first_RF = torch.zeros(number, 1 + tokens.begins.count(False)).log_softmax(1)
    assert second.next(texts, spelled, torch.ones(number, dtype=torch.long), 0, first_RF).isfinite().all()
