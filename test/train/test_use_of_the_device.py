"""Speed, padding and floating-point operations in the log; activations, and whether they fit; no waiting in a step."""

import traceback
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechllm.connectors import ctc, fc
from speechllm.data.batch import Batch
from speechllm.decoders import causal_lm
from speechllm.encoders import whisper
from speechllm.interfaces import Connector
from speechllm.models.prompt import PromptConfig
from speechllm.models.speech_llm import SpeechLLM, Targets, Work
from speechllm.train.activations import Activations, measure_activations, verdict
from speechllm.train.config import TrainConfig
from speechllm.train.flops import FlopCounter, peak_flops
from speechllm.train.plan import GIB
from speechllm.train.protocol import Engine
from speechllm.train.sums import Sums

CPU = torch.device("cpu")
TEXTS = ["the quick brown fox", "she had", "all year"]


def model_of(whisper_path: Path, llm_path: Path, *, with_ctc_head: bool = False) -> SpeechLLM:
    torch.manual_seed(0)
    encoder = whisper.Config(path=str(whisper_path), padding="none").build()
    decoder = causal_lm.Config(path=str(llm_path)).build()
    sizes = encoder.output_dim, decoder.embedding_dim, encoder.segment_states
    connector: Connector = fc.Config(stack=8, hidden=32).build(*sizes)
    if with_ctc_head:
        connector = ctc.Config(stack=2, hidden=64, num_layers=1, bpe_merges=10).build(*sizes)
    decoder.check()
    return SpeechLLM(encoder, connector, decoder, PromptConfig(template="vicuna")).train()


def batch_of(lengths: list[int]) -> Batch:
    torch.manual_seed(1)
    ids = [f"utt{i}" for i in range(len(lengths))]
    feats_BTF = torch.randn(len(lengths), max(lengths), 80)
    return Batch(ids, feats_BTF, torch.tensor(lengths), TEXTS[: len(lengths)], [n / 100 for n in lengths], False)


def test_operations_are_those_of_the_formula(tiny_whisper: Path, tiny_llm: Path) -> None:
    model = model_of(tiny_whisper, tiny_llm)
    size = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    table = model.decoder.embedding_matrix().numel()
    counter = FlopCounter(model, "bfloat16", CPU)
    found = counter.flops(Work(states=100, speech_tokens=10, llm_tokens=50, llm_positions=60), 7, "llm")
    llm = 4 * (size["decoder"] - 2 * table) * 50 + 4 * table * 7
    assert found == 2 * size["encoder"] * 100 + 6 * size["connector"] * 10 + llm
    assert counter.flops(Work(states=100, speech_tokens=10), 7, "ctc") == found - llm
    assert counter.peak is None
    assert (peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("NVIDIA H100 PCIe")) == (989e12, 756e12)
    assert {peak_flops(name) for name in ("Tesla T4", "NVIDIA H100 NVL", "NVIDIA H100 80GB HBM3 MIG 1g.10gb")} == {None}


def test_shares_and_speeds_of_a_log_line(tiny_whisper: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 14.0, 14.0])
    model, batch = model_of(tiny_whisper, tiny_llm), batch_of([200, 90, 40])
    flops = FlopCounter(model, "bfloat16", CPU)
    flops.peak = 1e9
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    sums = Sums(flops)
    output = model(batch)
    sums.add(output, batch, model.count_targets(batch.texts), "llm")
    sums.wait(1.0)
    values = sums.take(CPU)
    read, positions = output.work.llm_tokens, output.work.llm_positions
    assert read < positions and positions % 3 == 0
    assert values["padding_share"] == pytest.approx(1 - read / positions)
    assert values["tokens_per_second"] == read / 4
    assert values["data_wait_share"] == 0.25
    assert values["mfu"] == pytest.approx(flops.flops(output.work, output.num_tokens, "llm") / 4e9)
    assert values["loss"] == pytest.approx(output.loss.item())


def test_packing_has_no_padding_and_reads_the_same_tokens(tiny_whisper: Path, tiny_llm: Path) -> None:
    model, batch = model_of(tiny_whisper, tiny_llm), batch_of([200, 90, 40])
    padded = model(batch).work
    model.decoder.pack_sequences()
    packed = model(batch).work
    assert packed.llm_tokens == packed.llm_positions == padded.llm_tokens < padded.llm_positions
    assert padded.llm_positions % 3 == 0


def test_activations_grow_with_positions_and_checkpointing_keeps_fewer(tiny_whisper: Path, tiny_llm: Path) -> None:
    model = model_of(tiny_whisper, tiny_llm)

    class Direct:
        module, device = model, CPU

        def __call__(self, *arguments: Any) -> Any:
            return model(*arguments)

        def train(self) -> None:
            model.train()

        def eval(self) -> None:
            model.eval()

    few = batch_of([100, 120])
    found = measure_activations(cast(Engine, Direct()), few, 1000)
    more = measure_activations(cast(Engine, Direct()), few, 3000)
    assert more.kept == pytest.approx(3 * found.kept)
    assert 0 < found.recomputed < 0.8 * found.kept
    # a layer in float32, frozen: 16 h + 6 f of two bytes each in half precision, see the plan; and logits, connector
    layer = 2 * (4 * 4 * 48 + 2 * 4 * 48 + 3 * 4 * 96)
    assert layer < found.kept / 1000 < 6 * layer
    assert model.training


@pytest.mark.parametrize(
    ("state", "kept", "recomputed", "checkpointing", "words"),
    [
        (10, 20, 5, False, "GiB: fits"),
        (10, 20, 5, True, "fits without train.activation_checkpointing; set it to false, which is faster"),
        (10, 90, 5, False, "does not fit; set train.activation_checkpointing: true"),
        (10, 90, 5, True, "GiB: fits"),
        (10, 900, 124, True, "does not fit; lower data.batch_tokens for at most 500 positions"),
        (10, 900, 124, False, "for at most 500 positions, with checkpointing"),
        (75, 1, 1, False, "does not fit; choose ZeRO stage 3 (train.deepspeed) or a smaller model"),
    ],
)
def test_the_plan_names_the_setting_to_change(
    state: int, kept: int, recomputed: int, checkpointing: bool, words: str
) -> None:
    found = Activations(positions=1000, kept=kept * GIB, recomputed=recomputed * GIB)
    config = TrainConfig(activation_checkpointing=checkpointing)
    assert verdict(found, state * GIB, 80 * GIB, config, "data.batch_tokens").endswith(words)
    assert "the device has" not in verdict(found, state * GIB, None, config, "data.batch_tokens")


class Waits(TorchDispatchMode):
    """Records the functions of this library that read values of a tensor, which synchronises with a GPU."""

    READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.found: set[str] = set()
        tolist = torch.Tensor.tolist  # which no mode is notified about
        monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: (self.note(), tolist(tensor))[1])

    def note(self) -> None:
        ours = [frame for frame in traceback.extract_stack() if "/speechllm/" in frame.filename]
        self.found.add(f"{Path(ours[-1].filename).stem}.{ours[-1].name}")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mask = function is torch.ops.aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if str(function).startswith(self.READS) or mask:
            self.note()
        return function(*args, **(kwargs or {}))


OF_THE_CPU = {
    "whisper.forward",  # of the shape of the features
    "speech_llm._llm_loss",  # which positions predict a token, by the lengths of texts and prompts
    "causal_lm._logits",  # the same
    "speech_llm._speech_lens",  # of lengths that follow from those of the features
}
"""Functions that read values of tensors which are on the CPU even if the model is on a GPU."""


@pytest.mark.parametrize("packing", [False, True])
def test_a_step_waits_for_no_value_of_the_device(
    tiny_whisper: Path, tiny_llm: Path, packing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = model_of(tiny_whisper, tiny_llm), batch_of([200, 90, 40])
    if packing:
        model.decoder.pack_sequences()
    sums = Sums(FlopCounter(model, "bfloat16", CPU))
    with Waits(monkeypatch) as waits:
        output = model(batch, "llm", Targets(9.0, 0.0))
        sums.add(output, batch, Targets(9.0, 0.0), "llm")
        output.loss.backward()
    assert waits.found == OF_THE_CPU


def test_a_ctc_head_is_waited_for(tiny_whisper: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its posteriors decide how many speech tokens there are."""
    model = model_of(tiny_whisper, tiny_llm, with_ctc_head=True)
    with Waits(monkeypatch) as waits:
        model(batch_of([200, 90, 40])).loss.backward()
    assert waits.found - OF_THE_CPU == {"_ctc.embed"}
