"""The DeepSpeed engine: its configuration, its processes and its parameter groups."""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any, TypeVar

import deepspeed
import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.cpp_extension import _get_build_directory

from speechllm.errors import ConfigError
from speechllm.train.config import TrainConfig
from speechllm.train.protocol import Engine
from speechllm.train.storage import Storage

T = TypeVar("T")
OURS = {
    "gradient_accumulation_steps": "accumulation",
    "gradient_clipping": "max_grad_norm",
    "bf16": "dtype",
    "fp16": "dtype",
    "optimizer": "lr",
    "scheduler": "lr",
}


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """Return DeepSpeed's settings: its own JSON, completed by settings of the experiment.

    Raises:
        ConfigError: if the JSON does not exist, is malformed, or contains a setting that belongs to the YAML.
    """
    settings: dict[str, Any] = {}
    if config.deepspeed is not None:
        try:
            settings = json.loads(Path(config.deepspeed).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"train.deepspeed: cannot read {config.deepspeed}: {error}") from error
        _check_json(config.deepspeed, settings)
    for key in OURS.keys() & settings.keys():
        raise ConfigError(
            f"{config.deepspeed}: found {key!r}, expected train.{OURS[key]} of the YAML to set it; remove it"
        )
    # without ZeRO, DeepSpeed in half precision waits for the GPU at every parameter, hundreds of times per step
    stage = 1 if torch.cuda.is_available() and config.dtype != "float32" else 0
    settings["zero_optimization"] = {"stage": stage, **settings.get("zero_optimization", {})}
    if config.compile and settings["zero_optimization"]["stage"] == 3:
        raise ConfigError(
            f"train.compile: found true with ZeRO stage 3 ({config.deepspeed}), which divides layers into many "
            "graphs; set it to false or null, or choose a lower stage"
        )
    settings |= {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed uses it only for counts; batches vary in size
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.max_grad_norm,
    }
    if config.dtype == "bfloat16":
        settings["bf16"] = {"enabled": True}
    if config.dtype == "float16":
        settings["fp16"] = {"enabled": True, "initial_scale_power": 12}
    return settings


def _check_json(path: str, settings: Any) -> None:
    """Raise ConfigError unless ``settings`` is a mapping with a valid ZeRO section or without one."""
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: found {settings!r:.80}, expected a mapping of DeepSpeed's settings")
    zero = settings.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise ConfigError(f"{path}: zero_optimization: found {zero!r:.80}, expected a mapping")
    stage = zero.get("stage", 0)
    if type(stage) is not int or not 0 <= stage <= 3:
        raise ConfigError(f"{path}: zero_optimization.stage: found {stage!r}, expected 0, 1, 2 or 3")


def start_processes() -> None:
    """Initialise communication with the processes of a launcher; without a launcher, this process is the only one."""
    if "RANK" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        _compile_operator()
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo", verbose=False)


def of_first_process(value: T) -> T:
    """Return the ``value`` of the first process, on all processes."""
    values = [value]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def check_precision(config: TrainConfig) -> None:
    """Check that this machine supports ``train.dtype``.

    Raises:
        ConfigError: if it does not.
    """
    accelerator = deepspeed.get_accelerator()
    supported = {"float16": accelerator.is_fp16_supported, "bfloat16": accelerator.is_bf16_supported}
    if config.dtype in supported and not supported[config.dtype]():
        raise ConfigError(
            f"train.dtype: found {config.dtype}, which this {accelerator.device_name()} does not support; "
            "set it to float32"
        )


def start_engine(model: nn.Module, config: TrainConfig) -> Engine:
    """Wrap ``model`` into a DeepSpeed engine with AdamW over its trainable parameters."""
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config),
        lr=config.lr,
        betas=(config.betas[0], config.betas[1]),
        weight_decay=config.weight_decay,
    )
    settings = deepspeed_config(config)
    try:
        engine = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)[0]
    except ValidationError as error:  # DeepSpeed checks its own settings
        reason = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{config.deepspeed}: rejected by DeepSpeed: {reason}; correct it") from error
    engine.checkpoint_engine = Storage(engine._config)
    return engine


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the groups of trained parameters: one for all, or with ``encoder_lr`` one more for the encoder.

    The learning rate of a group is that of the schedule times its ``lr_scale``.

    Raises:
        ConfigError: if ``encoder_lr`` is set and the encoder is frozen.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    encoder = [parameter for name, parameter in trainable.items() if name.startswith("encoder.")]
    rest = [parameter for name, parameter in trainable.items() if not name.startswith("encoder.")]
    if config.encoder_lr is None:
        return [{"params": list(trainable.values()), "lr_scale": 1.0}]
    if not encoder:
        raise ConfigError(
            f"train.encoder_lr: found {config.encoder_lr}, but the encoder is frozen; set encoder.lora or "
            "encoder.trained_layers"
        )
    return [{"params": rest, "lr_scale": 1.0}, {"params": encoder, "lr_scale": config.encoder_lr / config.lr}]


def _compile_operator() -> None:
    """Compile DeepSpeed's operator for CPUs, one process at a time; the first call takes one to two minutes.

    DeepSpeed would compile it later, but it waits forever after a killed compilation, because torch's lock is a file
    that is not removed. A kernel lock is held here, so that an existing lock file of torch must be stale and is
    deleted.
    """
    builder = deepspeed.get_accelerator().create_op_builder("ShareMemCommBuilder")
    if builder is None or not deepspeed.ops.__compatible_ops__.get(builder.NAME, False):
        return
    directory = Path(_get_build_directory(builder.name, verbose=False))
    with (directory / "speechllm.lock").open("w", encoding="utf-8") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)
        (directory / "lock").unlink(missing_ok=True)
        builder.load(verbose=False)
