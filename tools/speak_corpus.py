"""Speak sentences with free voices into a corpus of LibriSpeech's layout: FLAC, .trans.txt and SPEAKERS.TXT.

A speaker is a synthesiser's voice, some of them moved in pitch. Which sentences are spoken is for the programs that
import this one. While a corpus is made it lies in a hidden directory beside its place, one complete chapter after the
other; an interrupted program goes on with the next chapter when it is run again.
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
BLOCK = 40  # utterances of a chapter, spoken by one load of a voice
CHAPTERS = 1000  # numbers that each set has for the chapters of a speaker
MARGIN = 0.1  # seconds of quiet at either end


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One speaker of the corpus: a voice, and by what factor its pitch and formants are raised."""

    number: int
    sex: str
    voice: str
    pitch: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """A chapter: sentences for one speaker, as they are printed or as transcripts in capitals."""

    subset: str
    chapter: int
    speaker: Speaker
    texts: list[str]
    seed: int

    def folder(self, root: Path) -> Path:
        """Return the chapter's directory."""
        return root / self.subset / str(self.speaker.number) / str(self.chapter)

    @property
    def utt_ids(self) -> list[str]:
        """Return SPEAKER-CHAPTER-NNNN of each sentence."""
        return [f"{self.speaker.number}-{self.chapter}-{i:04d}" for i in range(len(self.texts))]


def share(
    subset: str, number: int, speakers: Sequence[Speaker], texts: Sequence[str], seed: int, block: int = BLOCK
) -> list[Block]:
    """Distribute sentences over the speakers in turn, and over chapters.

    Args:
        subset: name of the set's folder, ``train-mini``.
        number: a number for each set, so that chapter numbers and utterance ids are unique.
        speakers: who speaks.
        texts: sentences, see Block.
        seed: of the speed, level and noise of each utterance.
        block: utterances of a chapter.
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
    """Speak all blocks on ``jobs`` processes and rename the finished corpus to ``target``.

    The first chapters of all speakers come before the second ones, so that an unfinished corpus has all voices.

    Raises:
        DataError: if another corpus was begun there.
        LockedError: if another process makes the corpus.
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
    """Return the file that says which corpus is being made in ``partial``; remove its half-made chapters.

    Raises:
        DataError: if it says another one.
    """
    plan, digest = partial / ".plan", hashlib.sha256(repr(blocks).encode()).hexdigest()
    if plan.is_file() and (found := plan.read_text()) != digest:
        raise DataError(
            f"{partial}: another corpus was begun here, found plan {found[:8]}, expected {digest[:8]}; "
            "repeat its options to finish it, or delete the directory"
        )
    plan.write_text(digest)
    for path in partial.glob("*/*/.*"):
        shutil.rmtree(path)
    return plan


def speak_all(blocks: Sequence[Block], root: Path, jobs: int) -> dict[Speaker, float]:
    """Write the chapters that are not there yet; return the minutes of each speaker."""
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
            pool.shutdown(cancel_futures=True)  # or the failure would be told when all the others are done
            raise
    return minutes


def speak(block: Block, root: Path) -> float:
    """Write the FLAC files and the transcripts of one block, unless they are there; return the duration in seconds."""
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
    """Return the text for a synthesiser: of a transcript, a sentence, with spelled letters apart."""
    if not text.isupper():
        return text
    words = text.split()
    if words[0] == "SPELL":
        return f"Spell {', '.join(words[1:])}."
    return f"{text.capitalize()}."


def resample(samples_N: np.ndarray, ratio: float) -> np.ndarray:
    """Return ``ratio`` times as many samples, by cutting the spectrum or filling it with zeros.

    This is exact for a periodic signal, and for one that begins and ends in silence.
    """
    length = round(len(samples_N) * ratio)
    return np.fft.irfft(np.fft.rfft(samples_N)[: length // 2 + 1], length) * (length / len(samples_N))


def trimmed(samples_N: np.ndarray) -> np.ndarray:
    """Return the samples with MARGIN seconds of quiet on either side of the speech.

    Speech is what lies between the first and the last sample above -46 dB of the peak; the quiet is the voice's own
    as far as it goes, then zeros.
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
    """Write SPEAKERS.TXT as LibriSpeech has it; ``subsets`` names the first set of each speaker."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for speaker in sorted(minutes, key=lambda speaker: speaker.number):
        name = f"{speaker.voice} at pitch {speaker.pitch:.2f}"
        lines.append(f"{speaker.number:<5}| {speaker.sex} | {subsets[speaker]:<17}|{minutes[speaker]:6.2f} | {name}")
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n", encoding="utf-8")
