"""The repeated layers of a model."""

from torch import nn


def repeated_layers(module: nn.Module) -> list[nn.Module]:
    """Return the modules in the outermost ModuleLists of ``module``, usually Transformer layers."""
    found: list[nn.Module] = []
    for child in module.children():
        found += list(child) if isinstance(child, nn.ModuleList) else repeated_layers(child)
    return found
