"""Speak a mini corpus of short commands, in LibriSpeech's layout, for a first run of the recipe on a CPU.

    python tools/make_mini_corpus.py downloads/mini_corpus

writes OUT/LibriSpeech/{train,dev,test}-mini/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, *.trans.txt and SPEAKERS.TXT.
No sentence occurs twice, so no test sentence occurs in training; half of the test set is spoken by a voice that is
nowhere else. A speaker is a synthesiser's voice, some of them moved in pitch. A complete corpus is left alone.
"""

import argparse
import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from mini_sentences import draw
from mini_voices import has_flite, load
from tqdm import tqdm

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


UNSEEN = Speaker(number=900, sex="M", voice="joe")
WITH_FLITE = [
    Speaker(number=101, sex="F", voice="hibari"),
    Speaker(number=102, sex="F", voice="hibari", pitch=1.1),
    Speaker(number=103, sex="F", voice="hibari", pitch=0.9),
    Speaker(number=104, sex="M", voice="hibari", pitch=0.8),
    Speaker(number=201, sex="F", voice="flite-slt"),
    Speaker(number=202, sex="F", voice="flite-slt", pitch=1.05),
    Speaker(number=301, sex="M", voice="flite-rms"),
    Speaker(number=302, sex="M", voice="flite-rms", pitch=1.05),
    Speaker(number=303, sex="M", voice="flite-rms", pitch=0.95),
    Speaker(number=401, sex="M", voice="flite-awb"),
]
WITHOUT_FLITE = [
    Speaker(number=101 + i, sex="F" if pitch > 0.85 else "M", voice="hibari", pitch=pitch)
    for i, pitch in enumerate((1.0, 1.12, 1.08, 1.04, 0.96, 0.92, 0.88, 0.84, 0.8, 0.77))
]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Sentences that one speaker says in one chapter, with the number of the first."""

    subset: str
    speaker: Speaker
    first: int
    texts: list[str]
    seed: int

    def folder(self, root: Path) -> Path:
        """Return the chapter's directory; each set has its own chapter number, so utterance ids are unique."""
        chapter = {"train-mini": 1, "dev-mini": 2, "test-mini": 3}[self.subset]
        return root / self.subset / str(self.speaker.number) / str(chapter)

    def utt_ids(self, root: Path) -> list[str]:
        """Return SPEAKER-CHAPTER-NNNN of each sentence."""
        chapter = self.folder(root)
        return [f"{chapter.parent.name}-{chapter.name}-{self.first + i:04d}" for i in range(len(self.texts))]


def main(argv: Sequence[str] | None = None) -> int:
    """Make the corpus; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory in which LibriSpeech/ is made")
    parser.add_argument("--train", type=int, default=2400, help="training utterances (%(default)s)")
    parser.add_argument("--dev", type=int, default=60, help="utterances for validation (%(default)s)")
    parser.add_argument("--test", type=int, default=240, help="test utterances, half by the unseen voice (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of sentences and voices (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores: %(default)s)")
    args = parser.parse_args(argv)
    target = args.out / "LibriSpeech"
    if target.is_dir():
        print(f"The mini corpus is already in {target}; delete that directory to make another.")
        return 0
    speakers = WITH_FLITE if has_flite() else WITHOUT_FLITE
    if not has_flite():
        print("flite is not installed: the training voices are one voice at ten pitches, not four voices.")
    blocks = plan(speakers, {"train-mini": args.train, "dev-mini": args.dev, "test-mini": args.test}, args.seed)
    make(blocks, target, args.jobs)
    return 0


def plan(speakers: Sequence[Speaker], counts: dict[str, int], seed: int) -> list[Block]:
    """Share new sentences out among the speakers; the unseen voice says the second half of the test set.

    Args:
        speakers: who speaks in every set.
        counts: utterances of each set; every sentence is drawn once.
        seed: of the sentences, and of what varies in speaking them.
    """
    texts = draw(sum(counts.values()), seed)
    assert len(set(texts)) == len(texts), "a sentence occurs twice"
    blocks = []
    for subset, count in counts.items():
        own, texts = texts[:count], texts[count:]
        if subset.startswith("test"):
            half = count // 2
            blocks += _blocks(subset, UNSEEN, own[half:], seed)
            own = own[:half]
        for i, speaker in enumerate(speakers):
            blocks += _blocks(subset, speaker, own[i :: len(speakers)], seed)
    return blocks


def _blocks(subset: str, speaker: Speaker, texts: list[str], seed: int) -> list[Block]:
    return [
        Block(
            subset=subset,
            speaker=speaker,
            first=first,
            texts=texts[first : first + BLOCK],
            seed=zlib.crc32(f"{seed} {subset} {speaker.number} {first}".encode()) >> 1,
        )
        for first in range(0, len(texts), BLOCK)
    ]


def make(blocks: Sequence[Block], target: Path, jobs: int) -> None:
    """Speak all blocks on ``jobs`` processes and rename the finished corpus to ``target``."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    minutes: dict[Speaker, float] = {}
    total = sum(len(block.texts) for block in blocks)
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=total, unit="utterance", desc="speaking") as bar:
        futures = {pool.submit(speak, block, partial): block for block in blocks}
        for future in as_completed(futures):
            block = futures[future]
            minutes[block.speaker] = minutes.get(block.speaker, 0.0) + future.result() / 60
            bar.update(len(block.texts))
    write_transcripts(blocks, partial)
    write_speakers(minutes, partial)
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


def write_speakers(minutes: dict[Speaker, float], root: Path) -> None:
    """Write SPEAKERS.TXT as LibriSpeech has it."""
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for speaker in sorted(minutes, key=lambda speaker: speaker.number):
        subset = "test-mini" if speaker == UNSEEN else "train-mini"
        name = f"{speaker.voice} at pitch {speaker.pitch:.2f}"
        lines.append(f"{speaker.number:<5}| {speaker.sex} | {subset:<17}|{minutes[speaker]:6.2f} | {name}")
    (root / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
