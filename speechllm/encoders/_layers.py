"""Trained weights of an encoder: all, those of the last layers, or adapters."""

from torch import nn

from speechllm.errors import ConfigError
from speechllm.lora import LoraOptions


def check_trained(frozen: bool, trained_layers: int, lora: LoraOptions | None) -> None:
    """Check the options for the trained weights of an encoder.

    Raises:
        ConfigError: if the number of layers is negative, or adapters are combined with other trained weights.
    """
    if trained_layers < 0:
        raise ConfigError(f"trained_layers: found {trained_layers}, expected at least 0")
    if lora is not None and (trained_layers or not frozen):
        raise ConfigError(
            f"lora: found frozen {frozen} and trained_layers {trained_layers}, expected true and 0 with adapters; "
            "remove one of the settings"
        )


def train_last(layers: nn.ModuleList, number: int) -> None:
    """Make the last ``number`` layers trainable.

    Raises:
        ConfigError: if there are fewer layers.
    """
    if not 0 <= number <= len(layers):
        raise ConfigError(f"encoder.trained_layers: found {number}, expected 0 to {len(layers)}, the number of layers")
    layers[len(layers) - number :].requires_grad_(True)
