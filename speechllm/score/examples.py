"""Examples of hypotheses with their references."""

from pathlib import Path

from speechllm.score import transcripts


def examples(ref_path: Path, hyp_path: Path, number: int) -> str:
    """Return ``number`` utterances, evenly spaced over the set, without normalisation, in three lines each."""
    ref, hyp = transcripts.read(ref_path), transcripts.read(hyp_path)
    transcripts.check_same_utterances(ref, hyp, ref_path, hyp_path)
    utt_ids = list(ref)
    number = min(number, len(utt_ids))
    chosen = [utt_ids[(2 * k + 1) * len(utt_ids) // (2 * number)] for k in range(number)]
    return "\n".join(f"{utt_id}\nREF: {ref[utt_id]}\nHYP: {hyp[utt_id]}\n" for utt_id in chosen)
