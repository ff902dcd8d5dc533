"""The ``train`` section of an experiment."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from speechllm.errors import ConfigError
from speechllm.ranges import above, at_least


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, validation and checkpoints; steps are optimizer steps."""

    RENAMED: ClassVar = {"mismatched_batches": "shuffled_batches"}

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Precision of weights and activations; half precisions keep float32 master weights."""
    max_steps: int = 20000
    """Optimizer steps in all."""
    init_from: str | None = None
    """Trained model whose weights, rounded to dtype, training starts from: an experiment, a packed directory, the name
    of a shipped model or a hub id; null: from the seed."""
    init_leave_out: tuple[str, ...] = ()
    """Names or patterns of tensors that init_from does not give, or that are not taken from it: "decoder.*". The bare
    name "encoder" or "decoder" allows another base model than init_from's."""
    ctc_steps: int = 0
    """First steps, of CTC pre-training of the connector without the LLM; up to max_steps."""
    lr: float = 1.0e-4
    """Peak learning rate of AdamW."""
    llm_lr: float | None = None
    """Peak for the steps after ctc_steps, which then have a warm-up and a cosine of their own; null: one for all."""
    encoder_lr: float | None = None
    """Learning rate of what is trained of the encoder where that of all else is lr, in proportion; null: the same."""
    final_lr: float = 1.0e-5
    """Learning rate at the last step, reached along a cosine."""
    warmup_steps: int = 1000
    """Steps over which the learning rate rises linearly from zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    betas: tuple[float, ...] = (0.9, 0.98)
    """AdamW's two decay rates."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: they are not."""
    accumulation: int = 1
    """Batches per optimizer step on each rank."""
    activation_checkpointing: bool = False
    """Recompute the LLM's activations in the backward pass: less memory, more time."""
    compile: bool | None = None
    """Compile the layers of the encoder and the LLM; null: on a GPU, but not with ZeRO stage 3."""
    packing: bool = False
    """Lay the sequences of a batch one behind the other instead of padding them: the same loss, in less time."""
    deepspeed: str | None = None
    """DeepSpeed's JSON (buckets, ...); where none names a ZeRO stage it is 1 in half precision on a GPU, else 0."""
    loggers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    """Where metrics and the use of CPU and GPU are logged beside metrics.jsonl; wandb and trackio: pip install them."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    valid_every: int = 500
    """Steps between two validations, each of which also saves a checkpoint."""
    shuffled_batches: int = 8
    """Validation batches of the shuffled-audio control."""
    decode_utterances: int = 4
    """Validation utterances whose hypotheses are printed at each validation."""
    keep_best: int = 5
    """Checkpoints kept for averaging, by validation loss."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        above(self, 0, "lr", "encoder_lr")
        at_least(self, 0, "final_lr", "warmup_steps", "weight_decay", "max_grad_norm")
        at_least(self, 0, "shuffled_batches", "decode_utterances")
        at_least(self, 1, "max_steps", "accumulation", "log_every", "valid_every", "keep_best")
        if self.llm_lr is not None and not (self.llm_lr > 0 and 0 < self.ctc_steps < self.max_steps):
            raise ConfigError(
                f"llm_lr: found {self.llm_lr} with {self.ctc_steps} ctc_steps of {self.max_steps} max_steps, expected "
                "more than 0, and steps of both kinds"
            )
        if not 0 <= self.ctc_steps <= self.max_steps:
            raise ConfigError(f"ctc_steps: found {self.ctc_steps}, expected 0 to max_steps, {self.max_steps}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas: found {list(self.betas)}, expected two numbers of at least 0 and less than 1")
