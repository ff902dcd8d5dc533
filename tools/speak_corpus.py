"""Synthesis of sentences with free voices as a corpus in LibriSpeech's layout: FLAC, .trans.txt and SPEAKERS.TXT.

A speaker is a voice of a synthesiser, in some cases with changed pitch. The importing programs choose the sentences.
An unfinished corpus is in a hidden directory next to the final one and consists of complete chapters; an interrupted
program continues with the next chapter when it is run again.
"""

import hashlib
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from book_sentences import transcript
from tqdm import tqdm
from voices import load

from speechllm.atomic import new_dir
from speechllm.errors import DataError
from speechllm.lock import exclusive_lock

SAMPLE_RATE = 16_000  # Hz
BLOCK = 40  # utterances per chapter; a voice is loaded once per chapter
CHAPTERS = 1000  # chapter numbers per set for each speaker
MARGIN = 0.1  # seconds of silence at each end


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """Speaker of the corpus: a voice, and the factor that its pitch and formants are raised by."""

    number: int
    sex: str
    voice: str
    pitch: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """Chapter: sentences for one speaker, as printed or as transcripts in capitals."""

    subset: str
    chapter: int
    speaker: Speaker
    texts: list[str]
    seed: int

    def folder(self, root: Path) -> Path:
        """Return the directory of the chapter."""
        return root / self.subset / str(self.speaker.number) / str(self.chapter)

    @property
    def utt_ids(self) -> list[str]:
        """Return SPEAKER-CHAPTER-NNNN of each sentence."""
        return [f"{self.speaker.number}-{self.chapter}-{i:04d}" for i in range(len(self.texts))]


def share(
    subset: str, number: int, speakers: Sequence[Speaker], texts: Sequence[str], seed: int, block: int = BLOCK
) -> list[Block]:
    """Distribute sentences cyclically over the speakers, and over chapters.

    Args:
        subset: folder of the set, e.g. ``train-mini``.
        number: number of the set, which makes chapter numbers and utterance ids unique.
        speakers: speakers of the set.
        texts: sentences, see Block.
        seed: random seed of speed, level and noise of each utterance.
        block: utterances per chapter.
    """
    return [
        Block(
            subset=subset,
            chapter=number * CHAPTERS + first // block,
            speaker=speaker,
            texts=list(own[first : first + block]),
            seed=zlib.crc32(f"{seed} {subset} {speaker.number} {first}".encode()) >> 1,
        )
        for speaker, own in ((speaker, texts[i :: len(speakers)]) for i, speaker in enumerate(speakers))
        for first in range(0, len(own), block)
    ]


def make(blocks: Sequence[Block], target: Path, jobs: int) -> None:
    """Synthesise all blocks in ``jobs`` processes and rename the finished corpus to ``target``.

    The first chapters of all speakers precede the second chapters, so that an unfinished corpus has all voices.

    Raises:
        DataError: if the unfinished corpus has other options.
        LockedError: if another process is writing the corpus.
    """
    partial = target.with_name(f".{target.name}.partial")
    with exclusive_lock(partial / ".lock", "the unfinished corpus"):
        plan = begin(blocks, partial)
        minutes = speak_all(blocks, partial, jobs)
        write_speakers({block.speaker: block.subset for block in reversed(blocks)}, minutes, partial)
        plan.unlink()
        (partial / ".lock").unlink()
        partial.rename(target)
    total = sum(len(block.texts) for block in blocks)
    print(f"{total} utterances of {len(minutes)} speakers, {sum(minutes.values()):.0f} minutes, in {target}")


def begin(blocks: Sequence[Block], partial: Path) -> Path:
    """Return the file that identifies the corpus in ``partial``, after removing unfinished chapters.

    Raises:
        DataError: if it identifies another corpus.
    """
    plan, digest = partial / ".plan", hashlib.sha256(repr(blocks).encode()).hexdigest()
    if plan.is_file() and (found := plan.read_text()) != digest:
        raise DataError(
            f"{partial}: unfinished corpus with other options, found plan {found[:8]}, expected {digest[:8]}; "
            "repeat its options to finish it, or delete the directory"
        )
    plan.write_text(digest)
    for path in partial.glob("*/*/.*"):
        shutil.rmtree(path)
    return plan


def speak_all(blocks: Sequence[Block], root: Path, jobs: int) -> dict[Speaker, float]:
    """Write the missing chapters; return the minutes of each speaker."""
    minutes: dict[Speaker, float] = {}
    total = sum(len(block.texts) for block in blocks)
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=total, unit="utterance", desc="speaking") as bar:
        in_order = sorted(blocks, key=lambda block: block.chapter % CHAPTERS)
        futures = {pool.submit(speak, block, root): block for block in in_order}
        try:
            for future in as_completed(futures):
                block = futures[future]
                minutes[block.speaker] = minutes.get(block.speaker, 0.0) + future.result() / 60
                bar.update(len(block.texts))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # reports the failure without waiting for the other blocks
            raise
    return minutes


def speak(block: Block, root: Path) -> float:
    """Write the FLAC files and transcripts of a block if they are missing; return the duration (seconds)."""
    folder = block.folder(root)
    if not folder.is_dir():
        with new_dir(folder) as unfinished:
            _speak_into(unfinished, block)
    return float(sum(soundfile.info(path).duration for path in folder.glob("*.flac")))


def _speak_into(folder: Path, block: Block) -> None:
    voice, random = load(block.speaker.voice, block.seed), np.random.default_rng(block.seed)
    for utt_id, text in zip(block.utt_ids, block.texts, strict=True):
        pitch, speed = block.speaker.pitch, random.uniform(0.85, 1.1)
        samples_N = voice(written(text), speed / pitch)
        samples_N = resample(samples_N, SAMPLE_RATE / voice.sample_rate / pitch)
        samples_N = recorded(trimmed(samples_N), random)
        soundfile.write(folder / f"{utt_id}.flac", samples_N, SAMPLE_RATE, subtype="PCM_16")
    lines = [f"{utt_id} {transcript(text)}\n" for utt_id, text in zip(block.utt_ids, block.texts, strict=True)]
    name = f"{block.speaker.number}-{block.chapter}.trans.txt"
    (folder / name).write_text("".join(lines), encoding="utf-8")


def written(text: str) -> str:
    """Return the text for a synthesiser; a transcript becomes a sentence with separated single letters."""
    if not text.isupper():
        return text
    words = text.split()
    if words[0] == "SPELL":
        return f"Spell {', '.join(words[1:])}."
    return f"{text.capitalize()}."


def resample(samples_N: np.ndarray, ratio: float) -> np.ndarray:
    """Return ``ratio`` times as many samples, by truncating the spectrum or padding it with zeros.

    This is exact for periodic signals, and for signals that begin and end in silence.
    """
    length = round(len(samples_N) * ratio)
    return np.fft.irfft(np.fft.rfft(samples_N)[: length // 2 + 1], length) * (length / len(samples_N))


def trimmed(samples_N: np.ndarray) -> np.ndarray:
    """Return the samples with MARGIN seconds of silence on both sides of the speech.

    Speech is the part from the first to the last sample above -46 dB of the peak; the silence is that of the voice,
    extended with zeros if it is too short.
    """
    margin = round(MARGIN * SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(samples_N) > 0.005 * np.abs(samples_N).max())
    return np.pad(samples_N, margin)[loud[0] : loud[-1] + 1 + 2 * margin]


def recorded(samples_N: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the samples at a random level (peak 0.2 to 0.8), with white noise 35 to 55 dB below the peak."""
    peak = random.uniform(0.2, 0.8)
    noise_N = random.standard_normal(len(samples_N)) * 10 ** (-random.uniform(35, 55) / 20)
    return peak * np.clip(samples_N / np.abs(samples_N).max() + noise_N, -1, 1)


def write_speakers(subsets: dict[Speaker, str], minutes: dict[Speaker, float], root: Path) -> None:
    """Write SPEAKERS.TXT in LibriSpeech's format; ``subsets`` has the first set of each speaker."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for speaker in sorted(minutes, key=lambda speaker: speaker.number):
        name = f"{speaker.voice} at pitch {speaker.pitch:.2f}"
        lines.append(f"{speaker.number:<5}| {speaker.sex} | {subsets[speaker]:<17}|{minutes[speaker]:6.2f} | {name}")
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n", encoding="utf-8")
