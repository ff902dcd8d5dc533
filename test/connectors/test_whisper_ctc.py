"""The connector of Whisper's decoder: its start, its adapters, and encoders that have no decoder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperTokenizerFast

from speechllm import config as configs
from speechllm.build import Built, build
from speechllm.connectors import whisper_ctc
from speechllm.connectors._words import best_runs
from speechllm.connectors.whisper_ctc import Config, WhisperCTC
from speechllm.data.batch import Batch
from speechllm.decoders import causal_lm
from speechllm.encoders import whisper
from speechllm.errors import ConfigError
from speechllm.experiment import ExperimentConfig
from speechllm.interfaces import Encoder, GenerationOptions
from speechllm.lengths import length_mask
from speechllm.lora import LoraOptions
from speechllm.models.speech_llm import Work
from speechllm.models.weights import load_weights, save_weights
from speechllm.train.flops import FlopCounter

LORA = LoraOptions(rank=4, modules=("q_proj", "fc1"))
TEXTS = ["she had", "all year"]


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> causal_lm.CausalLM:
    return causal_lm.Config(path=str(tiny_llm)).build()


def made(path: Path, decoder: causal_lm.CausalLM, second_pass: float = 0.7) -> WhisperCTC:
    torch.manual_seed(0)
    config = Config(stack=2, lora=LORA, dropout=0.0, mask=0.0, second_pass_weight=second_pass)
    connector = config.build(64, decoder.embedding_dim, 24)
    connector.bind_encoder(whisper.Config(path=str(path), padding="none").build())
    connector.bind(decoder)
    return connector.eval()


def scores(connector: WhisperCTC, states_BLD: Tensor) -> Tensor:
    lens_B = torch.full((len(states_BLD),), states_BLD.shape[1])
    return connector(states_BLD, lens_B).posteriors.log_probs_BMC


def test_positions_are_those_of_whispers_decoder(tiny_whisper: Path, decoder: causal_lm.CausalLM) -> None:
    """With one state and no window: the decoder's steps at the second token and after it, without the first token."""
    connector = made(tiny_whisper, decoder)
    model = WhisperForConditionalGeneration.from_pretrained(tiny_whisper).model.decoder.eval()
    tokenizer = WhisperTokenizerFast.from_pretrained(tiny_whisper)
    states_BLD = torch.randn(1, 1, 64)
    tokens = tokenizer(" sh", add_special_tokens=False).input_ids[:2]
    prompt = [tokenizer.prefix_tokens[-1], *tokens]
    hidden = model.embed_tokens.weight[prompt] + model.embed_positions.weight[1 : 1 + len(prompt)]
    for layer in model.layers:
        normed = layer.self_attn_layer_norm(hidden)[None]
        mask = torch.full((3, 3), -torch.inf).triu(1)[None, None]
        hidden = hidden + layer.self_attn(normed, attention_mask=mask)[0][0]
        # a key alone has the weight 1: attention is the projected value
        hidden = hidden + layer.encoder_attn.out_proj(layer.encoder_attn.v_proj(states_BLD[0]))
        hidden = hidden + layer.fc2(torch.nn.functional.gelu(layer.fc1(layer.final_layer_norm(hidden))))
    expected = model.layer_norm(hidden)
    scored = connector._score(states_BLD, torch.tensor([1]))
    torch.testing.assert_close(scored.hidden_BMH[0], expected[:1], atol=1e-5, rtol=0)
    words = connector._words(scored, torch.tensor([0]), torch.tensor([0]))
    logits_V = expected[1:] @ model.embed_tokens.weight[connector._tokens.ids].T
    begins_V = torch.tensor(connector._tokens.begins)
    for step, token in enumerate(tokens):
        log_probs = connector._next(scored, words, torch.tensor([connector._tokens.ids.index(token)]), step)[0]
        expected_F = logits_V[step, ~begins_V] - logits_V[step, begins_V].logsumexp(0)
        torch.testing.assert_close(log_probs[1:] - log_probs[0], expected_F)


def test_adapters_and_heads_learn_and_the_decoder_stays(tiny_whisper: Path, decoder: causal_lm.CausalLM) -> None:
    connector = made(tiny_whisper, decoder, second_pass=0.0).train()
    torch.nn.init.constant_(connector.head.log_scale_1, 3.0)  # embeddings of random models are small
    trained = {name: one for name, one in connector.named_parameters() if one.requires_grad}
    assert not any("base_layer" in name or "tokens_VH" in name for name in trained)
    frozen = {name: one.clone() for name, one in connector.named_parameters() if not one.requires_grad}
    states_BLD, lens_B = torch.randn(2, 40, 64), torch.tensor([40, 36])
    optimizer = torch.optim.Adam(trained.values(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = connector.ctc_loss(states_BLD, lens_B, TEXTS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    output, loss = connector.eval().with_ctc_loss(states_BLD, lens_B, TEXTS)
    torch.testing.assert_close(loss, connector.ctc_loss(states_BLD, lens_B, TEXTS))
    best = output.posteriors.log_probs_BMC.argmax(-1)
    for best_M, length, text in zip(best, output.posteriors.stacked_lens_B.tolist(), TEXTS, strict=True):
        found = [one - 1 for one in best_M[:length].unique_consecutive().tolist() if one > 0]
        assert found == connector.subwords(text)
    assert all(one.equal(frozen[name]) for name, one in connector.named_parameters() if name in frozen)


def test_an_utterance_has_the_same_positions_alone(tiny_whisper: Path, decoder: causal_lm.CausalLM) -> None:
    connector = made(tiny_whisper, decoder)
    connector.head.bias_C.data[0] = -10.0  # a random model would find no word
    for word in connector._tokens.words("she had"):
        connector.head.bias_C.data[[1 + token for token in word[1:]]] = 3.0  # and would not continue it
    states_BLD, lens_B = torch.randn(3, 41, 64), torch.tensor([41, 30, 7])
    together = connector(states_BLD, lens_B)
    posteriors = together.posteriors
    for utt, length in enumerate(lens_B.tolist()):
        alone = connector(states_BLD[utt : utt + 1, :length], lens_B[utt : utt + 1])
        number = int(alone.posteriors.stacked_lens_B)
        assert number == int(posteriors.stacked_lens_B[utt])
        assert alone.posteriors.states_BM[0].equal(posteriors.states_BM[utt, :number])
        assert alone.posteriors.states_BM.unique().tolist() == list(range(-(-length // 2)))
        found_MC, expected_1MC = posteriors.log_probs_BMC[utt, :number], alone.posteriors.log_probs_BMC
        torch.testing.assert_close(found_MC.exp(), expected_1MC[0].exp(), atol=1e-5, rtol=0)
        speech = int(alone.speech_lens_B)
        torch.testing.assert_close(together.embeds_BSE[utt, :speech], alone.embeds_BSE[0], atol=1e-4, rtol=0)
    assert posteriors.states_BM.shape[1] > 21  # further units are inserted


def test_the_second_pass_scores_the_words_of_the_first(
    tiny_whisper: Path, decoder: causal_lm.CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, both = (made(tiny_whisper, decoder, second_pass) for second_pass in (0.0, 0.9))
    for connector in (first, both):
        connector.head.bias_C.data[0] = -10.0
    read, calls = both.second_pass.score_texts, []

    def recorded(*arguments: Any) -> Any:
        calls.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(both.second_pass, "score_texts", recorded)
    states_BLD, lens_B = torch.randn(2, 40, 64), torch.tensor([40, 24])  # 24 states are a segment
    runs = best_runs(first._score(states_BLD, lens_B).log_probs_BMW.argmax(-1) * length_mask(lens_B // 2, 20))
    posteriors = both(states_BLD, lens_B).posteriors
    ((_, _, utts_N, states_N, words),) = calls
    assert utts_N.equal(runs.utts_N) and states_N.equal(2 * runs.firsts_N)
    assert len(words) == len(utts_N) > 1 and all(words)
    assert posteriors.log_probs_BMC.shape[1] != first(states_BLD, lens_B).posteriors.log_probs_BMC.shape[1]


def test_log_probabilities_of_texts(tiny_whisper: Path, decoder: causal_lm.CausalLM) -> None:
    connector = made(tiny_whisper, decoder)
    assert connector.rescores and not made(tiny_whisper, decoder, second_pass=0.0).rescores
    states_BLD, lens_B = torch.randn(4, 40, 64), torch.tensor([24, 10, 40, 10])  # 24 states are a segment
    texts = [["she had", "She had", "all year", "she 40"], ["", "<|nocaptions|>"], ["she", "all"], ["", ""]]
    first, second, third, fourth = connector.log_probs(states_BLD, lens_B, texts)
    assert first[0] == first[1] != first[2]
    assert first[3] == first[0]  # numbers are not compared
    words = [tuple(token for word in connector._tokens.words(text) for token in word) for text in texts[0]]
    expected = connector.second_pass.log_probs(states_BLD[0, :24], [words[0], words[2]])
    torch.testing.assert_close(torch.tensor([first[0], first[2]]), expected)
    assert second[1] == second[0]  # the name of a special token is punctuation and letters
    assert third is None and fourth is None  # longer than a segment, no words


def test_a_multilingual_whisper_has_no_second_pass(
    tiny_whisper: Path, decoder: causal_lm.CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper_ctc, "MULTILINGUAL", 100)
    assert made(tiny_whisper, decoder, second_pass=0.0)
    with pytest.raises(ConfigError, match="found 0.7 with .* a multilingual Whisper"):
        made(tiny_whisper, decoder)


def test_merged_adapters_change_no_score(tiny_whisper: Path, decoder: causal_lm.CausalLM) -> None:
    connector = made(tiny_whisper, decoder)
    with torch.no_grad():
        for name, one in connector.named_parameters():
            if "lora_B" in name:
                one.normal_(std=0.1)
    states_BLD = torch.randn(2, 40, 64)
    before = scores(connector, states_BLD)
    connector.merge_adapters()
    torch.testing.assert_close(scores(connector, states_BLD), before, atol=1e-4, rtol=0)
    assert not any("lora" in name for name, _ in connector.named_parameters())


def test_rescoring_of_a_batch_is_that_of_each(tiny_whisper: Path, tiny_llm: Path) -> None:
    """With word times of the best hypothesis; the second utterance has two segments of 1 s."""
    model = built_with(tiny_whisper, tiny_llm, segment=1.0).model.eval()
    model.connector.head.bias_C.data[0] = -10.0  # a random model would find no word
    lens_B, limits = torch.tensor([60, 130, 40]), [6, 4, 5]
    feats_BTF = torch.randn(3, 130, 80)
    batch = Batch(list("abc"), feats_BTF, lens_B, [""] * 3, [1.0] * 3, encoded=False)
    options = GenerationOptions(num_beams=3, ctc_weight=0.5, length_penalty=0.0, rescoring_weight=0.5)
    together = model.generate(batch, limits, options, 50.0)
    before = model.generate(batch, limits, replace(options, rescoring_weight=0.0, nbest=3))
    for i, nbest in enumerate(together):
        one = replace(batch, utt_ids=["x"], inputs=feats_BTF[i : i + 1, : lens_B[i]], feat_lens_B=lens_B[i : i + 1])
        alone = model.generate(replace(one, texts=[""], durations=[1.0]), limits[i : i + 1], options, 50.0)
        assert [one.text for one in alone[0]] == [one.text for one in nbest]
        assert alone[0][0].score == pytest.approx(nbest[0].score, abs=1e-3)
        assert [word.word for word in nbest[0].words] == nbest[0].text.split()
        states_BLD, state_lens_B = model.encode(batch)
        (log_probs,) = model.connector.log_probs(
            states_BLD[i : i + 1], state_lens_B[i : i + 1], [[one.text for one in before[i]]]
        )
        assert (log_probs is None) == (i == 1)
        scores = [one.score for one in before[i]]
        if log_probs is not None:
            scores = [0.5 * one + 0.5 * other for one, other in zip(scores, log_probs, strict=True)]
        assert nbest[0].score == pytest.approx(max(scores), abs=1e-3)


def test_weights_of_another_decoder_are_refused(tiny_whisper: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """A distilled Whisper has the encoder of its teacher, and another decoder."""
    model = WhisperForConditionalGeneration.from_pretrained(tiny_whisper)
    torch.manual_seed(1)
    for parameter in model.model.decoder.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "other")
    WhisperTokenizerFast.from_pretrained(tiny_whisper).save_pretrained(tmp_path / "other")
    first, second = (built_with(path, tiny_llm) for path in (tiny_whisper, tmp_path / "other"))
    assert first.bases["encoder"] == second.bases["encoder"]
    trained = {name: one for name, one in first.model.named_parameters() if one.requires_grad}
    save_weights(tmp_path / "model.safetensors", trained, {"bases": first.bases})
    load_weights(first.model, tmp_path / "model.safetensors", first.bases)
    with pytest.raises(ConfigError, match="trained with another connector: .*; set encoder.path to the base model"):
        load_weights(second.model, tmp_path / "model.safetensors", second.bases)


def test_the_second_pass_is_no_work_of_the_backward_pass(tiny_whisper: Path, tiny_llm: Path) -> None:
    model = built_with(tiny_whisper, tiny_llm).model
    assert not any(one.requires_grad for one in model.connector.second_pass.parameters())
    counter = FlopCounter(model, "float32", torch.device("cpu"))
    frozen = sum(one.numel() for one in model.connector.base_model.parameters() if not one.requires_grad)
    trained = sum(one.numel() for one in model.connector.parameters() if one.requires_grad)
    work = Work(states=0, speech_tokens=10)
    assert counter.flops(work, 0, "ctc") == 10 * (4 * frozen + 6 * trained)


def built_with(path: Path, llm: Path, **encoder: object) -> Built:
    tree: dict[str, dict[str, object]] = {"frontend": {"type": "log_mel"}}
    tree |= {"encoder": {"type": "whisper", "path": str(path), "padding": "none", **encoder}}
    tree |= {"connector": {"type": "whisper_ctc"}, "decoder": {"type": "causal_lm", "path": str(llm)}}
    return build(configs.build(ExperimentConfig, tree), torch.float32)


def test_another_encoder_is_refused(tiny_llm: Path) -> None:
    connector = Config().build(48, 48, 24)

    class Other(Encoder):
        path = str(tiny_llm)

    with pytest.raises(ConfigError, match="connector.type: whisper_ctc: encoder.path: .*a Whisper model"):
        connector.bind_encoder(Other())
