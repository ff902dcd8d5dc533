"""8-bit weights and activations of linear layers on the CPU, without calibration.

Each output channel of a weight and each row of the input has its own scale, so that its largest magnitude becomes 127.
Products are summed exactly, as integers, so the output of a row does not depend on other rows of the batch.
"""

import torch
from torch import Tensor, nn

from speechllm.errors import ConfigError

LEVELS = 127
SMALLEST = 1e-30  # least magnitude, to avoid division by 0 for rows of zeros


class Int8Linear(nn.Module):
    """Linear layer with 8-bit integer products, for inputs and outputs in float32.

    Args:
        linear: layer with the weights (float32).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight_OI = linear.weight.detach()
        self._scale_O = weight_OI.amax(1).maximum(-weight_OI.amin(1)).clamp(min=SMALLEST) / LEVELS
        levels_OI = (weight_OI / self._scale_O[:, None]).round_().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(levels_OI, None)
        self._zero_O = torch.zeros(self.out_features, dtype=torch.int32)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs (..., out_features) for inputs (..., in_features)."""
        scale = inputs.abs().amax(-1, keepdim=True).clamp_(min=SMALLEST).div_(LEVELS)
        levels = (inputs / scale).round_().to(torch.int8)
        product = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, 0, self._packed, self._scale_O, self._zero_O, None, 1.0, 0, torch.float32, "none", [], ""
        )
        product *= scale
        return product if self.bias is None else product.add_(self.bias)


def quantize_linears(module: nn.Module, *, frozen_only: bool = False) -> int:
    """Replace the linear layers in ``module`` by 8-bit ones; return their number.

    Args:
        module: module with linear layers.
        frozen_only: whether to leave layers with trainable weights.

    Raises:
        ConfigError: if the CPU has no 8-bit instructions (VNNI); 8-bit layers would be slower and less accurate.
    """
    if not torch.cpu._is_vnni_supported():
        raise ConfigError("quantize: found a CPU without VNNI instructions, expected AVX-512 VNNI; leave quantize out")
    linears = [(name, one) for name, one in module.named_modules() if type(one) is nn.Linear]
    if frozen_only:
        linears = [(name, one) for name, one in linears if not one.weight.requires_grad]
    for name, linear in linears:
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, Int8Linear(linear))
    return len(linears)
