"""Speed of decoding at the paper's sizes compared with transformers, in one run on one device.

    python test/benchmarks/paper_scale_decoding.py          # Llama 7B's shape, on a GPU
    python test/benchmarks/paper_scale_decoding.py --tiny   # the same code with a tiny shape, on any device

Weights are random, prompts are noise of 100 to 119 tokens, and 64 tokens are generated. A step of greedy or beam search
is a token of every row; each row of the table is the median of some searches after one to warm up, which compiles.
Drafts of the speculative rows are the tokens of greedy search, every tenth of them replaced.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from speechllm.decoders._compiled import CompiledSteps
from speechllm.decoders._draft import Draft
from speechllm.decoders._search import Search
from speechllm.interfaces import GenerationOptions

EOS = 2
PAPER = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADER = ("| | batch | ms a token step | tokens/s |", "|---|---|---|---|")
GREEDY, BEAMS = GenerationOptions(), GenerationOptions(num_beams=4)


@dataclass
class DecodingBench:
    """An LLM, and the rows measured so far."""

    model: Any
    num_tokens: int = 64
    """Tokens that are generated for each utterance."""
    searches: int = 3
    """Timed searches of a row."""
    end: float = float("inf")
    """No further row starts after this time (``time.monotonic``)."""
    rows: list[str] = field(default_factory=list)

    def measure(self, name: str, batch: int, search: Callable[[], object]) -> None:
        """Add the row of a search."""
        if time.monotonic() > self.end:
            self.rows.append(f"| {name} | {batch} | not reached | |")
            return
        times = []
        for _ in range(1 + self.searches):
            self._synchronize()
            start = time.perf_counter()
            search()
            self._synchronize()
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times[1:])
        self.rows.append(
            f"| {name} | {batch} | {1e3 * seconds / self.num_tokens:.1f} | {batch * self.num_tokens / seconds:.0f} |"
        )

    def _synchronize(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()


@torch.inference_mode()
def decoding(bench: DecodingBench, greedy_batch: int = 32, beam_batch: int = 8, *, compiles: bool) -> None:
    """Add rows of greedy, beam and speculative search, ours and transformers'."""
    searches = {"": Search(bench.model, bench.model.get_input_embeddings(), EOS)}
    if compiles:
        searches[", compiled"] = replace(searches[""], compiled=CompiledSteps(bench.model))
    for name, batch, options in (("greedy", greedy_batch, GREEDY), ("4 beams", beam_batch, BEAMS)):
        prompts, limits = prompts_of(bench.model, batch), [bench.num_tokens] * batch
        theirs = partial(transformers_search, bench.model, prompts, options, bench.num_tokens)
        bench.measure(f"transformers, {name}", batch, theirs)
        for how, search in searches.items():
            bench.measure(f"ours, {name}{how}", batch, partial(search, prompts, limits, options, None, None))
    for batch in (1, greedy_batch):
        prompts, limits = prompts_of(bench.model, batch), [bench.num_tokens] * batch
        tokens = [nbest[0].ids for nbest in searches[""](prompts, limits, GREEDY, None, None)]
        bench.measure("ours, greedy, speculative", batch, partial(_speculative, searches[""], prompts, limits, tokens))


def _speculative(search: Search, prompts: list[Tensor], limits: list[int], tokens: list[list[int]]) -> None:
    drafts = [Draft([3 if i % 10 == 9 else one for i, one in enumerate(ids)]) for ids in tokens]
    search(prompts, limits, GREEDY, None, drafts)


def prompts_of(model: Any, number: int) -> list[Tensor]:
    """Return prompts (U, E) of noise."""
    torch.manual_seed(0)
    like, width = model.get_input_embeddings().weight, model.config.hidden_size
    return [torch.randn(100 + i % 20, width, device=like.device, dtype=like.dtype) * 0.02 for i in range(number)]


def transformers_search(model: Any, prompts: list[Tensor], options: GenerationOptions, num_tokens: int) -> Tensor:
    """Return the tokens that transformers generates."""
    embeds_BUE = pad_sequence(prompts, batch_first=True, padding_side="left")
    lens_B = torch.tensor([len(prompt) for prompt in prompts], device=embeds_BUE.device)
    columns_U = torch.arange(embeds_BUE.shape[1], device=lens_B.device)
    mask_BU = (columns_U >= embeds_BUE.shape[1] - lens_B[:, None]).long()
    search = GenerationConfig(
        do_sample=False,
        num_beams=options.num_beams,
        min_new_tokens=num_tokens,
        max_new_tokens=num_tokens,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    tokens: Tensor = model.generate(inputs_embeds=embeds_BUE, attention_mask=mask_BU, generation_config=search)
    return tokens


def random_llm(sizes: dict[str, int], device: torch.device) -> Any:
    """Return a Llama of random weights in bfloat16."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=32000, bos_token_id=1, eos_token_id=EOS, **sizes))
    torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(False)


def main(arguments: list[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, for any device")
    parser.add_argument("--searches", type=int, default=3, help="timed searches of a row (%(default)s)")
    parser.add_argument("--limit", type=float, default=330, help="seconds after which no row starts (%(default)s)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="default: on a GPU")
    args = parser.parse_args(arguments)
    end = time.monotonic() + args.limit
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes, batches, num_tokens = (TINY, (4, 2), 12) if args.tiny else (PAPER, (32, 8), 64)
    bench = DecodingBench(random_llm(sizes, device), num_tokens, args.searches, end)
    decoding(bench, *batches, compiles=device.type == "cuda" if args.compile is None else args.compile)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, bfloat16, torch {torch.__version__}; {bench.model.config.num_hidden_layers} layers\n")
    print(*HEADER, *bench.rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
