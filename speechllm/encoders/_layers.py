"""The last layers of an encoder, which may learn although the others do not."""

from torch import nn

from speechllm.errors import ConfigError


def train_last(layers: nn.ModuleList, number: int) -> None:
    """Have the last ``number`` layers trained.

    Raises:
        ConfigError: if there are not so many.
    """
    if not 0 <= number <= len(layers):
        raise ConfigError(f"encoder.trained_layers: found {number}, expected 0 to {len(layers)}, which it has")
    layers[len(layers) - number :].requires_grad_(True)
