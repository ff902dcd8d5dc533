"""The score directory: ``ref.trn``, ``hyp.trn``, ``result.txt``, ``analysis.md`` and ``score.json``.

Of recordings, ``ref.stm`` and ``hyp.ctm`` stand there, too, as they were compared. With characters scored too, so do
``ref_cer.trn``, ``hyp_cer.trn`` and ``result_cer.txt``. ``score.json`` is written last: where it is, the directory is
complete.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from speechllm.errors import DataError
from speechllm.score import analysis, failures, transcripts, wer
from speechllm.score.nist import ctm, glm, stm, telephone
from speechllm.score.normalize import Normalizer, normalizer, split_letters
from speechllm.score.sclite import format_result
from speechllm.score.wer import Counts, ScoredUtterance, Unit

SUMMARY = "score.json"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Counts and the 95% confidence interval of the error rate in percent."""

    counts: Counts
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What ``score.json`` holds of a score."""

    normalizer: str
    wer: Rate
    raw: Counts
    """Counts without normalisation."""
    cer: Rate | None
    empty: list[str]
    """Utterances with a hypothesis that is empty before normalisation."""
    emptied: list[str]
    """Utterances with a hypothesis that only normalisation empties."""
    stripped: list[str]
    """Utterances with a hypothesis whose digits, or letters beyond A to Z, the normaliser deletes."""
    stripped_references: list[str]
    """Likewise of the references."""
    loops: list[str]
    """Utterances with a hypothesis that repeats itself; see ``failures.repetition_loops``."""
    truncated: list[str] | None
    """Utterances whose hypothesis reached ``max_new_tokens``; None: not known."""
    deletion_bursts: list[str]
    """Utterances with at least 8 deletions in a row; see ``failures.deletion_bursts``."""
    refusals: list[str]
    """Utterances to which the LLM answers instead of transcribing them; see ``failures.refusals``."""
    successful: Rate | None
    """Word error rate of the utterances that fail in none of these ways; None: there are none."""
    unit: Unit = "word"
    """``character``: each letter counts as a word, in a language without spaces between words."""

    @property
    def rate_name(self) -> str:
        """WER or, if each letter counts as a word, CER."""
        return "CER" if self.unit == "character" else "WER"


@dataclass(frozen=True, kw_only=True)
class Stripped:
    """Utterances whose text has digits, or letters beyond A to Z, that the normaliser deletes."""

    references: list[str] = field(default_factory=list)
    hypotheses: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A score: its summary, and what it is the summary of."""

    summary: Summary
    words: list[ScoredUtterance]
    characters: list[ScoredUtterance] | None
    durations: Mapping[str, float] | None
    """Duration of each utterance (seconds), where known."""
    files: Mapping[str, str]
    """Further files of the directory by their names."""


def score_files(
    ref_path: Path,
    hyp_path: Path,
    normalize: Normalizer,
    *,
    truncated: Path | None = None,
    utt2dur: Path | None = None,
    characters: bool = False,
) -> Scored:
    """Score the hypotheses of one file against the references of another.

    Args:
        ref_path: Kaldi ``text`` or ``.trn``; so is ``hyp_path``, with the same utterances in any order.
        hyp_path: the hypotheses.
        normalize: applied to both.
        truncated: a list of the ids of utterances whose hypothesis reached ``max_new_tokens``.
        utt2dur: Kaldi's file of durations, which must hold all utterances.
        characters: whether the character error rate is taken as well.

    Raises:
        DataError: if a file is wrong or the two do not hold the same utterances.
    """
    ref, hyp = transcripts.read(ref_path), transcripts.read(hyp_path)
    transcripts.check_same_utterances(ref, hyp, ref_path, hyp_path)
    cut = None if truncated is None else _read_truncated(truncated, hyp, hyp_path)
    alternatives = ref_path.suffix == ".trn"  # there they are markup, in Kaldi's text braces are words
    if alternatives:
        wer.check_alternatives(ref, ref_path)
    words = wer.score(ref, hyp, normalize, alternatives=alternatives)
    chars = wer.score(ref, hyp, normalize, "character") if characters else None
    durations = None if utt2dur is None else transcripts.read_durations(utt2dur, ref)
    plain = split_letters(normalizer("none")) if normalize.splits_letters else normalizer("none")
    raw = words if normalize.name == "none" else wer.score(ref, hyp, plain)
    stripped = Stripped(
        references=[utt_id for utt_id, text in ref.items() if normalize.ignores_characters(text)],
        hypotheses=[utt_id for utt_id in ref if normalize.ignores_characters(hyp[utt_id])],
    )
    summary = _summarize(words, chars, cut, str(normalize), raw, stripped)
    if normalize.splits_letters:
        summary = replace(summary, unit="character")
    return Scored(summary=summary, words=words, characters=chars, durations=durations, files={})


def score_recordings(ref_path: Path, hyp_path: Path, glm_path: Path | None) -> Scored:
    """Score the words of whole recordings (CTM) against their segments (STM), as telephone speech is.

    Args:
        ref_path: STM file.
        hyp_path: CTM file.
        glm_path: global mapping that is applied to both; None: they are compared as they stand.

    Raises:
        DataError: if a file is wrong, or a channel has no segment.
    """
    segments, heard = stm.read_stm(ref_path), ctm.read_ctm(hyp_path)
    raw: list[ScoredUtterance] = list(telephone.score_segments(segments, heard, ref_path, hyp_path))
    name = "none (1)"
    if glm_path is not None:
        segments = telephone.map_segments(segments, glm.read_glm(glm_path, "stm", "ref"))
        heard = telephone.map_words(heard, glm.read_glm(glm_path, "ctm", "hyp"))
        digest = hashlib.sha256(glm_path.read_bytes()).hexdigest()[:8]
        name = f"GLM {glm_path.name} ({digest})"
    scored = telephone.score_segments(segments, heard, ref_path, hyp_path)
    words: list[ScoredUtterance] = list(scored)
    return Scored(
        summary=_summarize(words, None, None, name, raw, Stripped()),
        words=words,
        characters=None,
        durations=telephone.durations_of(words),
        files={"ref.stm": stm.stm_lines(segments), "hyp.ctm": ctm.ctm_lines(heard)},
    )


def write_directory(out: Path, scored: Scored) -> None:
    """Write the directory ``out``, which is made where it is not there.

    Raises:
        DataError: if that is not possible.
    """
    if (out / SUMMARY).exists():
        (out / SUMMARY).unlink()  # of an earlier score, which ends here
    for name, content in scored.files.items():
        write_whole(out / name, content)
    _write_alignment(out, scored.words, "", title="hyp.ctm" if "hyp.ctm" in scored.files else "hyp.trn")
    if scored.characters:
        _write_alignment(out, scored.characters, "_cer", title="hyp_cer.trn")
    write_whole(out / "analysis.md", analysis.describe(scored.words, scored.durations))
    write_whole(out / SUMMARY, json.dumps(asdict(scored.summary), indent=1, ensure_ascii=False) + "\n")


def read_summary(path: Path) -> Summary:
    """Read a ``score.json``.

    Raises:
        DataError: if it is not what ``score_files`` writes.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        cer = _rate_from(tree.pop("cer"))
        word_rate, successful = _rate_from(tree.pop("wer")), _rate_from(tree.pop("successful"))
        raw = Counts(**tree.pop("raw"))
        if word_rate is None:
            raise TypeError("wer is null")
        return Summary(wer=word_rate, raw=raw, cer=cer, successful=successful, **tree)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no score of speechllm ({error}); score that directory again") from error


def read_words(directory: Path) -> list[ScoredUtterance]:
    """Align the normalised references and hypotheses that a score directory holds once more."""
    if (directory / "ref.stm").is_file():
        segments, heard = stm.read_stm(directory / "ref.stm"), ctm.read_ctm(directory / "hyp.ctm")
        return list(telephone.score_segments(segments, heard))
    ref, hyp = transcripts.read(directory / "ref.trn"), transcripts.read(directory / "hyp.trn")
    if different := sorted(ref.keys() ^ hyp.keys()):
        raise DataError(
            f"{directory}: {len(different)} utterances are in one of ref.trn and hyp.trn only: "
            f"{transcripts.name_some(different)}; score that set again"
        )
    return wer.score(ref, hyp, normalizer("none"))


def write_whole(path: Path, content: str) -> None:
    """Write a text file under a temporary name and rename it, so that it is never seen half written.

    Raises:
        DataError: if that is not possible, for instance because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        hint = "expected a place with room to write to; choose another directory"
        raise DataError(f"{path}: cannot be written, found: {error.strerror}; {hint}") from error


def _summarize(
    words: Sequence[ScoredUtterance],
    chars: Sequence[ScoredUtterance] | None,
    truncated: list[str] | None,
    normalizer_name: str,
    raw: Sequence[ScoredUtterance],
    stripped: Stripped,
) -> Summary:
    loops, bursts, refusals = (
        find(words) for find in (failures.repetition_loops, failures.deletion_bursts, failures.refusals)
    )
    if not any(utterance.ref for utterance in words):
        raise DataError(
            "references: found no word in any of them, expected at least one; are all empty alternatives (@)?"
        )
    empty = failures.empty_hypotheses(raw)
    was_empty = set(empty)
    failed = {*loops, *bursts, *refusals, *(truncated or [])}
    whole = [utterance for utterance in words if utterance.utt_id not in failed]
    return Summary(
        normalizer=normalizer_name,
        wer=_rate(words),
        raw=wer.count(raw),
        cer=_rate(chars) if chars else None,
        empty=empty,
        emptied=[utt_id for utt_id in failures.empty_hypotheses(words) if utt_id not in was_empty],
        stripped=stripped.hypotheses,
        stripped_references=stripped.references,
        loops=loops,
        truncated=truncated,
        deletion_bursts=bursts,
        refusals=refusals,
        successful=_rate(whole) if any(utterance.ref for utterance in whole) else None,
    )


def _rate(utterances: Sequence[ScoredUtterance]) -> Rate:
    return Rate(counts=wer.count(utterances), interval=wer.bootstrap_interval(utterances))


def _rate_from(tree: dict[str, Any] | None) -> Rate | None:
    if tree is None:
        return None
    low, high = tree["interval"]
    return Rate(counts=Counts(**tree["counts"]), interval=(low, high))


def _write_alignment(out: Path, utterances: Sequence[ScoredUtterance], suffix: str, title: str) -> None:
    for side, texts in (
        ("ref", ((u.utt_id, " ".join(u.ref)) for u in utterances)),
        ("hyp", ((u.utt_id, " ".join(u.hyp)) for u in utterances)),
    ):
        write_whole(out / f"{side}{suffix}.trn", transcripts.trn_lines(texts))
    write_whole(out / f"result{suffix}.txt", format_result(utterances, title))


def _read_truncated(path: Path, hyp: transcripts.Transcripts, hyp_path: Path) -> list[str]:
    utt_ids = transcripts.read_ids(path)
    if unknown := [utt_id for utt_id in utt_ids if utt_id not in hyp]:
        raise DataError(f"{path}: {len(unknown)} utterances are not in {hyp_path}: {transcripts.name_some(unknown)}")
    return utt_ids
