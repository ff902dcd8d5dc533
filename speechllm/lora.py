"""Low-rank adapters (Hu et al., 2021, arXiv 2106.09685) of linear layers of an LLM or an encoder, by peft."""

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

from speechllm.errors import ConfigError
from speechllm.layers import repeated_layers
from speechllm.ranges import above, at_least, probability


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Low-rank adapters on linear layers."""

    rank: int = 8
    """Rank of each adapter."""
    alpha: float = 16.0
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = 0.05
    """Dropout probability on the adapters' input."""
    modules: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the linear layers that get an adapter."""
    last_layers: int | None = None
    """Number of last Transformer layers with adapters; null: all layers."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        at_least(self, 1, "rank", "last_layers")
        above(self, 0, "alpha")
        probability(self, "dropout")


def with_lora(model: Any, lora: LoraOptions, option: str) -> Any:
    """Add trainable adapters to the frozen ``model``.

    Raises:
        ConfigError: if a name in ``lora.modules`` is no linear layer of the model, or it has fewer layers than
            ``lora.last_layers``; the error names ``option``.
    """
    import peft  # imported late, because the import takes seconds

    options = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora, option),
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # of peft's own code
            warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")  # ``merged`` unties them
            return peft.get_peft_model(model, options)
    except ValueError as error:
        raise ConfigError(f"{option}.modules: {error}") from error


def _targets(model: nn.Module, lora: LoraOptions, option: str) -> list[str]:
    """Return the names of the linear layers that get an adapter, full names if not all layers have adapters."""
    if lora.last_layers is None:
        return list(lora.modules)
    layers = repeated_layers(model)
    if lora.last_layers > len(layers):
        raise ConfigError(f"{option}.last_layers: found {lora.last_layers}, expected at most {len(layers)}, all layers")
    inside = {id(module) for layer in layers[-lora.last_layers :] for module in layer.modules()}
    names = (name for name, module in model.named_modules() if id(module) in inside)
    return [name for name in names if name.rpartition(".")[2] in lora.modules]


def merged(model: Any) -> Any:
    """Return ``model`` with its adapters added to the weights.

    An adapted layer may share its weight with another layer, as the output layer with the input embeddings: it first
    gets a copy of the weight, and the other layer is not changed.
    """
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    is_tied = False
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if name.endswith(".base_layer") and weight is not None and owners[id(weight)] > 1:
            module.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
            owners[id(weight)] -= 1
            is_tied = True
    if is_tied:
        model.get_base_model().config.tie_word_embeddings = False  # or transformers would tie them again
    return model.merge_and_unload()
