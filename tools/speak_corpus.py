"""Speak sentences with free voices into a corpus of LibriSpeech's layout: FLAC, .trans.txt and SPEAKERS.TXT.

A speaker is a synthesiser's voice, some of them moved in pitch. Which sentences are spoken is for the programs that
import this one.
"""

import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm
from voices import load

SAMPLE_RATE = 16_000  # Hz
BLOCK = 40  # utterances spoken by one load of a voice
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
    """Sentences that one speaker says in one chapter, with the number of the first."""

    subset: str
    chapter: int
    speaker: Speaker
    first: int
    texts: list[str]
    seed: int

    def folder(self, root: Path) -> Path:
        """Return the chapter's directory."""
        return root / self.subset / str(self.speaker.number) / str(self.chapter)

    def utt_ids(self, root: Path) -> list[str]:
        """Return SPEAKER-CHAPTER-NNNN of each sentence."""
        chapter = self.folder(root)
        return [f"{chapter.parent.name}-{chapter.name}-{self.first + i:04d}" for i in range(len(self.texts))]


def share(subset: str, chapter: int, speakers: Sequence[Speaker], texts: Sequence[str], seed: int) -> list[Block]:
    """Deal sentences out among the speakers in turn.

    Args:
        subset: name of the set's folder, ``train-mini``.
        chapter: its chapter number, which no other set has, so that utterance ids are unique.
        speakers: who speaks.
        texts: transcripts.
        seed: of what varies in speaking them.
    """
    return [
        Block(
            subset=subset,
            chapter=chapter,
            speaker=speaker,
            first=first,
            texts=list(own[first : first + BLOCK]),
            seed=zlib.crc32(f"{seed} {subset} {speaker.number} {first}".encode()) >> 1,
        )
        for speaker, own in ((speaker, texts[i :: len(speakers)]) for i, speaker in enumerate(speakers))
        for first in range(0, len(own), BLOCK)
    ]


def make(blocks: Sequence[Block], target: Path, jobs: int) -> None:
    """Speak all blocks on ``jobs`` processes and rename the finished corpus to ``target``."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    minutes: dict[Speaker, float] = {}
    total = sum(len(block.texts) for block in blocks)
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=total, unit="utterance", desc="speaking") as bar:
        futures = {pool.submit(speak, block, partial): block for block in blocks}
        try:
            for future in as_completed(futures):
                block = futures[future]
                minutes[block.speaker] = minutes.get(block.speaker, 0.0) + future.result() / 60
                bar.update(len(block.texts))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or the failure would be told when all the others are done
            raise
    write_transcripts(blocks, partial)
    write_speakers({block.speaker: block.subset for block in reversed(blocks)}, minutes, partial)
    partial.rename(target)
    print(f"{total} utterances of {len(minutes)} speakers, {sum(minutes.values()):.0f} minutes, in {target}")


def speak(block: Block, root: Path) -> float:
    """Write the FLAC files of one block; return their duration in seconds."""
    folder, seconds = block.folder(root), 0.0
    folder.mkdir(parents=True, exist_ok=True)
    voice, random = load(block.speaker.voice, block.seed), np.random.default_rng(block.seed)
    for utt_id, text in zip(block.utt_ids(root), block.texts, strict=True):
        pitch, speed = block.speaker.pitch, random.uniform(0.85, 1.1)
        samples_N = voice(written(text), speed / pitch)
        samples_N = resample(samples_N, SAMPLE_RATE / voice.sample_rate / pitch)
        samples_N = recorded(trimmed(samples_N), random)
        soundfile.write(folder / f"{utt_id}.flac", samples_N, SAMPLE_RATE, subtype="PCM_16")
        seconds += len(samples_N) / SAMPLE_RATE
    return seconds


def written(text: str) -> str:
    """Return a transcript as a synthesiser reads it best: a sentence, with spelled letters apart."""
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


def write_transcripts(blocks: Sequence[Block], root: Path) -> None:
    """Write the SPEAKER-CHAPTER.trans.txt of every chapter, sorted by utterance."""
    for block in sorted(blocks, key=lambda block: block.first):
        folder = block.folder(root)
        with (folder / f"{folder.parent.name}-{folder.name}.trans.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"{u} {text}\n" for u, text in zip(block.utt_ids(root), block.texts, strict=True))


def write_speakers(subsets: dict[Speaker, str], minutes: dict[Speaker, float], root: Path) -> None:
    """Write SPEAKERS.TXT as LibriSpeech has it; ``subsets`` names the first set of each speaker."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for speaker in sorted(minutes, key=lambda speaker: speaker.number):
        name = f"{speaker.voice} at pitch {speaker.pitch:.2f}"
        lines.append(f"{speaker.number:<5}| {speaker.sex} | {subsets[speaker]:<17}|{minutes[speaker]:6.2f} | {name}")
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n", encoding="utf-8")
