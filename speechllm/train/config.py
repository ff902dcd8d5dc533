"""The ``train`` section of an experiment."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from speechllm.errors import ConfigError
from speechllm.ranges import above, at_least


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, validation and checkpoints; steps are optimizer steps.

    ``init_from`` is an experiment, a packed directory, the name of a shipped model or a hub id. A tensor that matches
    ``init_leave_out`` (a name, or a pattern such as "decoder.*") may be missing there and is not loaded; the bare name
    "encoder" or "decoder" allows another base model than that of ``init_from``. With ``llm_lr``, the steps of CTC
    pre-training and the steps after it each have a warm-up and a cosine. The learning rate of the encoder is that of
    the other parameters times ``encoder_lr / lr``. The default ZeRO stage is 1 in half precision on a GPU, otherwise 0.
    wandb and trackio are optional packages.
    """

    RENAMED: ClassVar = {"mismatched_batches": "shuffled_batches"}

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Precision of weights and activations; half precisions keep float32 master weights."""
    max_steps: int = 20000
    """Total number of optimizer steps."""
    init_from: str | None = None
    """Trained model with the initial weights, rounded to dtype; null: random weights."""
    init_leave_out: tuple[str, ...] = ()
    """Names or patterns of tensors that are not loaded from init_from."""
    ctc_steps: int = 0
    """Number of first steps with CTC pre-training, up to max_steps."""
    lr: float = 1.0e-4
    """Peak learning rate of AdamW."""
    llm_lr: float | None = None
    """Peak learning rate after ctc_steps; null: one schedule for all steps."""
    encoder_lr: float | None = None
    """Peak learning rate of the encoder; null: lr."""
    final_lr: float = 1.0e-5
    """Learning rate at the last step, the end of a cosine."""
    warmup_steps: int = 1000
    """Steps of linear warm-up of the learning rate from zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    betas: tuple[float, ...] = (0.9, 0.98)
    """AdamW's two decay rates."""
    max_grad_norm: float = 1.0
    """Largest gradient norm; larger gradients are scaled down; 0: no limit."""
    accumulation: int = 1
    """Batches per optimizer step on each rank."""
    activation_checkpointing: bool = False
    """Recompute the LLM's activations in the backward pass: less memory, more time."""
    compile: bool | None = None
    """Compile encoder and LLM layers; null: on GPUs without ZeRO 3."""
    packing: bool = False
    """Concatenate a batch's sequences instead of padding: same loss, less time."""
    deepspeed: str | None = None
    """Path of DeepSpeed's JSON (ZeRO stage, buckets, ...); null: defaults."""
    loggers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    """Logs of metrics and of CPU and GPU utilisation, besides metrics.jsonl."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    valid_every: int = 500
    """Steps between two validations; each validation saves a checkpoint."""
    shuffled_batches: int = 8
    """Validation batches of the shuffled-audio control."""
    decode_utterances: int = 4
    """Validation utterances decoded and printed at each validation."""
    keep_best: int = 5
    """Checkpoints kept for averaging, by validation loss."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        above(self, 0, "lr", "encoder_lr")
        at_least(self, 0, "final_lr", "warmup_steps", "weight_decay", "max_grad_norm")
        at_least(self, 0, "shuffled_batches", "decode_utterances")
        at_least(self, 1, "max_steps", "accumulation", "log_every", "valid_every", "keep_best")
        if self.llm_lr is not None and not (self.llm_lr > 0 and 0 < self.ctc_steps < self.max_steps):
            raise ConfigError(
                f"llm_lr: found {self.llm_lr} with {self.ctc_steps} ctc_steps of {self.max_steps} max_steps, expected "
                "more than 0, and ctc_steps of at least 1 and less than max_steps"
            )
        if not 0 <= self.ctc_steps <= self.max_steps:
            raise ConfigError(f"ctc_steps: found {self.ctc_steps}, expected 0 to max_steps, {self.max_steps}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas: found {list(self.betas)}, expected two numbers of at least 0 and less than 1")
