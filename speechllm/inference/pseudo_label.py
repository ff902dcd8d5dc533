"""Pseudo-labels: filtered hypotheses of a model as transcripts of untranscribed speech.

Utterances are dropped for low confidence and for failures that training would reinforce, as is usual in self-training
(Kahn et al. 2020, arXiv 1909.09116). With existing transcripts, such as prompts, the transcripts are kept, and
utterances are dropped if the hypothesis differs too much.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speechllm.data.kaldi.data_dir import Utterance, directory_fingerprint, read_data_dir, write_data_dir
from speechllm.data.kaldi.dropped import kind, none_left, tell_dropped
from speechllm.data.kaldi.target import check_target, is_made
from speechllm.errors import ConfigError
from speechllm.inference.jobs import best_hypothesis
from speechllm.interfaces import Hypothesis, Seconds
from speechllm.provenance import fingerprint
from speechllm.score.align import align_all
from speechllm.score.failures import LOOP_REPEATS, most_repeats
from speechllm.score.normalize import Normalizer
from speechllm.score.wer import ScoredUtterance


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Conditions on the hypothesis of an utterance.

    Attributes:
        min_confidence: least mean log-probability of the tokens (nats).
        min_rate: least number of characters per second.
        max_rate: largest number of characters per second.
        max_wer: largest word error rate (percent) against an existing transcript, which is then kept; None: the
            hypothesis becomes the transcript.
    """

    min_confidence: float = -0.3
    min_rate: float = 4.0
    max_rate: float = 25.0
    max_wer: float | None = None

    def __post_init__(self) -> None:
        """Check that hypotheses can satisfy all conditions."""
        if self.min_confidence >= 0:
            raise ConfigError(f"min_confidence: found {self.min_confidence:g}, expected a log-probability, less than 0")
        if not 0 <= self.min_rate < self.max_rate:
            raise ConfigError(
                f"min_rate and max_rate: found {self.min_rate:g} and {self.max_rate:g}, expected at least 0 and a "
                "larger number"
            )

    def reason(self, hypothesis: Hypothesis, duration: Seconds) -> str | None:
        """Return the first violated condition as ``kind: detail``; None if the hypothesis satisfies all conditions."""
        words, rate = hypothesis.text.split(), len(hypothesis.text) / duration
        if not words:
            return "empty"
        if hypothesis.truncated:
            return "truncated"
        if most_repeats(words) >= LOOP_REPEATS:
            return "repetition loop"
        if not self.min_rate <= rate <= self.max_rate:
            return f"length ratio: {rate:.1f} characters per second"
        if not hypothesis.tokens:
            return "no confidence: longer than a window"
        if (confidence := mean_log_prob(hypothesis)) < self.min_confidence:
            return f"confidence: {confidence:.2f}"
        return None


def mean_log_prob(hypothesis: Hypothesis) -> float:
    """Return the mean log-probability (nats) of the tokens of a hypothesis with at least one token."""
    return sum(score for _, score in hypothesis.tokens) / len(hypothesis.tokens)


def write_pseudo_labelled(source: Path, decoded: Path, target: Path, keep: Filter, normalizer: Normalizer) -> None:
    """Write a data directory of the utterances that pass the filter, with their new transcripts.

    Args:
        source: data directory of the speech.
        decoded: directory of the hypotheses of all utterances.
        target: new data directory; unchanged if it was written by an equal call before.
        keep: filter of hypotheses.
        normalizer: normaliser of hypotheses, for the same conventions as in other transcripts.

    Raises:
        DataError: if no utterance passes the filter.
    """
    nbest = decoded / "nbest.jsonl"
    digest = fingerprint(nbest.read_text(encoding="utf-8"), asdict(keep), repr(normalizer))
    made_by = f"pseudo_label {digest}\n{directory_fingerprint(source)}\n"
    if is_made(target, made_by):
        return
    check_target(target, [source, decoded])
    kept: list[Utterance] = []
    dropped: dict[str, str] = {}
    hypotheses = dict(_read(nbest))
    for utt in read_data_dir(source, need_text=keep.max_wer is not None).utts:
        labelled, reason = _label(utt, hypotheses[utt.utt_id], keep, normalizer)
        if reason is None:
            kept.append(labelled)
        else:
            dropped[utt.utt_id] = reason
    kinds = Counter(map(kind, dropped.values()))
    if not kept:
        raise none_left(source, kinds, list(dropped.items())[:1])
    write_data_dir(target, kept, dropped, made_by)
    tell_dropped(target, kinds)


def _label(
    utt: Utterance, hypothesis: Hypothesis, keep: Filter, normalizer: Normalizer
) -> tuple[Utterance, str | None]:
    """Return the utterance with its transcript, and the reason to drop it; None to keep it."""
    reason = keep.reason(hypothesis, utt.duration)
    text = normalizer(hypothesis.text)
    if keep.max_wer is None:
        if reason is None and normalizer.ignores_characters(hypothesis.text):
            reason = f"deleted characters: {normalizer.name} deletes digits or letters of the hypothesis"
        return replace(utt, text=text), reason or (None if text else "empty")
    if reason is None and (wer := _wer(normalizer(utt.text or ""), text)) > keep.max_wer:
        reason = f"disagreement: {wer:.0f}% WER"
    return utt, reason


def _wer(ref: str, hyp: str) -> float:
    """Return the word error rate in percent; infinite for insertions with an empty reference."""
    words, found = ref.split(), hyp.split()
    (alignment,) = align_all([(words, found)])
    errors = ScoredUtterance(utt_id="", ref=words, hyp=found, alignment=alignment).errors
    return 100 * errors / len(words) if words else math.inf * errors if errors else 0.0


def _read(path: Path) -> Iterator[tuple[str, Hypothesis]]:
    """Yield the id and best hypothesis of each utterance."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row: dict[str, Any] = json.loads(line)
            yield row["utt_id"], best_hypothesis(row)
