"""Conversion of Kokoro's ONNX graph from 8-bit to 32-bit weights.

On a CPU the float32 graph is about twice as fast. Each quantised layer is a chain of nodes (quantise the input, integer
product, bias, cast, scale) and is replaced by one float32 node. The quantised layers are those of onnxruntime's dynamic
quantisation: ``MatMulInteger``, ``ConvInteger`` and ``DynamicQuantizeLSTM``.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

GRAPH = "kokoro.onnx"
FLOAT_OPS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


def convert(source: Path, target: Path) -> None:
    """Write the float32 graph of the one ONNX file in ``source``.

    Args:
        source: directory with the quantised graph.
        target: existing, empty directory.

    Raises:
        ValueError: if a quantised layer has an unknown structure.
    """
    [path] = source.glob("*.onnx")
    model = onnx.load(str(path))
    _Dequantizer(model.graph).run()
    onnx.checker.check_model(model)
    onnx.save(model, str(target / GRAPH))


class _Dequantizer:
    """Replaces the quantised layers of a graph in place."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.weights: dict[str, np.ndarray] = {}

    def run(self) -> None:
        """Replace all layers, and remove nodes and tensors without users."""
        replaced = {}  # by the name of the layer's last output; the position in the graph is kept
        for node in self.graph.node:
            if node.op_type in FLOAT_OPS:
                layer = self._product(node)
            elif node.op_type == "DynamicQuantizeLSTM":
                layer = self._lstm(node)
            else:
                continue
            replaced[layer.output[0]] = layer
        nodes = self._reachable([replaced.get(next(iter(node.output)), node) for node in self.graph.node])
        tensors = [*self.graph.initializer, *(from_array(value, name) for name, value in self.weights.items())]
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in tensors if tensor.name in used]
        for field in (self.graph.node, self.graph.initializer, self.graph.value_info):
            del field[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(kept)

    def _product(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return the float32 node of an integer product, its bias and its scale."""
        quantized, weight, _, zero = node.input
        bias: list[str] = []
        last = self._only_user(node.output[0])
        if last.op_type == "Add":
            bias, last = [self._bias(last.input[1])], self._only_user(last.output[0])
        scaling = self._only_user(last.output[0])
        if (last.op_type, scaling.op_type) != ("Cast", "Mul"):
            raise ValueError(f"{node.name}: found {last.op_type} and {scaling.op_type}, expected Cast and Mul")
        scale = self._array(self.makers[scaling.input[1]].input[1])  # scale of the input * scale of the weight
        dims = self._array(weight).ndim
        axis = 0 if node.op_type == "ConvInteger" else dims - 1  # of the output channels
        inputs = [self._source(quantized), self._dequantized(weight, scale, self._array(zero), axis)]
        name = f"{node.name}_float"
        float_node = make_node(FLOAT_OPS[node.op_type], [*inputs, *bias], scaling.output, name)
        float_node.attribute.extend(node.attribute)
        return float_node

    def _lstm(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return the float32 node of a quantised LSTM; its weights are transposed."""
        names = [*node.input, *[""] * (12 - len(node.input))]
        inputs = [names[0]]
        for weight, scale, zero in ((names[1], *names[8:10]), (names[2], *names[10:12])):
            key = self._dequantized(weight, self._array(scale), self._array(zero), axis=0)
            self.weights[key] = np.ascontiguousarray(self.weights[key].transpose(0, 2, 1))
            inputs.append(key)
        lstm = make_node("LSTM", [*inputs, *names[3:8]], node.output, f"{node.name}_float")
        lstm.attribute.extend(node.attribute)
        return lstm

    def _dequantized(self, weight: str, scale: np.ndarray, zero: np.ndarray, axis: int) -> str:
        """Store a weight in float32; return its new name.

        Scale and zero point are scalars, or vectors along ``axis``.
        """
        values = self._array(weight).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        name = f"{weight}_float"
        self.weights[name] = (values - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)
        return name

    def _source(self, quantized: str) -> str:
        """Return the float32 input of the quantisation of a tensor."""
        return self.makers[quantized].input[0]

    def _bias(self, name: str) -> str:
        """Return the stored float32 bias of a quantised and reshaped bias."""
        while name not in self.stored:
            name = self.makers[name].input[0]
        return name

    def _array(self, name: str) -> np.ndarray:
        return to_array(self.stored[name])

    def _only_user(self, name: str) -> onnx.NodeProto:
        users = self.users.get(name, [])
        if len(users) != 1:
            raise ValueError(f"{name}: found {len(users)} users, expected one")
        return users[0]

    def _reachable(self, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return the nodes that the outputs of the graph depend on, in their order."""
        makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
        found: set[int] = set()
        names: list[Iterable[str]] = [[output.name for output in self.graph.output]]
        while names:
            for name in names.pop():
                if (i := makers.get(name)) is not None and i not in found:
                    found.add(i)
                    names.append(nodes[i].input)
        return [nodes[i] for i in sorted(found)]
