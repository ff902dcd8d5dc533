"""The repeated layers of a model."""

from torch import nn


def repeated_layers(module: nn.Module) -> list[nn.Module]:
    """Return the modules in the outermost lists of ``module``: Transformer layers, as a rule."""
    found: list[nn.Module] = []
    for child in module.children():
        found += list(child) if isinstance(child, nn.ModuleList) else repeated_layers(child)
    return found
