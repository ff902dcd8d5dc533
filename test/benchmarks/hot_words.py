"""CTC distances of the hot words of a set: of those that are spoken, and of distractors.

    python test/benchmarks/hot_words.py exp/hot_words dump/log_mel_80/test_biased

Run in the recipe's folder, on an experiment with a CTC head and the dump of a set with biasing lists. Prints the shares
that ``decode.search.hot_word_distance`` keeps, as a Markdown table.
"""

import argparse
from pathlib import Path

import torch

from speechllm.build import load_model
from speechllm.data.dump_dataset import DumpDataset
from speechllm.experiment import read_experiment
from speechllm.models.hot_words import hot_word_distances, split_hot_words

BATCH_SIZE = 16
DISTANCES = (0.5, 1, 2, 3, 4, 6, 8)


@torch.inference_mode()
def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path)
    parser.add_argument("dump", type=Path, help="dump of a set with biasing lists")
    args = parser.parse_args()
    config = read_experiment(args.exp_dir)
    built = load_model(args.exp_dir, config, torch.float32)
    dump = DumpDataset(args.dump, config.data.transcript)
    utt_ids = sorted(dump.utt_ids, key=lambda utt_id: dump.durations[utt_id])
    spoken: list[float] = []
    distractors: list[float] = []
    for begin in range(0, len(utt_ids), BATCH_SIZE):
        batch = built.collate()([dump[utt_id] for utt_id in utt_ids[begin : begin + BATCH_SIZE]])
        posteriors = built.model.connect(batch).posteriors
        assert posteriors is not None, "the connector has no CTC head; name an experiment of type ctc or whisper_ctc"
        lens = posteriors.stacked_lens_B.tolist()
        utts = zip(batch.contexts, batch.texts, posteriors.log_probs_BMC, lens, strict=True)
        for context, text, log_probs_MC, length in utts:
            words = split_hot_words(context)
            distances = hot_word_distances(words, log_probs_MC[:length], posteriors.subwords)
            for word, distance in zip(words, distances, strict=True):
                (spoken if word in text.split() else distractors).append(distance)
    print(f"{len(spoken)} spoken hot words and {len(distractors)} distractors of {len(utt_ids)} utterances\n")
    print("|largest distance|spoken hot words kept|distractors kept|\n|---|---|---|")
    for largest in DISTANCES:
        shares = [sum(one <= largest for one in some) / max(1, len(some)) for some in (spoken, distractors)]
        print(f"|{largest:g}|{shares[0]:.1%}|{shares[1]:.2%}|")


if __name__ == "__main__":
    main()
