"""Word error rates of words in biasing lists and of other words, and leaks of hot words into hypotheses.

As in Le et al. (2021, arXiv 2104.02194), a substitution or deletion counts for B-WER if the reference word is in the
utterance's list, an insertion if the inserted word is in the list; all others count for U-WER.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechllm.errors import DataError
from speechllm.score import transcripts
from speechllm.score.markdown import markdown_table
from speechllm.score.normalize import Normalizer
from speechllm.score.wer import ScoredUtterance, bootstrap

TABLE = "biasing.md"
COLUMNS = ("words", "Wrd", "Sub", "Del", "Ins", "Err", "95% interval")


def score_biasing(utterances: Sequence[ScoredUtterance], context_path: Path, normalize: Normalizer) -> str:
    """Return a Markdown table of WER, B-WER and U-WER, and a sentence with the leak count.

    Args:
        utterances: aligned utterances.
        context_path: Kaldi table of contexts with hot words, separated by spaces or commas.
        normalize: normaliser of the utterances, also applied to the hot words.

    Raises:
        DataError: if the table cannot be read or lacks an utterance.
    """
    contexts = transcripts.read(context_path)
    utt_ids = [utterance.utt_id for utterance in utterances]
    if missing := [utt_id for utt_id in utt_ids if utt_id not in contexts]:
        raise DataError(
            f"{context_path}: {len(missing)} of {len(utt_ids)} utterances have no context: "
            f"{transcripts.name_some(missing)}; expected a line for each, maybe with an empty list; add them"
        )
    listed = {utt_id: set(normalize(contexts[utt_id].replace(",", " ")).split()) for utt_id in utt_ids}
    rows = [
        _row("all (WER)", utterances, None, listed),
        _row("in the list (B-WER)", utterances, True, listed),
        _row("not in the list (U-WER)", utterances, False, listed),
    ]
    number = sum(map(len, listed.values())) / len(listed)
    leaks = count_leaks(utterances, listed)
    sentence = f"{leaks} leaks: hot words in a hypothesis but not in its reference; {number:.1f} hot words per list."
    return f"{markdown_table([COLUMNS, *rows])}\n{sentence}\n"


def count_leaks(utterances: Sequence[ScoredUtterance], listed: Mapping[str, set[str]]) -> int:
    """Return the number of words of hypotheses that are in the utterance's list but not in its reference."""
    return sum(
        word in listed[utterance.utt_id] and word not in utterance.ref
        for utterance in utterances
        for word in utterance.hyp
    )


def _row(
    name: str, utterances: Sequence[ScoredUtterance], inside: bool | None, listed: Mapping[str, set[str]]
) -> tuple[str, ...]:
    """Return the row of the words in the lists, of those not in the lists, or of all words (``inside`` None)."""
    letters = []
    for utterance in utterances:
        hot = listed[utterance.utt_id]
        letters.append(
            "".join(
                letter
                for letter, ref, hyp in utterance.columns()
                if inside is None or ((hyp if letter == "I" else ref) in hot) == inside
            )
        )
    words = [len(one) - one.count("I") for one in letters]
    errors = [sum(map(one.count, "SDI")) for one in letters]
    total = sum(words)
    if not total:
        return name, "0", *("-" for _ in COLUMNS[2:])
    shares = [f"{sum(one.count(letter) for one in letters) / total * 100:.1f}" for letter in "SDI"]
    low, high = bootstrap(errors, words, seed=0)
    return name, str(total), *shares, f"{sum(errors) / total * 100:.2f}", f"{low:.1f}-{high:.1f}"
