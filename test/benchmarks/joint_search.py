"""Word error rates of CTC alone, of the LLM alone, and of joint decoding, by the weight of CTC.

    python test/benchmarks/joint_search.py exp/whisper_base_smollm2_ctc dump/.../dev_clean dump/.../test_other

Run in the recipe's folder, on an experiment with a CTC head, in float32 on the CPU. Word error rates in percent,
after LibriSpeech's normaliser; the time is that of the search, loading excluded.
"""

import argparse
import time
from pathlib import Path

import torch

from speechllm.build import load_model
from speechllm.data.batch import Batch
from speechllm.data.dump_dataset import DumpDataset
from speechllm.experiment import read_experiment
from speechllm.interfaces import GenerationOptions
from speechllm.models.speech_llm import SpeechLLM
from speechllm.score.normalize import normalizer
from speechllm.score.wer import count, score

BATCH_SIZE = 16


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path)
    parser.add_argument("dumps", type=Path, nargs="+", help="dumps of test sets")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.2, 0.4, 0.6], help="(%(default)s)")
    parser.add_argument("--beams", type=int, nargs="+", default=[1], help="widths of the search (%(default)s)")
    args = parser.parse_args()
    config = read_experiment(args.exp_dir)
    built = load_model(args.exp_dir, config, torch.float32)
    built.model.merge_adapters()
    print("|set|search|WER|real-time factor|\n|---|---|---|---|")
    for path in args.dumps:
        dump = DumpDataset(path, config.data.transcript)
        utt_ids = sorted(dump.utt_ids, key=lambda utt_id: dump.durations[utt_id])
        examples = [[dump[one] for one in utt_ids[i : i + BATCH_SIZE]] for i in range(0, len(utt_ids), BATCH_SIZE)]
        batches = [built.collate()(some) for some in examples]
        report(path.name, "CTC alone", batches, lambda batch: greedy_ctc(built.model, batch))
        for beams in args.beams:
            for weight in args.weights:
                options = GenerationOptions(num_beams=beams, ctc_weight=weight, length_penalty=float(weight == 0))

                def together(batch: Batch, options: GenerationOptions = options) -> list[str]:
                    max_new_tokens = [config.decode.max_new_tokens(duration) for duration in batch.durations]
                    return [nbest[0].text for nbest in built.model.generate(batch, max_new_tokens, options)]

                report(path.name, f"ctc_weight {weight:g}, num_beams {beams}", batches, together)


def report(name: str, search: str, batches: list[Batch], recognize) -> None:  # type: ignore[no-untyped-def]
    """Print the row of one search."""
    begin = time.perf_counter()
    found = {key: text for batch in batches for key, text in zip(batch.utt_ids, recognize(batch), strict=True)}
    seconds = time.perf_counter() - begin
    reference = {key: text for batch in batches for key, text in zip(batch.utt_ids, batch.texts, strict=True)}
    counts = count(score(reference, found, normalizer("librispeech")))
    speech = sum(duration for batch in batches for duration in batch.durations)
    print(f"|{name}|{search}|{counts.percentages[4]:.1f}|{seconds / speech:.3f}|", flush=True)


@torch.inference_mode()
def greedy_ctc(model: SpeechLLM, batch: Batch) -> list[str]:
    """Return the texts of the best labels, repetitions and blanks removed."""
    posteriors = model.connect(batch).posteriors
    assert posteriors is not None, "the connector has no CTC head; name an experiment of type ctc"
    texts = []
    for best_M, length in zip(posteriors.log_probs_BMC.argmax(-1), posteriors.stacked_lens_B.tolist(), strict=True):
        ids = [posteriors.subwords.ids[one - 1] for one in best_M[:length].unique_consecutive().tolist() if one > 0]
        texts.append(" ".join(model.decoder.tokenizer.decode(ids).split()))
    return texts


if __name__ == "__main__":
    main()
