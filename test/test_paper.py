"""The YAMLs of the paper's tables, at the paper's sizes, without weights (arXiv 2309.13963, tables 1 to 4 and 6)."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import transformers

from speechllm.decoders.causal_lm import CausalLM
from speechllm.encoders.whisper import Whisper
from speechllm.experiment import ExperimentConfig, load_config

CONF = Path(__file__).parents[1] / "egs/librispeech/conf"
MAIN = "../whisper_large_v2_vicuna_13b_qf80"
WIDTHS = {"openai/whisper-base": 512, "openai/whisper-medium": 1024, "openai/whisper-large-v2": 1280}
LLMS = {"lmsys/vicuna-7b-v1.5": (4096, 32, 11008), "lmsys/vicuna-13b-v1.5": (5120, 40, 13824)}


class Row(NamedTuple):
    name: str
    tokens: int  # of 30 s
    tokens_120: int  # of 120 s
    parameters: int  # that are trained
    millions: float | None = None  # the same, where the paper gives it


ROWS = [
    Row(MAIN, 80, 80, 24_479_232, 24.5),
    Row("table1_no_concat", 80, 80, 24_479_232, 24.5),
    Row("table2_fc75", 75, 300, 24_581_920, 24.6),
    Row("table2_fc300", 300, 1200, 23_600_128, 23.6),
    Row("table2_ca75", 75, 300, 133_392_128, 133.4),
    Row("table3_qf40", 40, 40, 24_448_512),
    Row("table3_qf60", 60, 60, 24_463_872, 24.5),
    Row("table3_qf160", 160, 160, 24_540_672),
    Row("table3_qf300", 300, 300, 24_648_192),
    Row("table4_base_13b", 80, 80, 22_118_400),
    Row("table4_medium_13b", 80, 80, 23_692_288),
    Row("table4_large_v2_7b", 80, 80, 23_691_776),
    Row("table6_fc75", 75, 300, 24_581_920, 24.6),
    Row("table6_qf80", 80, 80, 24_479_232, 24.5),
    Row("table6_seg_qf80", 80, 320, 24_479_232, 24.5),
    Row("table6_seg_qf80_4000h", 80, 320, 24_479_232, 24.5),
]


def load(name: str) -> ExperimentConfig:
    return load_config(CONF / "paper" / f"{name}.yaml")


def test_every_yaml_is_a_row_and_is_listed() -> None:
    names = {path.stem for path in (CONF / "paper").glob("*.yaml")}
    assert names == {row.name for row in ROWS} - {MAIN}
    readme = (CONF / "paper/README.md").read_text()
    for row in ROWS:
        name = "the main system" if row.name == MAIN else f"`{row.name}`"
        millions = "" if row.millions is None else f"{row.millions}M"
        sizes = f"| {row.tokens} | {row.tokens_120} | {row.parameters:,} | {millions} |"
        assert re.search(rf"\| {re.escape(name)} {re.escape(sizes)}", readme), f"{name} {sizes}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_has_the_papers_tokens_and_parameters(row: Row, tiny_llm: Path) -> None:
    config = load(row.name)
    width, (dim, layers, inner) = WIDTHS[config.encoder.path], LLMS[config.decoder.path]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llm)
    with torch.device("meta"):
        heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8}
        whisper = transformers.WhisperConfig(d_model=width, encoder_layers=2, decoder_layers=1, **heads)
        encoder = Whisper(
            transformers.WhisperModel(whisper).encoder,
            padding=config.encoder.padding,
            segment=config.encoder.segment,
            frozen=config.encoder.frozen,
        )
        llama = transformers.LlamaConfig(
            hidden_size=dim, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=dim // 128
        )
        decoder = CausalLM(transformers.LlamaForCausalLM(llama), tokenizer)
        connector = config.connector.build(encoder.output_dim, decoder.embedding_dim, encoder.segment_states)
    assert not any(parameter.requires_grad for part in (encoder, decoder) for parameter in part.parameters())
    states = [int(encoder.output_lengths(torch.tensor(n))) for n in (1_000, 3_000, 12_000)]
    assert states == [1_500, 1_500, 6_000]
    tokens = [int(connector.output_lengths(torch.tensor(n))) for n in states]
    assert tokens == [row.tokens, row.tokens, row.tokens_120]
    parameters = sum(p.numel() for p in connector.parameters())
    assert parameters == row.parameters
    if row.millions is not None:
        assert round(parameters / 1e6, 1) == row.millions


def test_rows_differ_from_the_main_system_in_what_they_are_about() -> None:
    main = load(MAIN)
    assert main.data.concat is not None and main.data.concat.duration == 30
    assert load("table1_no_concat").data.concat is None
    for row in ROWS:
        config = load(row.name)
        assert config.prompt == main.prompt and config.train.dtype == main.train.dtype
        if row.name.startswith("table6"):
            assert config.data.concat is not None and config.data.concat.duration == 120
            assert config.data.concat.silence == main.data.concat.silence
            assert config.train.init_from is not None
        elif row.name != "table1_no_concat":
            assert config.data == main.data and config.train == main.train
