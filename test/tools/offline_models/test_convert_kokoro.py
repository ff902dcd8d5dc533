"""Quantised layers, as onnxruntime writes them, converted to float32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from offline_models import convert_kokoro
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array, to_array
from onnx.reference import ReferenceEvaluator


def quantized(value: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values of 8 bits, scale and zero point of a tensor, or of each index along an axis."""
    others = tuple(i for i in range(value.ndim) if i != axis) if axis is not None else None
    low, high = value.min(others, keepdims=True), value.max(others, keepdims=True)
    scale = ((high - low) / 255).astype(np.float32)
    zero = np.round(-low / scale).clip(0, 255).astype(np.uint8)
    bits = np.clip(np.round(value / scale) + zero, 0, 255).astype(np.uint8)
    shape = [] if axis is None else [-1]
    return bits, scale.reshape(shape), zero.reshape(shape)


class Layers:
    """A graph under construction, and its stored tensors."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: dict[str, np.ndarray] = {}

    def add(self, op: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        self.nodes.append(make_node(op, inputs, outputs, f"{outputs[0]}_node", **attributes))

    def product(
        self, op: str, name: str, x: str, weight: np.ndarray, axis: int | None, bias: np.ndarray | None = None
    ) -> None:
        """Add the chain of a layer, whose output is called ``name``."""
        for end, value in zip(("bits", "scale", "zero"), quantized(weight, axis), strict=True):
            self.stored[f"{name}_w_{end}"] = value
        self.add("DynamicQuantizeLinear", [x], [f"{name}_x", f"{name}_x_scale", f"{name}_x_zero"])
        self.add("Mul", [f"{name}_x_scale", f"{name}_w_scale"], [f"{name}_scale"])
        self.add(op, [f"{name}_x", f"{name}_w_bits", f"{name}_x_zero", f"{name}_w_zero"], [f"{name}_sum"])
        total = f"{name}_sum"
        if bias is not None:
            self.stored |= {f"{name}_bias": bias, f"{name}_shape": np.array([1, -1, 1])}
            self.add("Div", [f"{name}_bias", f"{name}_scale"], [f"{name}_b0"])
            self.add("Floor", [f"{name}_b0"], [f"{name}_b1"])
            self.add("Cast", [f"{name}_b1"], [f"{name}_b2"], to=onnx.TensorProto.INT32)
            self.add("Reshape", [f"{name}_b2", f"{name}_shape"], [f"{name}_b3"])
            self.add("Add", [total, f"{name}_b3"], [f"{name}_biased"])
            total = f"{name}_biased"
        self.add("Cast", [total], [f"{name}_cast"], to=onnx.TensorProto.FLOAT)
        self.add("Mul", [f"{name}_cast", f"{name}_scale"], [name])

    def model(self, shape_in: list[int], dims_out: int) -> onnx.ModelProto:
        """Return the graph from ``x`` to ``y``."""
        start = make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape_in)
        end = make_tensor_value_info("y", onnx.TensorProto.FLOAT, [f"y{i}" for i in range(dims_out)])
        tensors = [from_array(value, name) for name, value in self.stored.items()]
        graph = make_graph(self.nodes, "graph", [start], [end], tensors)
        return make_model(graph, opset_imports=[make_opsetid("", 20), make_opsetid("com.microsoft", 1)], ir_version=9)


def converted(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    (folder / "target").mkdir()
    onnx.save(model, str(folder / "int8.onnx"))
    convert_kokoro.convert(folder, folder / "target")
    return onnx.load(str(folder / "target" / convert_kokoro.GRAPH))


@pytest.mark.parametrize("per_channel", [True, False])
def test_products_with_and_without_bias(tmp_path: Path, per_channel: bool) -> None:
    random = np.random.default_rng(0)
    layers = Layers()
    kernel, bias = random.standard_normal((6, 4, 3)).astype(np.float32), np.arange(6, dtype=np.float32)
    layers.product("ConvInteger", "conv", "x", kernel, None, bias)
    layers.product(
        "MatMulInteger", "y", "conv", random.standard_normal((8, 5)).astype(np.float32), 1 if per_channel else None
    )
    model = layers.model([1, 4, 10], 3)
    inputs = {"x": random.standard_normal((1, 4, 10)).astype(np.float32)}
    expected = ReferenceEvaluator(model).run(None, inputs)[0]
    float_model = converted(model, tmp_path)
    assert [node.op_type for node in float_model.graph.node] == ["Conv", "MatMul"]
    assert len(float_model.graph.initializer) == 3
    found = ReferenceEvaluator(float_model).run(None, inputs)[0]
    assert found.shape == expected.shape == (1, 6, 5)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_lstm(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    layers = Layers()
    weights = [random.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 16), (2, 4, 16))]
    for name, weight in zip("wr", weights, strict=True):
        for end, value in zip(("", "_scale", "_zero"), quantized(weight, 0), strict=True):
            layers.stored[name + end] = value
    names = ["x", "w", "r", "", "", "", "", "", "w_scale", "w_zero", "r_scale", "r_zero"]
    attributes = {"direction": "bidirectional", "hidden_size": 4}
    layers.add("DynamicQuantizeLSTM", names, ["y"], domain="com.microsoft", **attributes)
    float_model = converted(layers.model([7, 1, 3], 4), tmp_path)
    [node] = float_model.graph.node
    assert (node.op_type, node.domain) == ("LSTM", "")
    assert {attribute.name for attribute in node.attribute} == attributes.keys()
    stored = {tensor.name: to_array(tensor) for tensor in float_model.graph.initializer}
    for name, weight in zip(node.input[1:3], weights, strict=True):
        assert np.abs(stored[name] - weight.transpose(0, 2, 1)).max() <= 0.51 * np.ptp(weight) / 255
    inputs = {"x": random.standard_normal((7, 1, 3)).astype(np.float32)}
    assert ReferenceEvaluator(float_model).run(None, inputs)[0].shape == (7, 2, 1, 4)


def test_an_unknown_form_is_an_error(tmp_path: Path) -> None:
    layers = Layers()
    layers.product("MatMulInteger", "y", "x", np.eye(3, dtype=np.float32), None)
    layers.nodes[-2].op_type = "Neg"
    with pytest.raises(ValueError, match="y_sum_node: found Neg and Mul, expected Cast and Mul"):
        converted(layers.model([2, 3], 2), tmp_path)
