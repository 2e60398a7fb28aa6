"""What follows from a table by arithmetic: names, shapes, parameters, multiply-adds, bytes."""

import math
from typing import NamedTuple

from alexnet.errors import ConfigError
from alexnet.network.rows import Convolution, Dense, Layer, Operation, Pool, Rounding, Spec


class Shape(NamedTuple):
    """What one row produces for one image."""

    name: str
    kernel: tuple[int, ...]
    """Shape of one set of weights: (out, in per group, h, w) or (out, in per group)."""
    overhang_px: int
    """Zeros to add at the bottom and right so that every window is complete."""
    output: tuple[int, ...]
    """(C, H, W) or (units,) of the layer itself."""
    final: tuple[int, ...]
    """The same after pooling."""
    parameters: int
    multiply_adds: int
    activation_values: int = 0
    """Numbers that the layer and each operation after it leave behind, as in training."""

    @property
    def neurons(self) -> int:
        """Outputs of the layer itself, before pooling."""
        return math.prod(self.output)


def count_windows(extent: int, window: int, stride: int, rounding: Rounding) -> int:
    """Positions of a window along one axis (2012 source, layer.py:1004 for "ceil")."""
    steps = extent - window
    return 1 + (-(-steps // stride) if rounding == "ceil" else steps // stride)


def count_pooled(extent: int, window: int, stride: int, rounding: Rounding = "ceil") -> int:
    """Pooled positions along one axis: the ceiling, but no window that starts outside; or the floor."""
    if rounding == "floor":
        return 1 + max(0, extent - window) // stride
    positions = 1 + max(0, -(-(extent - window) // stride))
    return positions - 1 if (positions - 1) * stride >= extent else positions


def count_groups(spec: Spec, layer: Layer) -> int:
    """Groups of a layer: one per tower where kernels or units see only their own."""
    return spec.towers if isinstance(layer, Convolution | Dense) and layer.sees == "own tower" else 1


def name_steps(row: Layer) -> tuple[str, ...]:
    """Names of the operations after a layer: "conv1.relu"; a second one of its kind is "conv1.pool2"."""
    kinds = [step.kind for step in row.then]
    return tuple(
        f"{row.name}.{kind}" + (str(kinds[: position + 1].count(kind)) if kind in kinds[:position] else "")
        for position, kind in enumerate(kinds)
    )


def measure(spec: Spec) -> list[Shape]:
    """Return the shapes of every layer, in order.

    Raises:
        ConfigError: a window is larger than what it sees, or kernels do not divide among the towers.
    """
    current: tuple[int, ...] = (3, spec.input_px, spec.input_px)
    rows = []
    for layer in spec.layers:
        overhang = 0
        groups = count_groups(spec, layer)
        if isinstance(layer, Dense):
            seen = math.prod(current)
            _check_groups(spec, layer.name, groups, layer.units, "units", seen, "inputs")
            output: tuple[int, ...] = (layer.units,)
            kernel: tuple[int, ...] = (layer.units, seen // groups)
            multiply_adds, parameters = math.prod(kernel), math.prod(kernel) + layer.units
        else:
            if len(current) == 1:
                raise ConfigError(
                    f"layer {layer.name} of dialect {spec.dialect}: maps are needed before it, not units."
                )
            channels, height, _ = current
            _check_groups(spec, layer.name, groups, layer.kernels, "kernels", channels, "maps")
            extent = height + 2 * layer.padding_px
            if extent < layer.window_px:
                raise ConfigError(
                    f"layer {layer.name} of dialect {spec.dialect}: its {layer.window_px} px window does not fit into "
                    f"{extent} px. Use a larger input or a smaller window."
                )
            side = count_windows(extent, layer.window_px, layer.stride_px, spec.rounding)
            overhang = max(0, (side - 1) * layer.stride_px + layer.window_px - extent)
            kernel = (layer.kernels, channels // groups, layer.window_px, layer.window_px)
            output = (layer.kernels, side, side)
            multiply_adds = math.prod(kernel) * side * side
            copies = 1 if isinstance(layer, Convolution) else side * side
            parameters = (math.prod(kernel) + layer.kernels) * copies
        final, values = output, math.prod(output)
        for operation in layer.then:
            _check_maps(operation, final, layer, spec)
            final = shape_after(operation, final)
            values += math.prod(final)
        rows.append(Shape(layer.name, kernel, overhang, output, final, parameters, multiply_adds, values))
        current = final
    return rows


def count_training_operations(spec: Spec) -> int:
    """Return the floating-point operations of one training step per image.

    Forward, gradients of weights and gradients of inputs each cost two per multiply-add; the first layer needs no
    gradient of its inputs. 4.13 GFLOP for the paper's network.
    """
    shapes = measure(spec)
    return 2 * (3 * sum(shape.multiply_adds for shape in shapes) - shapes[0].multiply_adds)


def shape_after(operation: Operation, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an operation's output for one image."""
    if not isinstance(operation, Pool):
        return shape
    side = count_pooled(shape[1], operation.window_px, operation.stride_px, operation.rounding)
    return shape[0], side, side


def _check_maps(operation: Operation, shape: tuple[int, ...], layer: Layer, spec: Spec) -> None:
    if operation.kind in ("pool", "norm", "map_norm") and len(shape) == 1:
        what = "pooling" if operation.kind == "pool" else "normalisation"
        raise ConfigError(
            f"layer {layer.name} of dialect {spec.dialect}: {what} needs maps, not a dense layer's units."
        )


def _check_groups(spec: Spec, name: str, groups: int, out: int, what: str, seen: int, on: str) -> None:
    if out % groups or seen % groups:
        raise ConfigError(
            f"layer {name} of dialect {spec.dialect}: {out} {what} on {seen} {on} do not "
            f"divide among {groups} towers. Choose multiples of {groups}."
        )
