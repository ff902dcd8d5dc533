"""Speed of training at the paper's sizes compared with a plain loop, and of decoding, in one run on one device.

    python test/benchmarks/paper_scale.py          # on a GPU
    python test/benchmarks/paper_scale.py --tiny   # the same code with tiny shapes, on any device

Weights are random, of the shapes of Whisper large-v2 and Llama 7B, with a Q-Former of 80 queries; nothing is
downloaded. Utterances are noise of 5 to 30 s with 3.5 text tokens a second; data are in memory before the clock starts.
The plain loop uses transformers directly: the encoder in the loop, padded sequences, logits of every position, AdamW
without DeepSpeed. TFLOP/s are those of useful work, by ``FlopCounter``; of both loops the same. The second table is
that of ``paper_scale_decoding.py``.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from paper_scale_decoding import HEADER, DecodingBench, decoding, random_llm
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from speechllm.connectors import qformer
from speechllm.data.batch import Batch
from speechllm.decoders._packing import PACKED, Packed
from speechllm.decoders.causal_lm import CausalLM
from speechllm.encoders.whisper import Whisper
from speechllm.models.prompt import PromptConfig
from speechllm.models.speech_llm import SpeechLLM, Work
from speechllm.train.compilation import Compilation
from speechllm.train.config import TrainConfig
from speechllm.train.engine import start_engine, start_processes
from speechllm.train.flops import FlopCounter
from speechllm.train.protocol import Engine

DTYPE = torch.bfloat16
WARM_UP = 3
WORD = "a"
PROMPT = "USER: <Speech><speech>ASSISTANT:"
"""A prompt of 25 bytes, which are tokens here, with the beginning of sequence: as many as a usual prompt has."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Shapes of the models and of the batches."""

    encoder: dict[str, int]
    llm: dict[str, int]
    connector: dict[str, int]
    batches: tuple[int, ...]
    seconds: tuple[int, int]
    """Shortest and longest utterance."""
    matmul: int


PAPER = Sizes(
    encoder={"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120},
    llm={"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    connector={"num_queries": 80, "hidden": 768},
    batches=(16, 48),
    seconds=(5, 30),
    matmul=8192,
)
TINY = Sizes(
    encoder={"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128},
    llm={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    connector={"num_queries": 8, "hidden": 64},
    batches=(2, 3),
    seconds=(1, 3),
    matmul=256,
)


@dataclass
class Bench:
    """Models, and the rows measured so far."""

    sizes: Sizes
    device: torch.device
    steps: int
    compiles: bool
    end: float
    """No further row starts after this time."""
    model: SpeechLLM = field(init=False)
    flops: FlopCounter = field(init=False)
    peak: float = field(init=False)
    """Floating-point operations a second of a large matrix product."""
    rows: list[str] = field(default_factory=list)

    def measure(self, name: str, batch: int, step: Callable[[], Work], targets: int) -> None:
        """Add the row of a training step (median of several), or of the reason for its absence."""
        if time.monotonic() > self.end:
            self.rows.append(f"| {name} | {batch} | not reached | | | | |")
            return
        try:
            seconds, work = self._seconds(step)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self.rows.append(f"| {name} | {batch} | out of memory | | | | |")
            return
        rate = self.flops.flops(work, targets, "llm") / seconds
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
        self.rows.append(
            f"| {name} | {batch} | {batch / seconds:.1f} | {work.llm_tokens / seconds:.0f} | {rate / 1e12:.3g} "
            f"| {rate / self.peak:.0%} | {memory:.1f} |"
        )

    def _seconds(self, step: Callable[[], Work]) -> tuple[float, Work]:
        """Return the median time of a step after some to warm up, and its work."""
        times = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(WARM_UP + self.steps):
            self.synchronize()
            start = time.perf_counter()
            work = step()
            self.synchronize()
            times.append(time.perf_counter() - start)
        return statistics.median(times[WARM_UP:]), work

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def matmul_peak(self) -> float:
        """Return the floating-point operations a second of a large matrix product in bfloat16."""
        size = self.sizes.matmul
        a, b = (torch.randn(size, size, device=self.device, dtype=DTYPE) for _ in range(2))

        def product() -> Work:
            for _ in range(10):
                torch.mm(a, b)
            return Work(0, 0)

        return 10 * 2 * size**3 / self._seconds(product)[0]


def main(arguments: list[str] | None = None) -> None:
    """Print a table of training and one of decoding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, for any device")
    parser.add_argument("--steps", type=int, default=7, help="timed steps of a row (%(default)s)")
    parser.add_argument("--limit", type=float, default=540, help="seconds after which no row is begun (%(default)s)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="default: on a GPU")
    args = parser.parse_args(arguments)
    end = time.monotonic() + args.limit
    start_processes()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compiles = device.type == "cuda" if args.compile is None else args.compile
    sizes = TINY if args.tiny else PAPER
    bench = Bench(sizes=sizes, device=device, steps=args.steps, compiles=compiles, end=end)
    bench.model = random_model(sizes, device)
    bench.flops = FlopCounter(bench.model, "bfloat16", device)
    bench.peak = bench.matmul_peak()
    for measured in (plain_loop, training, llm_alone):
        measured(bench)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, bfloat16, torch {torch.__version__}; matrix product: {bench.peak / 1e12:.3g} TFLOP/s; {sizes}\n")
    print("| | batch | windows/s | LLM tokens/s | TFLOP/s | of the matrix product | GiB |")
    print("|---|---|---|---|---|---|---|", *bench.rows, sep="\n", flush=True)
    torch.distributed.destroy_process_group()
    del bench.model
    torch._dynamo.reset()  # decoding is measured with the compiler as it is without training
    torch._dynamo.config.suppress_errors, torch.fx.experimental._config.use_duck_shape = False, True
    batches, num_tokens = ((4, 2), 12) if args.tiny else ((32, 8), 64)
    searches = DecodingBench(random_llm(sizes.llm, device), num_tokens, min(3, args.steps), end)
    decoding(searches, *batches, compiles=compiles)
    print("", *HEADER, *searches.rows, sep="\n", flush=True)


def random_model(sizes: Sizes, device: torch.device) -> SpeechLLM:
    """Return a model of random weights on ``device``; everything but the Q-Former is frozen."""
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "vocab_size": 100}
    whisper = transformers.WhisperConfig(**sizes.encoder, decoder_layers=1, decoder_attention_heads=2, **ids)
    llama = transformers.LlamaConfig(vocab_size=32000, **sizes.llm)
    torch.set_default_dtype(DTYPE)
    with device:
        encoder = Whisper(transformers.WhisperModel(whisper).encoder, padding="window", segment=30.0, frozen=True)
        decoder = CausalLM(transformers.LlamaForCausalLM(llama), tokenizer())
        connector = qformer.Config(**sizes.connector).build(
            encoder.output_dim, decoder.embedding_dim, encoder.segment_states
        )
    torch.set_default_dtype(torch.float32)
    return SpeechLLM(encoder, connector, decoder, PromptConfig(template=PROMPT)).train()


def tokenizer() -> Any:
    """Return a tokenizer of single bytes, enough for prompts and texts of a known number of tokens."""
    vocabulary = {"<s>": 0, "</s>": 1} | {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 2)}
    bytes_ = Tokenizer(models.BPE(vocabulary, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_, bos_token="<s>", eos_token="</s>")


def batches_of(sizes: Sizes, number: int, device: torch.device) -> Iterator[Batch]:
    """Yield the same three batches of noise repeatedly."""
    generator = torch.Generator().manual_seed(number)
    made = []
    for _ in range(3):
        durations = torch.randint(sizes.seconds[0], sizes.seconds[1] + 1, (number,), generator=generator).tolist()
        feats_BTF = torch.randn(number, 100 * max(durations), 80, generator=generator)
        lens_B = 100 * torch.tensor(durations)
        texts = [WORD * round(3.5 * duration) for duration in durations]
        made.append(Batch([f"u{i}" for i in range(number)], feats_BTF, lens_B, texts, durations, False).to(device))
    while True:
        yield from made


def training(bench: Bench) -> None:
    """Add rows of speechllm's training: padded, packed, and packed with compiled layers, the default on a GPU."""
    engine: Engine = start_engine(bench.model, TrainConfig(dtype="bfloat16", lr=1e-4))
    decoder = bench.model.decoder
    steps = [(number, batches_of(bench.sizes, number, bench.device)) for number in bench.sizes.batches]
    targets = round(3.5 * sum(bench.sizes.seconds) / 2)

    def measure(name: str) -> None:
        for number, batches in steps:
            bench.measure(name, number, lambda batches=batches: _step(engine, next(batches)), number * targets)

    measure("ours, padded")
    decoder.pack_sequences()
    measure("ours, packed")
    if bench.compiles:
        compilation = Compilation(print)
        compilation.compile_layers(bench.model)
        measure("ours, packed and compiled")
        print(compilation.summary())


def _step(engine: Engine, batch: Batch) -> Work:
    """Do an optimizer step as the trainer does."""
    output = engine(batch, "llm", engine.module.count_targets(batch.texts))
    engine.backward(output.loss)
    engine.step()
    work: Work = output.work
    return work


def llm_alone(bench: Bench) -> None:
    """Add the row of the LLM's forward and backward pass, packed sequences of 190 tokens with 80 targets."""
    model, number = bench.model.decoder.model, bench.sizes.batches[-1]  # type: ignore[attr-defined]
    packed, width = Packed([190] * number, bench.device), bench.model.decoder.embedding_dim
    embeds_BUE = torch.randn(1, 190 * number, width, device=bench.device, dtype=DTYPE)
    kept_U = (torch.arange(110, 190) + 190 * torch.arange(number)[:, None]).flatten().to(bench.device)
    labels_U = torch.ones_like(kept_U)
    model.set_attn_implementation(PACKED)

    def step() -> Work:
        inputs_BUE = embeds_BUE.clone().requires_grad_()
        logits_BUV = model(
            inputs_embeds=inputs_BUE,
            position_ids=packed.positions(),
            packed=packed,
            logits_to_keep=kept_U,
            use_cache=False,
        ).logits
        cross_entropy(logits_BUV[0].float(), labels_U).backward()
        return Work(0, 0, 190 * number, 190 * number)

    bench.measure(f"the LLM alone{', compiled' * bench.compiles}", number, step, 80 * number)


def plain_loop(bench: Bench) -> None:
    """Add rows of a plain loop around the same encoder and LLM."""
    for number in bench.sizes.batches:
        torch.manual_seed(0)
        loop = PlainLoop(bench, number)
        bench.measure("plain loop", number, loop.step, number * round(3.5 * sum(bench.sizes.seconds) / 2))


class PlainLoop:
    """The encoder in the loop, padded sequences, logits of every position, and AdamW without DeepSpeed."""

    def __init__(self, bench: Bench, number: int) -> None:
        self.encoder: nn.Module = bench.model.encoder.encoder  # type: ignore[union-attr]
        self.llm: nn.Module = bench.model.decoder.model  # type: ignore[attr-defined]
        self.batches = batches_of(bench.sizes, number, bench.device)
        width, queries = bench.sizes.connector["hidden"], bench.sizes.connector["num_queries"]
        config = transformers.Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=max(1, width // 64),
            intermediate_size=4 * width,
            encoder_hidden_size=bench.sizes.encoder["d_model"],
            cross_attention_frequency=1,
        )
        self.qformer = transformers.Blip2QFormerModel(config).to(bench.device)
        self.output = nn.Linear(width, bench.sizes.llm["hidden_size"]).to(bench.device)
        self.queries = nn.Parameter(torch.randn(1, queries, width, device=bench.device) * 0.02)
        self.trained = [*self.qformer.parameters(), *self.output.parameters(), self.queries]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4)

    def step(self) -> Work:
        """Do an optimizer step."""
        batch = next(self.batches)
        tokens = [len(text) + 1 for text in batch.texts]
        loss, speech = self._loss(batch, tokens)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        read = sum(tokens) + len(tokens) * (25 + speech)
        return Work(1500 * len(tokens), len(tokens) * speech, read, read)

    def _loss(self, batch: Batch, tokens: list[int]) -> tuple[Tensor, int]:
        """Return the loss, and the number of speech tokens of a window."""
        device, number = batch.inputs.device, len(tokens)
        feats_BTF = nn.functional.pad(batch.inputs, (0, 0, 0, 3000 - batch.inputs.shape[1]))
        with torch.no_grad():
            states_BLD = self.encoder(feats_BTF.transpose(1, 2).to(DTYPE)).last_hidden_state
        with torch.autocast(device.type, DTYPE):
            queries = self.queries.expand(number, -1, -1)
            hidden = self.qformer(query_embeds=queries, encoder_hidden_states=states_BLD.float()).last_hidden_state
            speech_BSE = self.output(hidden).to(DTYPE)
        ids = torch.randint(3, 200, (number, 25 + max(tokens)), device=device)
        embeds = self.llm.get_input_embeddings()(ids)  # type: ignore[operator]
        inputs = torch.cat([embeds[:, :15], speech_BSE, embeds[:, 15:]], 1)
        begin = 25 + speech_BSE.shape[1]
        labels = torch.full(inputs.shape[:2], -100, device=device)
        mask = torch.ones_like(labels)
        for row, length in enumerate(tokens):
            labels[row, begin : begin + length] = ids[row, 25 : 25 + length]
            mask[row, begin + length :] = 0
        loss: Tensor = self.llm(inputs_embeds=inputs, attention_mask=mask, labels=labels).loss
        return loss, speech_BSE.shape[1]


if __name__ == "__main__":
    main()
