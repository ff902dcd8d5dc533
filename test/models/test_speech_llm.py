"""The whole model: splicing, targets of the loss, and independence of the batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from speechllm.build import Built
from speechllm.connectors import ctc, fc
from speechllm.data.batch import Batch
from speechllm.data.dataset import Example
from speechllm.decoders import causal_lm
from speechllm.encoders import whisper
from speechllm.errors import ConfigError
from speechllm.frontends import log_mel
from speechllm.inference.config import DecodeConfig
from speechllm.inference.recognize import recognizer
from speechllm.interfaces import ConnectorOutput, GenerationOptions, Hypothesis, TimedWord
from speechllm.models.prompt import PromptConfig
from speechllm.models.speech_llm import Objective, SpeechLLM, Targets


@pytest.fixture(scope="module")
def model(tiny_llm: Path) -> SpeechLLM:
    torch.manual_seed(0)
    connector = fc.Config(stack=4, hidden=32).build(input_dim=16, output_dim=48, segment_states=1500)
    decoder = causal_lm.Config(path=str(tiny_llm)).build()
    return SpeechLLM(None, connector, decoder, PromptConfig(template="vicuna")).eval()


def batch_of(texts: list[str], lengths: list[int]) -> Batch:
    torch.manual_seed(1)
    states = torch.randn(len(texts), max(lengths), 16)
    ids = [f"utt{i}" for i in range(len(texts))]
    return Batch(ids, states, torch.tensor(lengths), texts, [length / 50 for length in lengths], encoded=True)


def one_of(batch: Batch, i: int) -> Batch:
    length = int(batch.feat_lens_B[i])
    inputs = batch.inputs[i : i + 1, :length]
    return Batch([batch.utt_ids[i]], inputs, batch.feat_lens_B[i : i + 1], [batch.texts[i]], [batch.durations[i]], True)


def test_loss_is_that_of_the_transcript_and_its_end_alone(model: SpeechLLM) -> None:
    batch = batch_of(["the quick brown fox"], [30])
    target = model.decoder.tokenize("the quick brown fox", end=True)
    before, after = model.prompt.parts("utt0", 0)
    speech_SE = model.connector(batch.inputs, batch.feat_lens_B)[0][0]
    embed = model.decoder.embed
    sequence = torch.cat(
        [embed(torch.tensor(before)), speech_SE, embed(torch.tensor(after)), embed(torch.tensor(target))]
    )
    logits_UV = model.decoder.model(inputs_embeds=sequence[None]).logits[0]
    expected = cross_entropy(logits_UV[-len(target) - 1 : -1], torch.tensor(target))
    output = model(batch)
    torch.testing.assert_close(output.loss, expected, atol=1e-5, rtol=0)
    assert int(output.num_tokens) == len(target)
    assert target[-1] == model.decoder.tokenizer.eos_token_id  # pad is the same token, and yet the end is learned


def test_loss_of_a_batch_is_the_mean_over_its_tokens(model: SpeechLLM) -> None:
    batch = batch_of(["the quick brown fox", "she", "all year all year"], [30, 7, 22])
    together = model(batch)
    alone = [model(one_of(batch, i)) for i in range(3)]
    expected = sum(o.loss.item() * int(o.num_tokens) for o in alone) / sum(int(o.num_tokens) for o in alone)
    assert together.loss.item() == pytest.approx(expected, abs=1e-5)
    assert int(together.num_correct) == sum(int(o.num_correct) for o in alone)


def test_by_ctc_an_utterance_without_words_counts_as_one_token(model: SpeechLLM) -> None:
    model.add_ctc_head(["she had"])
    both, one, none = (
        model(batch, "ctc")
        for batch in (batch_of(["", "she had"], [30, 30]), batch_of(["she had"], [30]), batch_of([""], [30]))
    )
    assert int(both.num_tokens) == 1 + len(model.decoder.tokenize("she had")) == 1 + int(one.num_tokens)
    assert int(none.num_tokens) == 1 and none.loss.isfinite() and none.loss > 0


def test_batch_equals_single_hypothesis(model: SpeechLLM) -> None:
    batch = batch_of(["", "", ""], [40, 9, 23])
    options = GenerationOptions(num_beams=2)
    together = model.generate(batch, [8, 5, 7], options)
    for i, limit in enumerate([8, 5, 7]):
        assert model.generate(one_of(batch, i), [limit], options)[0][0].text == together[i][0].text


def test_on_a_cpu_utterances_of_similar_lengths_are_encoded_together(tiny_whisper: Path, tiny_llm: Path) -> None:
    encoder = whisper.Config(path=str(tiny_whisper), padding="none").build()
    connector = fc.Config(stack=4, hidden=32).build(input_dim=64, output_dim=48, segment_states=1500)
    decoder = causal_lm.Config(path=str(tiny_llm)).build()
    model = SpeechLLM(encoder, connector, decoder, PromptConfig(template="vicuna")).eval()
    lengths = [100, 400, 30, 380]
    feats_BTF = torch.randn(4, 400, 80)
    batch = Batch(list("abcd"), feats_BTF, torch.tensor(lengths), [""] * 4, [1.0] * 4, encoded=False)
    sizes: list[tuple[int, ...]] = []
    encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[:2])))
    with torch.no_grad():
        padded = model.connect(batch)
        output = model.connector(*model._states(batch, by_length=True))
        model.generate(batch, [2] * 4, GenerationOptions())
    assert sizes == [(4, 400), *2 * [(2, 400), (1, 100), (1, 30)]]
    assert torch.equal(output.speech_lens_B, padded.speech_lens_B)
    for one_SE, other_SE, length in zip(output.embeds_BSE, padded.embeds_BSE, output.speech_lens_B, strict=True):
        torch.testing.assert_close(one_SE[:length], other_SE[:length], atol=1e-5, rtol=0)


def test_only_the_connector_learns(model: SpeechLLM) -> None:
    model.zero_grad()
    model(batch_of(["the lazy dog", "she had"], [30, 12])).loss.backward()
    assert all(name.startswith("connector.") for name, p in model.named_parameters() if p.requires_grad)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("connector."), name


def test_the_wrong_speech_changes_the_loss(model: SpeechLLM) -> None:
    batch = batch_of(["the lazy dog", "she had"], [30, 12])
    wrong = batch.shuffled()
    assert wrong.feat_lens_B.tolist() == [12, 30]
    assert wrong.texts == batch.texts
    assert model(wrong).loss.item() != pytest.approx(model(batch).loss.item(), abs=1e-6)


def test_an_empty_transcript_is_its_end(model: SpeechLLM) -> None:
    output = model(batch_of(["", "she had"], [10, 12]))
    assert output.loss.isfinite()


@pytest.fixture(scope="module")
def ctc_model(tiny_llm: Path) -> SpeechLLM:
    torch.manual_seed(0)
    config = ctc.Config(stack=2, hidden=64, num_layers=1, bpe_merges=10, dropout=0.0, mask=0.0)
    decoder = causal_lm.Config(path=str(tiny_llm)).build()
    return SpeechLLM(None, config.build(16, 48, 1500), decoder, PromptConfig(template="vicuna")).eval()


def test_the_loss_of_a_ctc_head_is_added_in_training_alone(ctc_model: SpeechLLM) -> None:
    batch = batch_of(["she had all year", "a"], [60, 20])
    apart = ctc_model(batch).loss
    own = ctc_model(batch, "ctc").loss
    connector = ctc_model.connector
    together = ctc_model.train()(batch)
    ctc_model.eval()
    torch.testing.assert_close(together.loss, apart + connector.ctc_weight * own, atol=1e-5, rtol=0)
    together.loss.backward()
    assert all(p.grad is not None for p in connector.parameters())


@pytest.mark.parametrize("num_beams", [1, 2])
def test_joint_decoding_of_a_batch_is_that_of_each(ctc_model: SpeechLLM, num_beams: int) -> None:
    batch = batch_of(["", "", ""], [40, 9, 23])
    options = GenerationOptions(num_beams=num_beams, ctc_weight=0.5)
    together = ctc_model.generate(batch, [8, 5, 7], options)
    for i, limit in enumerate([8, 5, 7]):
        assert ctc_model.generate(one_of(batch, i), [limit], options)[0][0].text == together[i][0].text


def test_an_utterance_of_low_confidence_has_an_empty_hypothesis(
    ctc_model: SpeechLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The confidence of the second of three utterances alone is high; it is decoded as if it were alone."""
    classes = 1 + len(ctc_model.connector.subwords.ids)
    log_probs_BMC = torch.full((3, 20, classes), 0.5 / (classes - 1)).log()
    log_probs_BMC[:, :, 0] = torch.tensor(0.5).log()  # blanks everywhere
    log_probs_BMC[0, 3:5, 2] = torch.tensor(0.6).log()
    log_probs_BMC[1, 3:5, 2] = torch.tensor(0.9).log()
    log_probs_BMC[1, 19, 2] = torch.tensor(0.6).log()  # beyond its end
    batch = batch_of(["", "", ""], [40, 9, 23])
    as_it_is = ctc_model.generate(batch, [8, 5, 7], GenerationOptions(num_beams=2, nbest=2))
    own = ctc_model.connector.forward

    def connect(states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        output = own(states_BLD, state_lens_B)
        return output._replace(posteriors=output.posteriors._replace(log_probs_BMC=log_probs_BMC))

    monkeypatch.setattr(ctc_model.connector, "forward", connect)
    options = GenerationOptions(num_beams=2, nbest=2, ctc_confidence=0.7)
    found = ctc_model.generate(batch, [8, 5, 7], options)
    assert [[one.text for one in nbest] for nbest in (found[0], found[2])] == [["", ""], ["", ""]]
    assert [one.text for one in found[1]] == [one.text for one in as_it_is[1]] and found[1][0].num_tokens > 0
    sure_of_none = GenerationOptions(ctc_confidence=1.0)
    assert [nbest[0].text for nbest in ctc_model.generate(batch, [8, 5, 7], sure_of_none)] == ["", "", ""]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_hypotheses_of_all_beams_are_rescored(
    ctc_model: SpeechLLM, monkeypatch: pytest.MonkeyPatch, penalty: float
) -> None:
    batch = batch_of(["", "", ""], [40, 9, 23])
    limits = [8, 5, 7]
    options = GenerationOptions(num_beams=3, nbest=3, length_penalty=penalty)
    nbests = ctc_model.generate(batch, limits, options)
    others = {
        nbest[place].text: (50.0 + 20.0 * place) * nbest[place].num_tokens ** penalty
        for nbest in nbests
        for place in range(3)
    }

    def other(states_BLD: Tensor, state_lens_B: Tensor, texts: list[list[str]]) -> list[list[float] | None]:
        assert len(states_BLD) == len(state_lens_B) == len(texts) == 3
        return [[others[text] for text in some] for some in texts[:2]] + [None]

    monkeypatch.setattr(ctc_model.connector, "log_probs", other)
    found = ctc_model.generate(batch, limits, replace(options, nbest=2, rescoring_weight=0.9))
    assert [(one.text, one.score) for one in found[2]] == [(one.text, one.score) for one in nbests[2][:2]]
    for nbest, rescored in zip(nbests[:2], found[:2], strict=True):
        assert [one.text for one in rescored] == [nbest[2].text, nbest[1].text]
        assert rescored[0].score == pytest.approx(0.1 * nbest[2].score + 0.9 * 90.0)
    greedy = [ctc_model.generate(batch, limits, GenerationOptions(rescoring_weight=one)) for one in (0.9, 0.0)]
    assert greedy[0] == greedy[1]


def test_hot_words_of_a_large_distance_are_not_in_the_prompt(ctc_model: SpeechLLM) -> None:
    prompt = PromptConfig(template="vicuna", context="Words: {context}\n")
    model = SpeechLLM(None, ctc_model.connector, ctc_model.decoder, prompt).eval()
    batch = batch_of(["", "", ""], [40, 9, 23])
    with_words = replace(batch, contexts=["she, quick", "", "year"])

    def scores(batch: Batch, distance: float | None) -> list[float]:
        options = GenerationOptions(hot_word_distance=distance)
        return [nbest[0].score for nbest in model.generate(batch, [8, 5, 7], options)]

    everything, nothing = scores(with_words, None), scores(batch, None)
    assert [abs(one - other) > 1e-3 for one, other in zip(everything, nothing, strict=True)] == [True, False, True]
    assert scores(with_words, 1e6) == pytest.approx(everything, abs=1e-5)
    assert scores(with_words, 0.0) == pytest.approx(nothing, abs=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("ctc_weight", 0.3, 0), ("ctc_confidence", 0.3, 0), ("hot_word_distance", 0.0, "null")],
)
def test_a_search_with_ctc_needs_a_ctc_head(model: SpeechLLM, key: str, value: float, expected: object) -> None:
    config = DecodeConfig(search=GenerationOptions(**{key: value}))
    message = f"decode.search.{key}: found {value}, but the connector has no CTC head; expected {expected}, or"
    with pytest.raises(ConfigError, match=message):
        recognizer(built_of(model), config, torch.device("cpu"))


def test_rescoring_needs_a_second_pass(ctc_model: SpeechLLM) -> None:
    config = DecodeConfig(search=GenerationOptions(num_beams=2, rescoring_weight=0.5))
    with pytest.raises(
        ConfigError, match="rescoring_weight: found 0.5, but the connector has no second pass; expected 0"
    ):
        recognizer(built_of(ctc_model), config, torch.device("cpu"))
    greedy = DecodeConfig(search=GenerationOptions(rescoring_weight=0.5))
    assert callable(recognizer(built_of(ctc_model), greedy, torch.device("cpu")))


def built_of(model: SpeechLLM) -> Built:
    dump_fingerprint = {"dump": "encoder"}
    return Built(
        model=model, frontend=log_mel.Config().build(), dump_fingerprint=dump_fingerprint, bases={}, state_rate=50.0
    )


def test_word_times_need_a_ctc_head(model: SpeechLLM) -> None:
    with pytest.raises(ConfigError, match="decode.word_times: found true, .* the connector has none; expected false"):
        recognizer(built_of(model), DecodeConfig(word_times=True), torch.device("cpu"))


def test_levels_of_features_move_the_ends_of_words(ctc_model: SpeechLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of speech and one of silence; dumped states have no levels, and keep the ends of the CTC path."""
    feats_TF = np.full((300, 80), -6, np.float32)
    feats_TF[:200] = -2
    words = (TimedWord(word="one", start=0.08, end=0.16), TimedWord(word="two", start=1.04, end=1.12))
    hypothesis = Hypothesis(text="one two", score=0.0, num_tokens=2, truncated=False, words=words)
    monkeypatch.setattr(ctc_model, "generate", lambda *_: [[hypothesis, hypothesis]])
    example = Example("a", feats_TF, "", 3.0)
    for dump, ends in (("features", [1.04, 2.0]), ("encoder", [0.16, 1.12])):
        built = replace(built_of(ctc_model), dump_fingerprint={"dump": dump})
        ((best, second),) = recognizer(built, DecodeConfig(word_times=True), torch.device("cpu"))([example])
        assert [word.end for word in best.words] == ends
        assert second == hypothesis


def test_batches_change_no_word_time(ctc_model: SpeechLLM) -> None:
    ctc_model.eval()
    batch, caps, options = batch_of(["", "", ""], [400, 70, 222]), [8, 5, 7], GenerationOptions(num_beams=2, nbest=2)
    together = ctc_model.generate(batch, caps, options, 50.0)
    plain = ctc_model.generate(batch, caps, options)
    for i, nbest in enumerate(together):
        (alone,) = ctc_model.generate(one_of(batch, i), [caps[i]], options, 50.0)
        assert nbest[0].words == alone[0].words != ()
        assert " ".join(word.word for word in nbest[0].words) == nbest[0].text == plain[i][0].text
        assert plain[i][0].words == nbest[1].words == ()
    times = [time for word in together[0][0].words for time in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= 8.0, "they follow each other within 400 states"


@pytest.mark.parametrize("objective", ["llm", "ctc", "llm and ctc", "embedding ctc"])
def test_batches_divided_by_the_mean_of_their_targets_average_to_one_batch(
    model: SpeechLLM, ctc_model: SpeechLLM, objective: str
) -> None:
    """The gradient of an utterance of 1 word and one of 30, in one batch and in two."""
    trained = (model if objective in ("llm", "embedding ctc") else ctc_model).train()
    if objective == "embedding ctc":
        trained.add_ctc_head(["she had all year"])
    of_step: Objective = "ctc" if objective in ("ctc", "embedding ctc") else "llm"
    whole = batch_of(["she", " ".join(["she had all year"] * 7)], [20, 900])
    parts = [one_of(whole, i) for i in range(2)]
    counts = [trained.count_targets(part.texts, of_step) for part in parts]
    mean = Targets(*(sum(column) / 2 for column in zip(*counts, strict=True)))

    def gradient(batches: list[Batch], per: Targets | None) -> Tensor:
        trained.zero_grad()
        for batch in batches:
            (trained(batch, of_step, per).loss / len(batches)).backward()
        return torch.cat([p.grad.flatten() for p in trained.parameters() if p.grad is not None])

    expected = gradient([whole], None)
    torch.testing.assert_close(gradient(parts, mean), expected, atol=1e-5, rtol=1e-4)
    assert (gradient(parts, None) - expected).norm() > 0.05 * expected.norm()
    trained.eval()
