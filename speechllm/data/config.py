"""The ``data`` section of an experiment."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from speechllm.errors import ConfigError
from speechllm.ranges import above, at_least, probability

TranscriptCase: TypeAlias = Literal["as_is", "lower", "sentence"]
MIN_SPEED, MAX_SPEED = 0.5, 2.0


@dataclass(frozen=True, kw_only=True)
class ConcatOptions:
    """Random concatenation of training utterances (arXiv 2309.13963, which does not state its settings)."""

    probability: float = 0.5
    """Probability of appending further utterances, while they fit."""
    duration: float = 30.0
    """Maximum duration of a concatenation (seconds)."""
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
    """Number of most frequent training words excluded from hot words (words)."""
    distractors: int = 20
    """Maximum number of rare words from other transcripts (words)."""
    drop: float = 0.3
    """Fraction of utterances without a context, 0 to 1."""

    def __post_init__(self) -> None:
        at_least(self, 0, "common", "distractors")
        probability(self, "drop")


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Augmentation of a set ``X_aug``, or of training utterances if ``dump`` is none, in the order of the fields.

    Augmentations without a value are not applied.
    """

    speeds: tuple[float, ...] = ()
    """Speeds to draw one from; 0.9 is slower and lower."""
    reverberation: tuple[float, ...] = ()
    """Least and greatest reverberation time RT60 (seconds)."""
    snr: tuple[float, ...] = ()
    """Least and greatest signal-to-noise ratio (dB)."""
    noise_dir: str | None = None
    """Folder of noise recordings; null: synthetic noise."""
    codecs: tuple[str, ...] = ()
    """Codecs to draw one from: mp3, vorbis, opus, gsm, ulaw."""
    probability: float = 1.0
    """Probability of each augmentation except the speed."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        for name in ("reverberation", "snr"):
            if len(getattr(self, name)) not in (0, 2):
                raise ConfigError(f"{name}: found {len(getattr(self, name))} numbers, expected two, the smaller first")
        if wrong := [speed for speed in self.speeds if not MIN_SPEED <= speed <= MAX_SPEED]:
            raise ConfigError(f"speeds: found {wrong[0]}, expected {MIN_SPEED} to {MAX_SPEED}")
        if not 0 < self.probability <= 1:
            raise ConfigError(f"probability: found {self.probability}, expected more than 0 and at most 1")

    @property
    def stretch(self) -> float:
        """Return the largest factor of duration of ``speeds``, at least 1."""
        return 1 / min(1.0, *self.speeds) if self.speeds else 1.0


@dataclass(frozen=True, kw_only=True)
class SpecAugmentOptions:
    """Masks over the features of training utterances (arXiv 1904.08779); the defaults are its policy LD."""

    time_masks: int = 2
    """Number of masks over successive frames."""
    time_width: float = 1.0
    """Maximum width of a mask over frames (seconds)."""
    time_share: float = 0.2
    """Maximum width of a mask over frames (fraction of the utterance)."""
    frequency_masks: int = 2
    """Number of masks over adjacent features."""
    frequency_width: int = 27
    """Maximum width of a mask over features (features)."""

    def __post_init__(self) -> None:
        at_least(self, 0, "time_masks", "time_width", "time_share", "frequency_masks", "frequency_width")
        if self.time_share > 1:
            raise ConfigError(f"time_share: found {self.time_share}, expected at most 1")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Dump format, selection and augmentation of training utterances, and batch limits."""

    dump: Literal["features", "encoder", "none"] = "features"
    """Stored inputs: features, encoder (its frozen states), or none (read audio)."""
    compress: bool = True
    """Store features in 16 bits (Kaldi's method 3), not 32; states are float16."""
    transcript: TranscriptCase = "sentence"
    """Case of the transcripts: as_is, lower, or sentence (first letter capital)."""
    min_duration: float = 0.1
    """Minimum duration of training utterances (seconds); shorter ones are skipped and listed."""
    max_duration: float = 30.0
    """Maximum duration of training utterances (seconds); decoding has no maximum."""
    shares: tuple[float, ...] = ()
    """Fraction of each training set per epoch, rotating over epochs; empty: 1."""
    augment: AugmentOptions | None = None
    """Augmentation of sets X_aug, or of training utterances if dump is none."""
    spec_augment: SpecAugmentOptions | None = None
    """SpecAugment masks over training features; null: none. Not with dump: encoder."""
    concat: ConcatOptions | None = None
    """Random concatenation, after train.ctc_steps; null: none. Not with dump: encoder."""
    hot_words: HotWordOptions | None = None
    """Random hot words that replace training contexts; null: none. Needs prompt.context."""
    batch_duration: float = 320.0
    """Maximum of longest utterance times number of utterances per rank's batch (seconds)."""
    batch_tokens: int | None = None
    """Maximum size of one rank's packed batch (LLM tokens); null: none. With it, batch_duration limits the sum of
    durations."""
    batch_size: int = 16
    """Maximum size of one rank's batch (utterances)."""
    num_buckets: int = 20
    """Number of groups of similar duration; a batch comes from one."""
    num_workers: int = 0
    """Processes per rank that read batches ahead; 0: the main process."""

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
                "so that every utterance fits; raise batch_duration or lower max_duration"
            )
        stretch = 1.0 if self.dump != "none" or self.augment is None else self.augment.stretch
        if self.batch_duration < self.max_duration * stretch:
            raise ConfigError(
                f"batch_duration: found {self.batch_duration}, expected at least max_duration at the slowest of "
                f"augment.speeds ({self.max_duration * stretch:g}), so that every utterance fits; raise it"
            )
        if self.spec_augment is not None and self.dump == "encoder":
            raise ConfigError(
                "spec_augment: found dump 'encoder', expected features, which can be masked; set dump: features or none"
            )
        if self.concat is None:
            return
        if self.dump == "encoder":
            raise ConfigError(
                "concat: found dump 'encoder', expected features, which can be concatenated; set dump: features, or "
                "concatenate the audio in a new data directory (speechllm concatenate)"
            )
        if self.batch_duration < self.concat.duration:
            raise ConfigError(
                f"batch_duration: found {self.batch_duration}, expected at least concat.duration "
                f"({self.concat.duration}), so that every one fits; raise batch_duration or lower concat.duration"
            )
