"""Score directories: ``ref.trn``, ``hyp.trn``, ``result.txt``, ``analysis.md`` and ``score.json``.

The directory of recordings also holds ``ref.stm`` and ``hyp.ctm`` as they were compared. With character scores it also
holds ``ref_cer.trn``, ``hyp_cer.trn`` and ``result_cer.txt``. ``score.json`` is written last: a directory with it is
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
    """Counts, and the 95% confidence interval of the error rate (percent)."""

    counts: Counts
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Content of ``score.json``."""

    normalizer: str
    wer: Rate
    raw: Counts
    """Counts without normalisation."""
    cer: Rate | None
    empty: list[str]
    """Utterances with an empty hypothesis before normalisation."""
    emptied: list[str]
    """Utterances with a hypothesis that normalisation empties."""
    stripped: list[str]
    """Utterances with digits, or letters beyond A to Z, deleted from the hypothesis by the normaliser."""
    stripped_references: list[str]
    """Utterances with such characters deleted from the reference."""
    loops: list[str]
    """Utterances with a repetition loop; see ``failures.repetition_loops``."""
    truncated: list[str] | None
    """Utterances with a hypothesis of ``max_new_tokens`` tokens; None: unknown."""
    deletion_bursts: list[str]
    """Utterances with a deletion burst; see ``failures.deletion_bursts``."""
    refusals: list[str]
    """Utterances with a refusal; see ``failures.refusals``."""
    successful: Rate | None
    """Word error rate of the utterances without such failures; None: there are none."""
    unit: Unit = "word"
    """``word``, or ``character`` in languages without spaces between words: each letter counts as a word."""

    @property
    def rate_name(self) -> str:
        """WER, or CER if each letter counts as a word."""
        return "CER" if self.unit == "character" else "WER"


@dataclass(frozen=True, kw_only=True)
class Stripped:
    """Utterances with digits, or letters beyond A to Z, that the normaliser deletes."""

    references: list[str] = field(default_factory=list)
    hypotheses: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Summary of a score, with the aligned utterances and files."""

    summary: Summary
    words: list[ScoredUtterance]
    characters: list[ScoredUtterance] | None
    durations: Mapping[str, float] | None
    """Known durations of utterances (seconds)."""
    files: Mapping[str, str]
    """Contents of further files by name."""


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
        ref_path: references, Kaldi ``text`` or ``.trn``.
        hyp_path: hypotheses of the same utterances in any order, in the same formats.
        normalize: normaliser of both.
        truncated: file of the ids of utterances that reached ``max_new_tokens``.
        utt2dur: Kaldi's file of durations, with all utterances.
        characters: whether to compute the character error rate as well.

    Raises:
        DataError: if a file is malformed or the two have different utterances.
    """
    ref, hyp = transcripts.read(ref_path), transcripts.read(hyp_path)
    transcripts.check_same_utterances(ref, hyp, ref_path, hyp_path)
    cut = None if truncated is None else _read_truncated(truncated, hyp, hyp_path)
    alternatives = ref_path.suffix == ".trn"  # markup in .trn; in Kaldi's text braces are words
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
    """Score the words of whole recordings (CTM) against reference segments (STM), as for telephone speech.

    Args:
        ref_path: STM file.
        hyp_path: CTM file.
        glm_path: global mapping of both; None: no mapping.

    Raises:
        DataError: if a file is malformed, or a channel has no segment.
    """
    segments, hyp = stm.read_stm(ref_path), ctm.read_ctm(hyp_path)
    raw: list[ScoredUtterance] = list(telephone.score_segments(segments, hyp, ref_path, hyp_path))
    name = "none (1)"
    if glm_path is not None:
        segments = telephone.map_segments(segments, glm.read_glm(glm_path, "stm", "ref"))
        hyp = telephone.map_words(hyp, glm.read_glm(glm_path, "ctm", "hyp"))
        digest = hashlib.sha256(glm_path.read_bytes()).hexdigest()[:8]
        name = f"GLM {glm_path.name} ({digest})"
    scored = telephone.score_segments(segments, hyp, ref_path, hyp_path)
    words: list[ScoredUtterance] = list(scored)
    return Scored(
        summary=_summarize(words, None, None, name, raw, Stripped()),
        words=words,
        characters=None,
        durations=telephone.durations_of(words),
        files={"ref.stm": stm.stm_lines(segments), "hyp.ctm": ctm.ctm_lines(hyp)},
    )


def write_directory(out: Path, scored: Scored) -> None:
    """Write a score to the directory ``out``, which is created if missing.

    Raises:
        DataError: if writing fails.
    """
    if (out / SUMMARY).exists():
        (out / SUMMARY).unlink()  # an earlier score becomes invalid
    for name, content in scored.files.items():
        write_whole(out / name, content)
    _write_alignment(out, scored.words, "", title="hyp.ctm" if "hyp.ctm" in scored.files else "hyp.trn")
    if scored.characters:
        _write_alignment(out, scored.characters, "_cer", title="hyp_cer.trn")
    write_whole(out / "analysis.md", analysis.describe(scored.words, scored.durations))
    write_whole(out / SUMMARY, json.dumps(asdict(scored.summary), indent=1, ensure_ascii=False) + "\n")


def read_summary(path: Path) -> Summary:
    """Read a file ``score.json``.

    Raises:
        DataError: if it is not an output of ``write_directory``.
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
        raise DataError(f"{path}: not a score of speechllm ({error}); score that directory again") from error


def read_words(directory: Path) -> list[ScoredUtterance]:
    """Align the normalised references and hypotheses of a score directory again."""
    if (directory / "ref.stm").is_file():
        segments, hyp_words = stm.read_stm(directory / "ref.stm"), ctm.read_ctm(directory / "hyp.ctm")
        return list(telephone.score_segments(segments, hyp_words))
    ref, hyp = transcripts.read(directory / "ref.trn"), transcripts.read(directory / "hyp.trn")
    if different := sorted(ref.keys() ^ hyp.keys()):
        raise DataError(
            f"{directory}: {len(different)} utterances are in only one of ref.trn and hyp.trn: "
            f"{transcripts.name_some(different)}; score that set again"
        )
    return wer.score(ref, hyp, normalizer("none"))


def write_whole(path: Path, content: str) -> None:
    """Write a text file atomically: write to a temporary name and rename.

    Raises:
        DataError: if writing fails, for instance because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        hint = "expected a writable directory with free space; choose another directory"
        raise DataError(f"{path}: cannot be written ({error.strerror}), {hint}") from error


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
            "references: found 0 words, expected at least one; check whether all are empty alternatives (@)"
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
