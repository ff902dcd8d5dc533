"""Training and decoding compared with transformers' Trainer and generate, with the same weights and utterances.

    cd egs/librispeech
    python ../../test/benchmarks/beside_transformers.py exp/whisper_base_smollm2_fc data/train_clean_5

The loop of transformers runs the encoder in every step, pads all speech to Whisper's 30 s, batches utterances in their
order and computes the logits of every position. speechllm dumps the encoder's states once, which is also measured, and
trains on them padded and packed. The experiment must have LoRA and training on dumped states of a Whisper encoder.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from speechllm import experiment
from speechllm.build import load_model
from speechllm.data.audio.read import read_audio
from speechllm.data.dataset import change_case
from speechllm.data.kaldi.data_dir import Utterance, iter_utterances
from speechllm.data.kaldi.subset import subset_data_dir
from speechllm.models.speech_llm import SpeechLLM
from speechllm.train.metrics import read_metrics

RATE = 16_000


def main() -> None:
    """Print utterances per second for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, help="trained experiment")
    parser.add_argument("data_dir", type=Path, help="data directory with transcripts")
    parser.add_argument("--utterances", type=int, default=128, help="drawn from it (%(default)s)")
    parser.add_argument("--batch_size", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="of training by the plain way (%(default)s)")
    parser.add_argument("--dtype", default="float32", help="of training (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "data"
        subset_data_dir(args.data_dir, part, random=args.utterances, max_duration=17.0)
        utts = list(iter_utterances(part))
        print(f"{len(utts)} utterances, {sum(utt.duration for utt in utts) / len(utts):.1f} s in the mean", flush=True)
        ours(args, part, Path(folder), len(utts))
        plain(args, utts)


def ours(args: argparse.Namespace, part: Path, folder: Path, number: int) -> None:
    """Dump, train one epoch padded and one packed, and decode, by the commands that the recipes run."""
    config = ["--config", str(args.exp_dir / "config.yaml")]
    start = time.perf_counter()
    speechllm("dump", *config, "--dump", folder / "dump", "--data", folder, part.name)
    show("ours, states dumped, once", number, time.perf_counter() - start)
    for packing in ("false", "true"):
        exp, settings = folder / f"packing-{packing}", [f"train.packing={packing}", f"train.dtype={args.dtype}"]
        settings += [f"train.init_from={args.exp_dir}", f"data.batch_size={args.batch_size}", "data.max_duration=17"]
        settings += ["train.ctc_steps=0", "train.log_every=1", "train.decode_utterances=0"]
        settings += ["decoder.lora.dropout=0.0"]  # so that both have one loss
        settings += [f"train.max_steps={max(3, number // args.batch_size)}"]
        options = [f"--set={setting}" for setting in settings]
        sets = ["--dump", folder / "dump", "--train", part.name, "--valid", part.name]
        speechllm("train", *sets, *config, *options, exp)
        rows = [row for row in read_metrics(exp / "metrics.jsonl") if row["kind"] == "train"][1:]
        seconds = [args.batch_size / row["utterances_per_second"] for row in rows]
        loss = sum(row["loss"] for row in rows) / len(rows)
        show(
            f"ours, training, packing: {packing}", args.batch_size * len(rows), sum(seconds), f"; mean loss {loss:.6f}"
        )
    options = [f"--set=decode.batch_size={args.batch_size}", "--job", 1, "--dump", folder / "dump", "--exp", folder]
    speechllm("decode", *options, args.exp_dir, part.name)
    lines = (folder / "decode/data/nbest.1.jsonl").read_text(encoding="utf-8").splitlines()
    show("ours, decoding of dumped states", number, sum(json.loads(line)["seconds"] for line in lines))


def speechllm(*arguments: object) -> None:
    """Run a verb, and print its output only if it fails."""
    command = [sys.executable, "-m", "speechllm", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)


def show(what: str, number: int, seconds: float, more: str = "") -> None:
    """Print a speed."""
    print(f"{what:>36}: {number / seconds:6.2f} utterances a second{more}", flush=True)


def plain(args: argparse.Namespace, utts: list[Utterance]) -> None:
    """Train some steps with transformers' Trainer, and decode two batches with generate."""
    config = experiment.read_experiment(args.exp_dir)
    dtype = getattr(torch, args.dtype)
    model = load_model(args.exp_dir, config, dtype).model
    whisper = transformers.WhisperModel.from_pretrained(config.encoder.path, dtype=dtype)
    plain_model = Plain(model, whisper.encoder, config.data.transcript)
    extractor = transformers.WhisperFeatureExtractor(whisper.config.num_mel_bins)

    def collate(chosen: list[Utterance]) -> dict[str, Any]:
        samples = [read_audio(utt.path, RATE, utt.start, utt.end) for utt in chosen]
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features.to(dtype)
        return {"features": features, "texts": [utt.text for utt in chosen], "ids": [utt.utt_id for utt in chosen]}

    clock = Clock()
    options = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=args.batch_size,
        max_steps=args.steps + 1,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    transformers.Trainer(plain_model, options, train_dataset=utts, data_collator=collate, callbacks=[clock]).train()
    show("transformers, training", args.batch_size * args.steps, clock.times[-1] - clock.times[0])
    model.eval()
    start = time.perf_counter()
    for first in range(0, 2 * args.batch_size, args.batch_size):
        chosen = utts[first : first + args.batch_size]
        plain_model.generate(
            **collate(chosen), max_new_tokens=max(config.decode.max_new_tokens(utt.duration) for utt in chosen)
        )
    show("transformers, decoding", 2 * args.batch_size, time.perf_counter() - start)


class Clock(transformers.TrainerCallback):
    """Times of the ends of the steps."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


class Plain(nn.Module):
    """The same connector and LLM in a straightforward implementation."""

    def __init__(self, model: SpeechLLM, encoder: nn.Module, transcript: Any) -> None:
        super().__init__()
        self.parts, self.encoder, self.transcript = model, encoder.requires_grad_(False), transcript

    def prompts(self, features: Tensor, ids: list[str]) -> Tensor:
        """Return prompt embeddings (B, U, E), all of one length."""
        with torch.no_grad():
            states_BLD = self.encoder(features).last_hidden_state
        lens_B = torch.full((len(states_BLD),), states_BLD.shape[1], device=states_BLD.device)
        speech_BSE, _ = self.parts.connector(states_BLD, lens_B)
        sides = [self.parts.prompt.parts(utt_id, None) for utt_id in ids]
        before, after = (self.embed(list(side)) for side in zip(*sides, strict=True))
        return torch.cat([before, speech_BSE, after], dim=1)

    def embed(self, ids: list[list[int]]) -> Tensor:
        """Return the embeddings (B, U, E) of sequences of one length."""
        return self.parts.decoder.embed(torch.tensor(ids, device=self.parts.decoder.model.device))

    def forward(self, features: Tensor, texts: list[str], ids: list[str]) -> Any:
        """Return the LLM's output, with its loss."""
        prompts_BUE = self.prompts(features, ids)
        tokens = [self.parts.decoder.tokenize(change_case(text, self.transcript), end=True) for text in texts]
        longest = max(map(len, tokens))
        ends = [one + [0] * (longest - len(one)) for one in tokens]
        labels = [[-100] * prompts_BUE.shape[1] + one + [-100] * (longest - len(one)) for one in tokens]
        mask = [[1] * (prompts_BUE.shape[1] + len(one)) + [0] * (longest - len(one)) for one in tokens]
        return self.parts.decoder.model(
            inputs_embeds=torch.cat([prompts_BUE, self.embed(ends)], dim=1),
            attention_mask=torch.tensor(mask, device=prompts_BUE.device),
            labels=torch.tensor(labels, device=prompts_BUE.device),
        )

    @torch.inference_mode()
    def generate(self, features: Tensor, ids: list[str], limit: int, **_: Any) -> Tensor:
        """Return token ids."""
        prompts_BUE = self.prompts(features.to(self.parts.decoder.model.device), ids)
        return self.parts.decoder.model.generate(inputs_embeds=prompts_BUE, max_new_tokens=limit, do_sample=False)


if __name__ == "__main__":
    main()
