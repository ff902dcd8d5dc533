"""Scoring of the decoded sets of an experiment with the references of their data directories."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from speechllm.data.derive.sets import DataSet
from speechllm.data.kaldi.data_dir import read_data_dir, read_language
from speechllm.data.kaldi.recordings import files_and_channels
from speechllm.data.language import WITHOUT_SPACES, language_code
from speechllm.report import tables
from speechllm.score import biasing, directory, transcripts
from speechllm.score.biasing import score_biasing
from speechllm.score.nist import ctm
from speechllm.score.nist.stm import Segment
from speechllm.score.non_speech import TABLE, score_non_speech
from speechllm.score.normalize import normalizer, split_letters


def score_sets(sets: Sequence[DataSet], exp_dir: Path, tag: str, normalizer_name: str) -> str:
    """Write scores to ``score`` in each directory of hypotheses, and return the tables.

    A data directory with ``ref.stm`` is scored by recordings; one without transcripts is non-speech. A language without
    spaces between words is scored by characters.

    Args:
        sets: decoded sets.
        exp_dir: directory of the experiment.
        tag: name of the decoding; empty for the decode section of the experiment.
        normalizer_name: name of the text normaliser, for sets with a Kaldi text.
    """
    scores, parts = {}, []
    for one in sets:
        out_dir, data_dir = one.decode_dir(exp_dir, tag), one.data_dir
        if (data_dir / "ref.stm").exists():
            parts.append(write_ctm(data_dir, out_dir / "text", out_dir / "hyp.ctm") + "\n")
            glm = data_dir / "ref.glm"
            scored = directory.score_recordings(data_dir / "ref.stm", out_dir / "hyp.ctm", glm)
        elif (data_dir / "wav.scp").exists() and not (data_dir / "text").exists():
            table = score_non_speech(out_dir / "text", data_dir / "utt2dur")
            directory.write_whole(out_dir / "score" / TABLE, table)
            parts.append(table)
            continue
        else:
            by_letters = language_code(read_language(data_dir) or "") in WITHOUT_SPACES
            normalize = normalizer(normalizer_name, None)
            scored = directory.score_files(
                data_dir / "text",
                out_dir / "text",
                split_letters(normalize) if by_letters else normalize,
                truncated=out_dir / "truncated",
                utt2dur=data_dir / "utt2dur",
            )
        directory.write_directory(out_dir / "score", scored)
        if (data_dir / "context").exists() and scored.summary.unit == "word":
            table = score_biasing(scored.words, data_dir / "context", normalizer(normalizer_name, None))
            directory.write_whole(out_dir / "score" / biasing.TABLE, table)
            parts.append(f"{out_dir.name}, words in the contexts and others:\n\n{table}")
        scores[out_dir.name] = scored.summary
        parts.append(f"{out_dir.name}: {tables.describe(scored.summary)}")
    found = [tables.table(scores, characters=characters) for characters in (False, True)]
    return "\n".join([one for one in found if one] + parts)


def write_ctm(data_dir: Path, hyp: Path, out: Path) -> str:
    """Write the hypotheses of segments as words of recordings.

    Word times are from ``words.ctm`` in the directory of the hypotheses, written by decoding with
    ``decode.word_times``; words of other segments are spread evenly over their segment.

    Args:
        data_dir: data directory with the segments.
        hyp: hypotheses, a Kaldi text or ``.trn``.
        out: CTM file to write.

    Returns:
        A summary sentence.
    """
    utts = read_data_dir(data_dir, need_text=False).utts
    places = files_and_channels(data_dir, [utt.recording or utt.utt_id for utt in utts])
    segments = {
        utt.utt_id: Segment(
            recording=places[utt.recording or utt.utt_id][0],
            channel=places[utt.recording or utt.utt_id][1],
            speaker=utt.speaker,
            start=utt.start,
            end=utt.start + utt.duration,
        )
        for utt in utts
    }
    timed: defaultdict[str, list[ctm.Word]] = defaultdict(list)
    if (aligned := hyp.parent / ctm.UTTERANCE_WORDS).is_file():
        for word in ctm.read_ctm(aligned):
            timed[word.recording].append(word)
    words = ctm.words_of(segments, transcripts.read(hyp), hyp, timed)
    directory.write_whole(out, ctm.ctm_lines(words))
    aligned_too = len(timed.keys() & segments.keys())
    times = f", {aligned_too} of them with aligned word times" if aligned_too else ""
    return f"{out}: {len(words)} words of {len(segments)} segments{times}"
