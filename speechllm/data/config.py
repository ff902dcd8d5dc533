"""The ``data`` section of an experiment."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from speechllm.errors import ConfigError
from speechllm.ranges import above, at_least, probability

TranscriptCase: TypeAlias = Literal["as_is", "lower", "sentence"]
MIN_SPEED, MAX_SPEED = 0.5, 2.0


@dataclass(frozen=True, kw_only=True)
class ConcatOptions:
    """Random concatenation of training utterances (arXiv 2309.13963); its settings there are not known."""

    probability: float = 0.5
    """Probability with which an utterance is followed by others, as long as they fit."""
    duration: float = 30.0
    """Concatenated utterances are at most this long (seconds)."""
    silence: float = 0.1
    """Silence between two utterances, rounded up to whole frames (seconds)."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"probability: found {self.probability}, expected 0 to 1")
        above(self, 0, "duration")
        at_least(self, 0, "silence")


@dataclass(frozen=True, kw_only=True)
class HotWordOptions:
    """Hot words drawn as contexts of training utterances (arXiv 2104.02194)."""

    common: int = 5000
    """Most frequent words of the training transcripts, which are no hot words (words)."""
    distractors: int = 20
    """Rare words of other transcripts in a list, at most (words)."""
    drop: float = 0.3
    """Rate of utterances without a context, 0 to 1."""

    def __post_init__(self) -> None:
        at_least(self, 0, "common", "distractors")
        probability(self, "drop")


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Changes of every utterance of a set ``X_aug``, or of training utterances if ``dump`` is none, in this order.

    Those not given are left out.
    """

    speeds: tuple[float, ...] = ()
    """Speeds, one of which is drawn: 0.9 is slower and lower."""
    reverberation: tuple[float, ...] = ()
    """Least and greatest reverberation time RT60, the time of a decay by 60 dB (seconds)."""
    snr: tuple[float, ...] = ()
    """Least and greatest ratio of the speech to the noise (dB)."""
    noise_dir: str | None = None
    """Folder of recordings of noise; null: synthetic noise."""
    codecs: tuple[str, ...] = ()
    """Codecs, one of which is drawn: mp3, vorbis, opus, gsm, ulaw."""
    probability: float = 1.0
    """Probability of each change but that of the speed."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        for name in ("reverberation", "snr"):
            if len(getattr(self, name)) not in (0, 2):
                raise ConfigError(f"{name}: found {len(getattr(self, name))} numbers, expected two, the lesser first")
        if wrong := [speed for speed in self.speeds if not MIN_SPEED <= speed <= MAX_SPEED]:
            raise ConfigError(f"speeds: found {wrong[0]}, expected {MIN_SPEED} to {MAX_SPEED}")
        if not 0 < self.probability <= 1:
            raise ConfigError(f"probability: found {self.probability}, expected more than 0 and at most 1")

    @property
    def stretch(self) -> float:
        """Return the factor by which the slowest speed lengthens an utterance, at least 1."""
        return 1 / min(1.0, *self.speeds) if self.speeds else 1.0


@dataclass(frozen=True, kw_only=True)
class SpecAugmentOptions:
    """Masks over the features of training utterances (arXiv 1904.08779); the defaults are its policy LD."""

    time_masks: int = 2
    """Masks over neighbouring frames."""
    time_width: float = 1.0
    """Longest mask over frames (seconds)."""
    time_share: float = 0.2
    """Longest mask over frames, as a share (0 to 1) of the utterance."""
    frequency_masks: int = 2
    """Masks over neighbouring features."""
    frequency_width: int = 27
    """Widest mask over features."""

    def __post_init__(self) -> None:
        at_least(self, 0, "time_masks", "time_width", "time_share", "frequency_masks", "frequency_width")
        if self.time_share > 1:
            raise ConfigError(f"time_share: found {self.time_share}, expected at most 1")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is dumped, what is trained on, and how utterances are put into batches."""

    dump: Literal["features", "encoder", "none"] = "features"
    """Stored inputs: features, states of the frozen encoder, or none: features are extracted from audio when read."""
    compress: bool = True
    """Whether features are stored in 16 bits (Kaldi's method 3), not 32; states always are float16."""
    transcript: TranscriptCase = "sentence"
    """Case of the transcripts shown to the LLM: as_is, lower, or sentence (first letter capital, the rest lower)."""
    min_duration: float = 0.1
    """Training skips and lists utterances shorter than this (seconds)."""
    max_duration: float = 30.0
    """Training skips and lists utterances longer than this (seconds); decoding never does."""
    shares: tuple[float, ...] = ()
    """Share (0 to 1) of each training set that an epoch has, another one in the next; empty: all of all."""
    augment: AugmentOptions | None = None
    """Augmentation of the sets X_aug, which stage 1 makes; of training utterances if dump is none; null: none."""
    spec_augment: SpecAugmentOptions | None = None
    """Masks over features of training utterances, drawn anew every epoch; null: none. Not of dumped encoder states."""
    concat: ConcatOptions | None = None
    """Random concatenation of training utterances, after train.ctc_steps; null: none. Not of dumped encoder states."""
    hot_words: HotWordOptions | None = None
    """Hot words drawn as contexts in training, in place of those of the data; null: none. Needs prompt.context."""
    batch_duration: float = 320.0
    """Limit of one rank's batch: its longest utterance times its number of utterances (seconds)."""
    batch_tokens: int | None = None
    """Limit of one rank's batch with train.packing: prompt, speech and text of its utterances (tokens of the LLM);
    batch_duration is then a limit of the sum of their durations. null: none."""
    batch_size: int = 16
    """Limit of one rank's batch (utterances)."""
    num_buckets: int = 20
    """Groups of similar duration among which training draws a batch (groups)."""
    num_workers: int = 0
    """Processes on each rank that read batches ahead of the model; 0: the model waits (processes)."""

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size", "batch_tokens", "num_buckets")
        at_least(self, 0, "num_workers")
        if wrong := [share for share in self.shares if not 0 < share <= 1]:
            raise ConfigError(f"shares: found {wrong[0]}, expected more than 0 and at most 1")
        if not 0 <= self.min_duration < self.max_duration:
            raise ConfigError(
                f"min_duration: found {self.min_duration}, expected at least 0 and less than max_duration "
                f"({self.max_duration})"
            )
        if self.batch_duration < self.max_duration:
            raise ConfigError(
                f"batch_duration: found {self.batch_duration}, expected at least max_duration ({self.max_duration}), "
                "so that every utterance fits; raise the one or lower the other"
            )
        stretch = 1.0 if self.dump != "none" or self.augment is None else self.augment.stretch
        if self.batch_duration < self.max_duration * stretch:
            raise ConfigError(
                f"batch_duration: found {self.batch_duration}, expected at least max_duration at the slowest of "
                f"augment.speeds ({self.max_duration * stretch:g}), so that every utterance fits; raise it"
            )
        if self.spec_augment is not None and self.dump == "encoder":
            raise ConfigError(
                "spec_augment: masks are applied to features, but dump is 'encoder'; set dump: features or none"
            )
        if self.concat is None:
            return
        if self.dump == "encoder":
            raise ConfigError(
                "concat: utterances are concatenated before the encoder, but dump is 'encoder'; set dump: features, or "
                "concatenate them in a data directory of their own (speechllm concatenate)"
            )
        if self.batch_duration < self.concat.duration:
            raise ConfigError(
                f"batch_duration: found {self.batch_duration}, expected at least concat.duration "
                f"({self.concat.duration}), so that every batch holds one; raise the one or lower the other"
            )
