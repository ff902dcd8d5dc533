"""The contract of all connectors, found through the registry, and the paper's numbers for each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizerFast

from speechllm.connectors.segment_qformer import segment_positions
from speechllm.connectors.whisper_ctc import MAX_FURTHER
from speechllm.errors import ConfigError
from speechllm.registry import available, config_class

QFORMER = {"num_queries": 5, "hidden": 64, "dropout": 0.0}
SMALL = {
    "ctc": {"stack": 3, "hidden": 64, "num_layers": 1, "dropout": 0.0, "blank_threshold": 1.0, "mask": 0.0},
    "cross_attention": {"stride": 3, "kernel": 6, "hidden": 32, "num_heads": 4},
    "fc": {"stack": 3, "hidden": 32},
    "qformer": QFORMER,
    "segment_qformer": QFORMER,
    "whisper_ctc": {"stack": 3, "dropout": 0.0, "blank_threshold": 1.0, "mask": 0.0, "second_pass_weight": 0.0},
    "window_qformer": {**QFORMER, "num_queries": 2, "window": 5},
}
WITH_LOCALITY = {f"{name} locality": {**SMALL[name], "locality": 1.0} for name in SMALL if "qformer" in name}
CASES = SMALL | WITH_LOCALITY
KEY_BIAS = ".key.bias"  # shifts all attention scores of a query alike, so softmax takes its gradient away
SEGMENT = 8  # states


def build(
    name: str, input_dim: int, output_dim: int, segment_states: int, dtype: torch.dtype = torch.float32, **options: Any
) -> Any:
    """Return a connector, bound to a toy LLM and a toy encoder."""
    connector = config_class("connectors", name)(**options).build(
        input_dim=input_dim, output_dim=output_dim, segment_states=segment_states
    )
    connector.bind_encoder(ToyEncoder())
    connector.to(dtype).bind(ToyDecoder(torch.randn(50, output_dim, dtype=dtype)))
    return connector


class ToyEncoder:
    """The part of an encoder that connectors use: the directory of its Whisper model."""

    path = ""


@pytest.fixture(scope="module", autouse=True)
def _whisper(tmp_path_factory: pytest.TempPathFactory, tiny_whisper: Path) -> None:
    """Write a Whisper of dimension 16 with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("whisper")
    sizes = {"d_model": 16, "decoder_attention_heads": 2, "encoder_attention_heads": 2}
    WhisperForConditionalGeneration(WhisperConfig.from_pretrained(tiny_whisper, **sizes)).save_pretrained(path)
    WhisperTokenizerFast.from_pretrained(tiny_whisper).save_pretrained(path)
    ToyEncoder.path = str(path)


class ToyDecoder:
    """The parts of an LLM that connectors use: an embedding matrix (V, E) and nine subword units."""

    def __init__(self, matrix_VE: torch.Tensor) -> None:
        self.matrix_VE = matrix_VE

    def embedding_matrix(self) -> torch.Tensor:
        return self.matrix_VE

    def embed(self, ids_U: torch.Tensor) -> torch.Tensor:
        return self.matrix_VE[ids_U]

    def subword_units(self, merges: int, lower_case: bool = False) -> "Digits":
        return Digits()


class Digits:
    """Nine subword units, the digits from 1; words begin with 1 to 6."""

    def __init__(self) -> None:
        self.ids = list(range(20, 29))
        self.texts = [f" {digit}" if digit < 7 else f"{digit}" for digit in range(1, 10)]

    def __call__(self, text: str) -> list[int]:
        return [int(digit) - 1 for digit in text if digit in "123456789"]


def small(name: str, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return build(name.removesuffix(" locality"), 16, 24, SEGMENT, dtype, **CASES[name]).eval()


def test_every_connector_is_tested() -> None:
    assert set(available("connectors")) == set(SMALL)


@pytest.mark.parametrize("name", CASES)
def test_lengths_are_as_announced(name: str) -> None:
    connector = small(name)
    lens_B = torch.tensor([1, 7, 12])
    embeds_BSE, out_B, posteriors = connector(torch.randn(3, 12, 16), lens_B)
    announced_B = connector.output_lengths(lens_B)
    most_B = announced_B * (1 + MAX_FURTHER) if name == "whisper_ctc" else announced_B  # words of many units
    assert out_B.equal(announced_B) if connector.exact_lengths else (out_B <= most_B).all()
    assert connector.exact_lengths == (posteriors is None)
    assert (posteriors is None) == (connector.subwords is None)
    assert embeds_BSE.shape == (3, out_B.max(), 24)


@pytest.mark.parametrize("name", CASES)
def test_padding_and_batch_mates_have_no_influence(name: str) -> None:
    connector = small(name)
    states_BLD, lens_B = torch.randn(3, 12, 16), torch.tensor([12, 7, 1])
    embeds_BSE, out_B, _ = connector(states_BLD, lens_B)
    for i, length in enumerate(lens_B.tolist()):
        alone_BSE, *_ = connector(states_BLD[i : i + 1, :length], lens_B[i : i + 1])
        torch.testing.assert_close(embeds_BSE[i, : out_B[i]], alone_BSE[0, : out_B[i]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_gradients_reach_every_parameter(name: str) -> None:
    connector = small(name)
    trained = {one: parameter for one, parameter in connector.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter += 0.1 * torch.randn_like(parameter)  # parameters that are 0 at first hide others
    states_BLD, lens_B = torch.randn(4, 12, 16), torch.tensor([12, 9, 6, 3])
    embeds_BSE, *_ = connector(states_BLD, lens_B)
    loss = (embeds_BSE * torch.randn_like(embeds_BSE)).sum()
    if connector.subwords is not None:
        loss = loss + connector.ctc_loss(states_BLD, lens_B, ["1 23"] * 4)
    loss.backward()
    for parameter_name, parameter in trained.items():
        if not parameter_name.endswith(KEY_BIAS):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_long_speech_changes_the_speech_tokens(name: str) -> None:
    connector = small(name)
    first_BLD, second_BLD = torch.randn(2, 1, SEGMENT, 16)
    forth, *_ = connector(torch.cat([first_BLD, second_BLD], 1), torch.tensor([2 * SEGMENT]))
    back, *_ = connector(torch.cat([second_BLD, first_BLD], 1), torch.tensor([2 * SEGMENT]))
    if name == "qformer":  # attention over a set: the order is in the encoder's states alone
        torch.testing.assert_close(forth, back, atol=1e-5, rtol=0)
    else:
        assert forth.shape != back.shape or (forth - back).abs().max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_stays_finite(name: str) -> None:
    connector = small(name, torch.bfloat16)
    embeds_BSE, *_ = connector(torch.randn(2, 12, 16).bfloat16() * 30, torch.tensor([12, 1]))
    assert embeds_BSE.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "parameters", "tokens"),
    [
        ("cross_attention", {}, 133_392_128, 75),
        ("fc", {"stack": 5, "hidden": 2048}, 23_600_128, 300),
        ("fc", {"stack": 20, "hidden": 800}, 24_581_920, 75),
        ("qformer", {"num_queries": 60}, 24_463_872, 60),
        ("qformer", {"num_queries": 80}, 24_479_232, 80),
        ("segment_qformer", {"num_queries": 80}, 24_479_232, 80),
        ("window_qformer", {"window": 17}, 24_418_560, 89),
    ],
)
def test_sizes_of_the_paper(name: str, options: dict[str, int], parameters: int, tokens: int) -> None:
    """Whisper large-v2 (1280) and Vicuna 13B (5120), arXiv 2309.13963, table 2; the window-level one is not in it."""
    with torch.device("meta"):
        connector = build(name, 1280, 5120, 1500, **options)
    assert sum(p.numel() for p in connector.parameters()) == parameters
    assert connector.output_lengths(torch.tensor([1500])).tolist() == [tokens]


def test_segments_are_read_alone_and_in_order() -> None:
    connector = small("segment_qformer")
    states_BLD = torch.randn(1, 2 * SEGMENT + 3, 16)
    embeds_BSE, lens_B, _ = connector(states_BLD, torch.tensor([2 * SEGMENT + 3]))
    assert lens_B.tolist() == [15]
    positions_ND = segment_positions(3, 16)
    for i, piece_BLD in enumerate(states_BLD.split(SEGMENT, 1)):
        alone_BSE = connector.qformer(piece_BLD + positions_ND[i], torch.tensor([piece_BLD.shape[1]]))
        torch.testing.assert_close(embeds_BSE[:, 5 * i : 5 * i + 5], alone_BSE, atol=1e-5, rtol=0)


def test_one_segment_is_the_plain_qformer_up_to_its_position() -> None:
    segment, plain = small("segment_qformer"), small("qformer")
    plain.load_state_dict(segment.state_dict())
    states_BLD, lens_B = torch.randn(1, SEGMENT, 16), torch.tensor([SEGMENT])
    expected_BSE, *_ = plain(states_BLD + segment_positions(1, 16), lens_B)
    torch.testing.assert_close(segment(states_BLD, lens_B)[0], expected_BSE, atol=1e-6, rtol=0)
    assert (segment(states_BLD, lens_B)[0] - plain(states_BLD, lens_B)[0]).abs().max() > 1e-3


def test_positions_are_unlike_and_bounded() -> None:
    positions_ND = segment_positions(40, 384)
    assert positions_ND.abs().max() <= 1
    torch.testing.assert_close(positions_ND[0], torch.tensor([0.0, 1.0]).repeat(192))
    assert torch.cdist(positions_ND, positions_ND).add(torch.eye(40) * 100).min() > 1


def test_windows_are_read_alone() -> None:
    connector = small("window_qformer")
    states_BLD = torch.randn(1, 12, 16)
    embeds_BSE, lens_B, _ = connector(states_BLD, torch.tensor([12]))
    assert lens_B.tolist() == [6]
    last_BSE, *_ = connector(states_BLD[:, 10:], torch.tensor([2]))
    torch.testing.assert_close(embeds_BSE[:, 4:], last_BSE, atol=1e-5, rtol=0)


def test_cross_attention_is_the_papers_equation() -> None:
    """Against its own terms: a convolution with overlap, a linear layer, attention over the table."""
    connector = small("cross_attention")
    matrix_VE = torch.randn(30, 24)
    connector.bind(ToyDecoder(matrix_VE))
    states_BLD = torch.randn(1, 12, 16)
    embeds_BSE, lens_B, _ = connector(states_BLD, torch.tensor([12]))
    padded_BDL = torch.nn.functional.pad(states_BLD.transpose(1, 2), (1, 2))  # (kernel - stride) / 2 before
    query_BSE = connector.query(connector.conv(padded_BDL).transpose(1, 2))
    expected_BSE, _ = connector.attention(query_BSE, matrix_VE[None], matrix_VE[None])
    assert lens_B.tolist() == [4]
    torch.testing.assert_close(embeds_BSE, expected_BSE, atol=1e-6, rtol=0)
    assert not any("table" in name for name in connector.state_dict())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cross_attention", {"stride": 0}, "stride, hidden and num_heads: found 0"),
        ("cross_attention", {"kernel": 3}, "kernel: found 3, expected at least the stride, 20"),
        ("window_qformer", {"window": 0}, "window: found 0, expected at least 1"),
        ("segment_qformer", {"hidden": 100}, "hidden: found 100, expected a multiple of 64"),
    ],
)
def test_impossible_sizes_are_refused(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_class("connectors", name)(**options)


def test_heads_must_divide_the_embedding() -> None:
    with pytest.raises(ConfigError, match="expected a divisor of the LLM's embedding dimension, 576"):
        build("cross_attention", 384, 576, 1500, num_heads=7)
