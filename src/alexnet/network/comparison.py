"""Tables in words: one dialect layer by layer, or several beside each other where they differ."""

from collections.abc import Sequence

from alexnet.network.rows import (
    Convolution,
    Dense,
    Dropout,
    Layer,
    Nonlinearity,
    Normalize,
    NormalizeMap,
    Operation,
    Pool,
    Spec,
)
from alexnet.network.shapes import Shape, measure, name_steps

ABSENT = "–"
"""Cell of what a dialect does not have."""

_MEBIBYTE = 2**20


def tabulate_shapes(spec: Spec) -> tuple[list[str], list[list[str]]]:
    """Return columns and a row per layer: weights, outputs, and what is done to them."""
    rows = [
        [
            shape.name,
            "x".join(map(str, shape.kernel)) + (" per place" if layer.kind == "local" else ""),
            "x".join(map(str, shape.output)),
            ", ".join(step.kind for step in layer.then) or ABSENT,
        ]
        for shape, layer in zip(measure(spec), spec.layers, strict=True)
    ]
    return ["layer", "weights", "output", "then"], rows


def tabulate_costs(spec: Spec) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows: one per layer and a total.

    Memory is that of float32 numbers: the weights, and what one image leaves behind at the layer and at every operation
    after it, as training keeps them.
    """
    columns = ["layer", "neurons", "parameters", "multiply-adds", "weights MiB", "per image MiB"]
    shapes = measure(spec)
    return columns, [*([shape.name, *_figures([shape])] for shape in shapes), ["total", *_figures(shapes)]]


def _figures(shapes: Sequence[Shape]) -> list[str]:
    counts = [sum(getattr(shape, name) for shape in shapes) for name in ("neurons", "parameters", "multiply_adds")]
    kept = sum(shape.activation_values for shape in shapes)
    sizes = [4 * counts[1] / _MEBIBYTE, 4 * kept / _MEBIBYTE]
    return [*(f"{count:,}" for count in counts), *(f"{size:,.2f}" for size in sizes)]


def tabulate_differences(specs: Sequence[Spec]) -> list[list[str]]:
    """Return one row for every property in which the specs are not all alike: its name, then a cell for each spec."""
    tables = [_properties(spec) for spec in specs]
    names = _in_order([list(table) for table in tables])
    rows = [[name, *(table.get(name, ABSENT) for table in tables)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _properties(spec: Spec) -> dict[str, str]:
    """Return what defines a spec and what follows from it, in words, in the order of the data."""
    shapes = measure(spec)
    result = {
        "input": f"{spec.input_px} x {spec.input_px}",
        "towers": str(spec.towers),
        "convolution windows": "may hang over the edge" if spec.rounding == "ceil" else "whole ones only",
        "initial weights": "Gaussian" if spec.initial_weights == "table" else "uniform, +-1 / sqrt(fan-in)",
    }
    for layer, shape in zip(spec.layers, shapes, strict=True):
        for name, value in _layer_properties(layer, shape, spec).items():
            result[f"{layer.name}: {name}"] = value
    result["parameters"] = f"{sum(shape.parameters for shape in shapes):,}"
    result["multiply-adds"] = f"{sum(shape.multiply_adds for shape in shapes):,}"
    result["neurons"] = f"{sum(shape.neurons for shape in shapes):,}"
    return result


def _layer_properties(layer: Layer, shape: Shape, spec: Spec) -> dict[str, str]:
    result = {}
    if isinstance(layer, Dense):
        result["units"] = "one per class" if layer is spec.layers[-1] else f"{layer.units:,}"
    else:
        result["kernels"] = f"{layer.kernels}" + (", untied" if layer.kind == "local" else "")
        result["window, stride, padding"] = f"{layer.window_px}, {layer.stride_px}, {layer.padding_px}"
        result["zeros read beyond the edge"] = f"{shape.overhang_px} px"
        result["output"] = " x ".join(map(str, shape.output))
    if isinstance(layer, Convolution | Dense):
        result["sees"] = layer.sees if spec.towers > 1 else "all"
    result["then"] = ", ".join(map(describe_operation, layer.then)) or ABSENT
    if spec.initial_weights == "table":
        result["first weights, bias"] = f"{layer.weight_std:g}, {layer.bias:g}"
    return result


def describe_operation(step: Operation) -> str:
    """Return an operation with the constants that tell it from others of its kind."""
    match step:
        case Normalize():
            reach = " in the tower" if step.within == "tower" else ""
            return f"norm {step.size}{reach} (k {step.k:g}, alpha {step.alpha:.3g}, beta {step.beta:g})"
        case NormalizeMap():
            return f"map norm {step.size} x {step.size} (k {step.k:g}, alpha {step.alpha:.3g}, beta {step.beta:g})"
        case Pool():
            rounding = "" if step.rounding == "ceil" else " whole windows"
            return f"{'max' if step.method == 'maximum' else 'mean'} pool {step.window_px}/{step.stride_px}{rounding}"
        case Dropout():
            return f"dropout {step.probability:g} scaled {step.scaling}"
        case Nonlinearity() if (step.scale, step.slope) != (1, 1):
            return f"{step.scale:g} {step.kind}({step.slope:g} x)"
        case _:
            return step.kind


def draw_taps(spec: Spec) -> str:
    """Return a picture in text of where each named activation sits: one line per layer, data flowing down."""
    lines = [f"image {spec.input_px} x {spec.input_px} x 3"]
    for layer, shape in zip(spec.layers, measure(spec), strict=True):
        taps = [layer.name, *name_steps(layer)]
        size = " x ".join(map(str, shape.output))
        final = " x ".join(map(str, shape.final))
        lines.append("  |")
        lines.append("  +-> " + " -> ".join(f"[{tap}]" for tap in taps) + f"   {size}" + _arrow(size, final))
    return "\n".join(lines)


def _arrow(size: str, final: str) -> str:
    return "" if size == final else f" -> {final}"


def _in_order(lists: Sequence[Sequence[str]]) -> list[str]:
    """Merge lists of names into one that keeps the order of each: a name goes behind the one it follows in its list."""
    merged: list[str] = []
    for names in lists:
        position = 0
        for name in names:
            if name in merged:
                position = merged.index(name) + 1
            else:
                merged.insert(position, name)
                position += 1
    return merged
