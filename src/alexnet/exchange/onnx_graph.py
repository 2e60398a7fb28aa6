"""A model as an ONNX graph, written node by node from its table.

Not traced: the graph has the table's names, standard operators, and nothing of PyTorch in it. Every tensor that
`activations` knows by a name has the same name here, with "/" for ".".
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.batches.preprocessing import Preprocessing
from alexnet.batches.views import Place, evaluation_views
from alexnet.errors import ConfigError
from alexnet.network.confidence import MEASURED_VIEWS, Rejection, unit_rows
from alexnet.network.layers import AnyLayer
from alexnet.network.model_file import Model
from alexnet.network.rows import (
    Convolution,
    Dense,
    Dropout,
    Layer,
    Local,
    Nonlinearity,
    Normalize,
    NormalizeMap,
    Operation,
    Pool,
    Rectify,
    Spec,
)
from alexnet.network.shapes import Shape, count_groups, count_pooled, name_steps, shape_after

OPSET = 17
"""Version of the operator set; read by onnxruntime 1.12 and later."""
INPUTS, IMAGES, LOGITS, PROBABILITIES = "inputs", "images", "logits", "probabilities"
DISTANCE, IS_UNKNOWN = "distance", "unknown"


def build_graph(model: Model, *, plain_normalization: bool = False, ten_views: bool = False) -> Any:
    """Return the model in evaluation mode as an onnx.ModelProto, float32, with any number of images N.

    Args:
        plain_normalization: Write response normalisation across kernels as a product, a convolution with ones, a power
            and a product, for programs that lack the operator LRN.
        ten_views: Return "probabilities" (N, K), the mean over ten views; otherwise "logits" (N, K) of the centre view.
            Of a model of independent classes, either way "probabilities": each is the logistic of its logit.
    Of a model that knows the unknown, "distance" (N,) float32 and "unknown" (N,) bool come after them.
    Either takes stored images, "images" (N, S, S, 3) uint8 RGB; mean image, crops and divisor are inside.
    Raises:
        ConfigError: the package onnx is not installed.
    """
    onnx = import_onnx()
    graph = _Graph(onnx, plain_normalization)
    spec = model.network.spec
    helper, proto = onnx.helper, onnx.TensorProto
    side = model.preprocessing.image_px
    given = helper.make_tensor_value_info(IMAGES, proto.UINT8, ["N", side, side, 3])
    places = evaluation_views(side, spec.input_px, 10 if ten_views else 1)
    logits, features = graph.network(model, graph.views(IMAGES, model.preprocessing, spec.input_px, places))
    result_name = name_result(model, ten_views=ten_views)
    returned = [helper.make_tensor_value_info(result_name, proto.FLOAT, ["N", spec.num_classes])]
    if ten_views:
        if model.independent is None:
            each = graph.node("Softmax", [logits], "view_probabilities", axis=1)
        else:
            each = graph.node("Sigmoid", [logits], "view_probabilities")
        graph.average_views(each, spec.num_classes, PROBABILITIES)
    elif model.independent is not None:
        graph.node("Sigmoid", [logits], PROBABILITIES)
    else:
        graph.node("Identity", [logits], LOGITS)
    if model.rejection is not None:
        features = graph.node("Flatten", [features], "features/flat", axis=1)
        if ten_views:
            features = graph.average_views(features, model.network.num_features, "features/mean")
        graph.reject(model.rejection, features, len(places))
        returned.append(helper.make_tensor_value_info(DISTANCE, proto.FLOAT, ["N"]))
        returned.append(helper.make_tensor_value_info(IS_UNKNOWN, proto.BOOL, ["N"]))
    built = helper.make_graph(graph.nodes, f"alexnet {spec.dialect}", [given], returned, graph.weights)
    result = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    values = describe_use(model).items()
    props = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values}
    helper.set_model_props(result, props)
    return result


def name_result(model: Model, *, ten_views: bool) -> str:
    """Return the name of the first output of a model's graph."""
    return PROBABILITIES if ten_views or model.independent is not None else LOGITS


def import_onnx() -> Any:
    """Return the package onnx.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise ConfigError(
            "exporting to ONNX needs the packages onnx and onnxruntime. Install them: pip install 'alexnet[export]'."
        ) from None
    return onnx


def describe_use(model: Model) -> dict[str, Any]:
    """Return what a user of an exported file must know beside weights and mean image, as JSON values."""
    preprocessing = model.preprocessing
    divisor = preprocessing.divisor
    return {
        "dialect": model.network.spec.dialect,
        "spec": model.network.spec.model_dump_json(),
        "class_names": list(model.class_names),
        "class_titles": list(model.class_titles),
        "framing": preprocessing.framing,
        "image_px": preprocessing.image_px,
        "crop_px": model.network.spec.input_px,
        "mean_rgb": [float(value) for value in preprocessing.mean_image.mean((0, 1))],
        "mean_place": preprocessing.mean_place,
        "divisor": list(divisor) if isinstance(divisor, tuple) else [divisor],
        **_describe_independent(model),
    }


def _describe_independent(model: Model) -> dict[str, Any]:
    """That classes are independent, and from which probability on each is there, by the number of views."""
    if model.independent is None:
        return {}
    classes = model.network.spec.num_classes
    return {
        "outputs": "independent",
        "thresholds": {str(views): model.independent.for_views(views, classes).tolist() for views in MEASURED_VIEWS},
    }


class _Graph:
    """Nodes and constants under construction; methods return the name of a node's output."""

    def __init__(self, onnx: Any, plain_normalization: bool) -> None:
        self._onnx = onnx
        self._plain_normalization = plain_normalization
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._known: set[str] = set()

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        if name not in self._known:
            self._known.add(name)
            self.weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def number(self, value: float) -> str:
        return self.constant(f"number {value!r}", np.array(value, np.float32))

    def split(self, x: str, parts: int) -> list[str]:
        """Cut the channels or units into equal parts."""
        names = [f"{x}/part{number}" for number in range(parts)]
        self.nodes.append(self._onnx.helper.make_node("Split", [x], names, name=f"{x}/split", axis=1))
        return names

    def views(self, images: str, preprocessing: Preprocessing, crop_px: int, places: Sequence[Place]) -> str:
        """Stored images (N, S, S, 3) to the inputs of V views, view by view: (V * N, 3, crop, crop)."""
        mean = preprocessing.mean_image
        scale = self.constant("divisor", np.array(preprocessing.divisor, np.float32).reshape(1, -1, 1, 1))
        x = self.node("Cast", [images], "images/float", to=self._onnx.TensorProto.FLOAT)
        x = self.node("Transpose", [x], "images/nchw", perm=[0, 3, 1, 2])
        first = (mean.shape[0] - crop_px) // 2
        aligned = preprocessing.mean_place == "aligned" or len(places) == 1  # the same for the centre
        part = mean if aligned else mean[first : first + crop_px, first : first + crop_px]
        subtracted = self.constant("mean_image", part.transpose(2, 0, 1)[None])
        if aligned:
            x = self.node("Sub", [x, subtracted], "images/centred")
        crops = []
        for number, (top, left, mirrored) in enumerate(places):
            name = f"view{number}"
            bounds = {
                "starts": [top, left + crop_px - 1 if mirrored else left],
                "ends": [top + crop_px, left - 1 if mirrored and left else (-(2**31) if mirrored else left + crop_px)],
                "axes": [2, 3],
                "steps": [1, -1 if mirrored else 1],
            }
            ends = [self.constant(f"{name}/{what}", np.array(value, np.int64)) for what, value in bounds.items()]
            crops.append(self.node("Slice", [x, *ends], name))
        x = self.node("Concat", crops, "views", axis=0) if len(crops) > 1 else crops[0]
        if not aligned:
            x = self.node("Sub", [x, subtracted], "views/centred")
        return self.node("Div", [x, scale], INPUTS)

    def average_views(self, x: str, width: int, output: str) -> str:
        """(10 * N, width), view by view, to the mean over the views (N, width)."""
        shape = self.constant(f"{output}/shape", np.array([10, -1, width], np.int64))
        stacked = self.node("Reshape", [x, shape], f"{output}/by_view")
        return self.node("ReduceMean", [stacked], output, axes=[0], keepdims=0)

    def reject(self, rejection: Rejection, features: str, num_views: int) -> None:
        """Features (N, D) to their distances, as `Rejection.measure` has them, and whether these are too large."""
        lengths = self.node("ReduceL2", [features], "features/length", axes=[1], keepdims=1)
        lengths = self.node("Max", [lengths, self.number(1e-30)], "features/divisor")
        directions = self.node("Div", [features, lengths], "features/direction")
        references = self.constant("references", unit_rows(rejection.references).T)
        cosines = self.node("MatMul", [directions, references], "cosines")
        nearest = self.node("ReduceMax", [cosines], "cosines/nearest", axes=[1], keepdims=0)
        self.node("Sub", [self.number(1.0), nearest], DISTANCE)
        threshold = self.number(rejection.threshold(num_views))
        self.node("Greater", [DISTANCE, threshold], IS_UNKNOWN)

    def network(self, model: Model, x: str) -> tuple[str, str]:
        """Inputs to logits, and what the last layer reads."""
        net = model.network
        features = x
        for (row, layer), shape in zip(net.named_layers(), net.shapes, strict=True):
            features = x
            x = self._layer(row, layer, shape, net.spec, x)
            current = shape.output
            for name, step in zip(name_steps(row), row.then, strict=True):
                x = self._operation(step, x, name.replace(".", "/"), current, net.spec)
                current = shape_after(step, current)
        return x, features

    def _layer(self, row: Layer, layer: AnyLayer, shape: Shape, spec: Spec, x: str) -> str:
        weight = layer.weight.detach().float().cpu().contiguous().numpy()
        assert layer.bias is not None
        bias = layer.bias.detach().float().cpu().numpy()
        match row:
            case Convolution():
                before, after = row.padding_px, row.padding_px + shape.overhang_px
                inputs = [x, self.constant(f"{row.name}.weight", weight), self.constant(f"{row.name}.bias", bias)]
                return self.node(
                    "Conv",
                    inputs,
                    row.name,
                    kernel_shape=[row.window_px] * 2,
                    strides=[row.stride_px] * 2,
                    pads=[before, before, after, after],
                    group=count_groups(spec, row),
                )
            case Dense():
                return self._dense(row, weight, bias, count_groups(spec, row), x)
            case Local():
                return self._local(row, weight, bias, shape, x)

    def _dense(self, row: Dense, weight: NDArray[Any], bias: NDArray[Any], groups: int, x: str) -> str:
        x = self.node("Flatten", [x], f"{row.name}/flat", axis=1)
        if groups == 1:
            inputs = [x, self.constant(f"{row.name}.weight", weight), self.constant(f"{row.name}.bias", bias)]
            return self.node("Gemm", inputs, row.name, transB=1)
        outputs = []
        for number, part in enumerate(self.split(x, groups)):
            own = slice(number * row.units // groups, (number + 1) * row.units // groups)
            values = (("weight", weight[own]), ("bias", bias[own]))
            names = [self.constant(f"{row.name}.{what}{number}", value) for what, value in values]
            outputs.append(self.node("Gemm", [part, *names], f"{row.name}/part{number}", transB=1))
        return self.node("Concat", outputs, row.name, axis=1)

    def _local(self, row: Local, weight: NDArray[Any], bias: NDArray[Any], shape: Shape, x: str) -> str:
        """Gather the patches with a convolution of ones, then multiply each place with its own weights."""
        window, side = row.window_px, shape.output[1]
        inputs = shape.kernel[1] * window * window
        before, after = row.padding_px, row.padding_px + shape.overhang_px
        identity = np.eye(inputs, dtype=np.float32).reshape(inputs, shape.kernel[1], window, window)
        x = self.node(
            "Conv",
            [x, self.constant(f"{row.name}.patches", identity)],
            f"{row.name}/patches",
            kernel_shape=[window] * 2,
            strides=[row.stride_px] * 2,
            pads=[before, before, after, after],
        )
        flat = self.constant(f"{row.name}.flat", np.array([0, inputs, side * side], np.int64))
        x = self.node("Reshape", [x, flat], f"{row.name}/places")
        x = self.node("Transpose", [x], f"{row.name}/by_place", perm=[2, 0, 1])
        x = self.node(
            "MatMul", [x, self.constant(f"{row.name}.weight", weight.transpose(0, 2, 1))], f"{row.name}/product"
        )
        x = self.node("Add", [x, self.constant(f"{row.name}.bias", bias[:, None])], f"{row.name}/sum")
        x = self.node("Transpose", [x], f"{row.name}/by_kernel", perm=[1, 2, 0])
        maps = self.constant(f"{row.name}.maps", np.array([0, row.kernels, side, side], np.int64))
        return self.node("Reshape", [x, maps], row.name)

    def _operation(self, step: Operation, x: str, name: str, shape: tuple[int, ...], spec: Spec) -> str:
        match step:
            case Rectify():
                return self.node("Relu", [x], name)
            case Nonlinearity():
                inner = self.node("Mul", [x, self.number(step.slope)], f"{name}/slope")
                operator = {"tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "abs": "Abs"}[step.kind]
                return self.node("Mul", [self.node(operator, [inner], f"{name}/bent"), self.number(step.scale)], name)
            case Pool():
                return self._pool(step, x, name, shape[1])
            case Dropout():
                if step.scaling == "in training":
                    return self.node("Identity", [x], name)
                return self.node("Mul", [x, self.number(1 - step.probability)], name)
            case NormalizeMap():
                reach = (step.size // 2, step.size - 1 - step.size // 2)
                squares = self.node("Mul", [x, x], f"{name}/squares")
                # Not by pads and count_include_pad, which OpenCV's classic engine leaves out of account.
                pads = np.array([0, 0, reach[0], reach[0], 0, 0, reach[1], reach[1]], np.int64)
                padded = self.node("Pad", [squares, self.constant(f"{name}.pads", pads)], f"{name}/padded")
                energy = self.node("AveragePool", [padded], f"{name}/energy", kernel_shape=[step.size] * 2)
                return self._divide(x, energy, name, step.k, step.alpha * step.size**2, step.beta)
            case Normalize():
                groups = spec.towers if step.within == "tower" else 1
                if self._plain_normalization or step.size % 2 == 0:
                    return self._plain_norm(step, x, name, shape[0], groups)
                attributes = {"size": step.size, "alpha": step.alpha * step.size, "beta": step.beta, "bias": step.k}
                if groups == 1:
                    return self.node("LRN", [x], name, **attributes)
                parts = [self.node("LRN", [part], f"{part}/norm", **attributes) for part in self.split(x, groups)]
                return self.node("Concat", parts, name, axis=1)

    def _plain_norm(self, step: Normalize, x: str, name: str, channels: int, groups: int) -> str:
        """Sum the squares of the window with a convolution of ones; windows end where towers do."""
        before, after = step.size // 2, step.size - 1 - step.size // 2
        i, j = np.arange(channels)[:, None], np.arange(channels)[None, :]
        width = channels // groups
        window = (j >= i - before) & (j <= i + after) & (i // width == j // width)
        squares = self.node("Mul", [x, x], f"{name}/squares")
        ones = self.constant(f"{name}.window", window.astype(np.float32)[:, :, None, None])
        energy = self.node("Conv", [squares, ones], f"{name}/energy", kernel_shape=[1, 1])
        return self._divide(x, energy, name, step.k, step.alpha, step.beta)

    def _divide(self, x: str, energy: str, name: str, k: float, alpha: float, beta: float) -> str:
        """x * (k + alpha * energy) ** -beta."""
        scaled = self.node("Mul", [energy, self.number(alpha)], f"{name}/scaled")
        divisor = self.node("Add", [scaled, self.number(k)], f"{name}/divisor")
        factor = self.node("Pow", [divisor, self.number(-beta)], f"{name}/factor")
        return self.node("Mul", [x, factor], name)

    def _pool(self, step: Pool, x: str, name: str, extent: int) -> str:
        """Pool with the last windows padded to their whole size, which maxima and means leave out of account."""
        side = count_pooled(extent, step.window_px, step.stride_px, step.rounding)
        beyond = max(0, (side - 1) * step.stride_px + step.window_px - extent)
        attributes: dict[str, Any] = {
            "kernel_shape": [step.window_px] * 2,
            "strides": [step.stride_px] * 2,
            "pads": [0, 0, beyond, beyond],
        }
        if step.method == "maximum":
            return self.node("MaxPool", [x], name, **attributes)
        return self.node("AveragePool", [x], name, count_include_pad=0, **attributes)


def count_bytes(model: Model) -> int:
    """Return the bytes of a model's weights in float32, which an ONNX file must hold."""
    return sum(4 * math.prod(weight.shape) for weight in model.network.parameters())
