"""Data directories with biasing lists as contexts, to measure recognition of hot words.

As in Le et al. (2021, arXiv 2104.02194), the list of an utterance holds its own rare words and distractors, drawn from
the rare words of the training transcripts. Rare words are all but the most frequent of the training transcripts.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from speechllm.data.config import HotWordOptions
from speechllm.data.context import HotWords
from speechllm.data.kaldi.data_dir import directory_fingerprint, is_made, read_data_dir, write_data_dir
from speechllm.data.kaldi.target import check_target


def make_biasing_lists(
    source: str | Path,
    target: str | Path,
    train: Sequence[str | Path],
    *,
    common: int = 5000,
    distractors: int = 100,
    seed: int = 0,
) -> bool:
    """Write a copy of ``source`` with a biasing list as the context of each utterance.

    Args:
        source: data directory with transcripts.
        target: data directory.
        train: data directories of the training transcripts.
        common: number of most frequent words, which are excluded.
        distractors: number of distractors in each list; fewer if the rare words do not suffice.
        seed: random seed.

    Returns:
        Whether anything was written; False if the target is complete.

    Raises:
        DataError: if the training transcripts have no rare word.
    """
    fingerprint = "\n".join(
        [f"biasing_lists {[common, distractors, seed]}", *map(directory_fingerprint, [source, *train]), ""]
    )
    if is_made(target, fingerprint):
        return False
    check_target(target, [source, *train])
    texts = (utt.text or "" for one in train for utt in read_data_dir(one).utts)
    hot_words = HotWords(texts, HotWordOptions(common=common, distractors=distractors), seed)
    utts = read_data_dir(source).utts
    listed = [replace(utt, context=hot_words.biasing_list(utt.utt_id, utt.text or "")) for utt in utts]
    write_data_dir(target, listed, fingerprint=fingerprint)
    return True
