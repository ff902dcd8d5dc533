"""Plan of a training: numbers of parameters, and memory of model and optimizer."""

from dataclasses import dataclass
from typing import Any

from torch import nn

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Numbers of parameters, and bytes of model and optimizer state on each GPU, without activations."""

    parameters: dict[str, int]
    """Number of parameters of each part."""
    trainable: dict[str, int]
    """Number of trainable parameters of each part."""
    weight_bytes: float
    gradient_bytes: float
    optimizer_bytes: float

    @property
    def bytes_per_gpu(self) -> float:
        """Return the sum of weights, gradients and optimizer state in bytes."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes

    def __str__(self) -> str:
        """Return the plan as lines to print."""
        lines = ["part                 parameters        trainable"]
        for part, count in self.parameters.items():
            lines.append(f"{part:<12} {count:>18,} {self.trainable[part]:>16,}")
        lines.append(f"{'total':<12} {sum(self.parameters.values()):>18,} {sum(self.trainable.values()):>16,}")
        shares = (
            ("weights", self.weight_bytes),
            ("gradients", self.gradient_bytes),
            ("optimizer", self.optimizer_bytes),
        )
        sum_of = " + ".join(f"{name} {size / GIB:.2f}" for name, size in shares)
        lines.append(f"memory per process without activations: {self.bytes_per_gpu / GIB:.2f} GiB = {sum_of}")
        return "\n".join(lines)


def make_plan(model: nn.Module, dtype: str, zero_stage: int, world_size: int) -> Plan:
    """Return the plan of training ``model`` with AdamW under a ZeRO stage.

    ZeRO (Rajbhandari et al., 2020, arXiv 1910.02054) divides among the processes: the optimizer state
    from stage 1 on, the gradients from stage 2 on, the weights from stage 3 on. In half precision, the
    optimizer state is float32 master weights and two moments, otherwise two moments.
    """
    parts = {name: list(part.parameters()) for name, part in model.named_children()}
    parameters = {name: sum(p.numel() for p in part) for name, part in parts.items()}
    trainable = {name: sum(p.numel() for p in part if p.requires_grad) for name, part in parts.items()}
    size, moving = BYTES[dtype], sum(trainable.values())
    state = moving * (4 + 4 + (4 if size == 2 else 0))
    return Plan(
        parameters=parameters,
        trainable=trainable,
        weight_bytes=sum(parameters.values()) * size / (world_size if zero_stage >= 3 else 1),
        gradient_bytes=moving * size / (world_size if zero_stage >= 2 else 1),
        optimizer_bytes=state / (world_size if zero_stage >= 1 else 1),
    )


def zero_stage(deepspeed: dict[str, Any]) -> int:
    """Return the ZeRO stage of a DeepSpeed configuration."""
    return int(deepspeed.get("zero_optimization", {}).get("stage", 0))
