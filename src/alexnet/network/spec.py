"""The architecture as a table: one row per layer with weights, and what happens to its output (paper, section 3).

A *dialect* is a value of `Spec`. The network, its layer table, its initialisation and the model file are all read from
it, so another AlexNet is another table here and no new class elsewhere. Rows are plain data (frozen pydantic models):
they are stored as JSON inside every model file and validated on the way back.

Not here: how a row is computed (network.alexnet), or how the network is trained (recipes).
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alexnet.errors import ConfigError, WeightsError

Rounding = Literal["ceil", "floor"]


class Row(BaseModel):
    """A frozen record of the table; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rectify(Row):
    """max(0, x) (paper 3.1)."""

    kind: Literal["relu"] = "relu"


class Normalize(Row):
    """Response normalisation across neighbouring kernels (paper 3.3)."""

    kind: Literal["norm"] = "norm"
    size: int = Field(5, ge=1)
    """Kernels in the window, the paper's n."""
    k: float = Field(2.0, gt=0)
    alpha: float = Field(1e-4, ge=0)
    """Multiplies the sum of squares as printed; the 2012 source and Caffe first divide theirs by `size`."""
    beta: float = Field(0.75, ge=0)
    within: Literal["layer", "tower"] = "layer"
    """Whether a window may reach over the border between the towers."""


class Pool(Row):
    """Maximum over overlapping windows (paper 3.4); a window is cut off at the bottom and right edge."""

    kind: Literal["pool"] = "pool"
    window_px: int = Field(3, ge=1)
    stride_px: int = Field(2, ge=1)


class Dropout(Row):
    """Zero with this probability in training; multiply by its complement in testing (paper 4.2)."""

    kind: Literal["dropout"] = "dropout"
    probability: float = Field(0.5, ge=0, lt=1)


Operation = Annotated[Rectify | Normalize | Pool | Dropout, Field(discriminator="kind")]


class Convolution(Row):
    """A convolution; `kernels` counts those of all towers together."""

    kind: Literal["convolution"] = "convolution"
    name: str
    kernels: int = Field(ge=1)
    window_px: int = Field(ge=1)
    stride_px: int = Field(1, ge=1)
    padding_px: int = Field(0, ge=0)
    sees: Literal["all", "own tower"] = "all"
    """Whether a kernel is connected to the maps of every tower or only to those of its own."""
    then: tuple[Operation, ...] = ()
    weight_std: float = Field(0.01, gt=0)
    bias: float = 0.0


class Dense(Row):
    """A fully connected layer."""

    kind: Literal["dense"] = "dense"
    name: str
    units: int = Field(ge=1)
    then: tuple[Operation, ...] = ()
    weight_std: float = Field(0.01, gt=0)
    bias: float = 0.0


Layer = Annotated[Convolution | Dense, Field(discriminator="kind")]


class Spec(Row):
    """A whole network, from the crop to the logits."""

    dialect: str
    input_px: int = Field(224, ge=1)
    towers: int = Field(2, ge=1)
    rounding: Rounding = "ceil"
    """How a convolution counts its windows. "ceil": the last one may hang over the bottom and right edge, where it
    reads zeros, as the 2012 source does; this is what makes 55 out of 224."""
    layers: tuple[Layer, ...] = Field(min_length=1)

    @property
    def num_classes(self) -> int:
        """Units of the last layer."""
        last = self.layers[-1]
        return last.units if isinstance(last, Dense) else last.kernels

    @classmethod
    def from_json(cls, text: str, *, where: str) -> "Spec":
        """Read a spec that `model_dump_json` wrote.

        Raises:
            WeightsError: the text is not a spec; the message names `where` and the first field that is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as problem:
            first = problem.errors()[0]
            field = ".".join(map(str, first["loc"])) or "document"
            raise WeightsError(
                f"{where}: its network description is not readable ({field}: {first['msg']}). "
                "It was not written by this version of alexnet; obtain the file again or export it anew."
            ) from None


class Shape(NamedTuple):
    """What one row produces for one image."""

    name: str
    kernel: tuple[int, ...]
    """Shape of the weight: (out, in per group, h, w) or (out, in)."""
    overhang_px: int
    """Zeros to add at the bottom and right so that every window is complete."""
    output: tuple[int, ...]
    """(C, H, W) or (units,) of the layer itself."""
    final: tuple[int, ...]
    """The same after pooling."""
    parameters: int
    multiply_adds: int

    @property
    def neurons(self) -> int:
        """Outputs of the layer itself, before pooling."""
        return math.prod(self.output)


def count_windows(extent: int, window: int, stride: int, rounding: Rounding) -> int:
    """Positions of a window along one axis (2012 source, layer.py:1004 for "ceil")."""
    steps = extent - window
    return 1 + (-(-steps // stride) if rounding == "ceil" else steps // stride)


def count_pooled(extent: int, window: int, stride: int) -> int:
    """Pooled positions along one axis: the ceiling, but no window that starts outside."""
    positions = 1 + max(0, -(-(extent - window) // stride))
    return positions - 1 if (positions - 1) * stride >= extent else positions


def measure(spec: Spec) -> list[Shape]:
    """Return the shapes of every layer, in order.

    Raises:
        ConfigError: a window is larger than what it sees, or kernels do not divide among the towers.
    """
    current: tuple[int, ...] = (3, spec.input_px, spec.input_px)
    rows = []
    for layer in spec.layers:
        overhang = 0
        output: tuple[int, ...]
        if isinstance(layer, Convolution):
            channels, height, _ = current
            groups = count_groups(spec, layer)
            if layer.kernels % groups or channels % groups:
                raise ConfigError(
                    f"layer {layer.name} of dialect {spec.dialect}: {layer.kernels} kernels on {channels} maps do not "
                    f"divide among {groups} towers. Choose multiples of {groups}."
                )
            extent = height + 2 * layer.padding_px
            if extent < layer.window_px:
                raise ConfigError(
                    f"layer {layer.name} of dialect {spec.dialect}: its {layer.window_px} px window does not fit into "
                    f"{extent} px. Use a larger input or a smaller window."
                )
            side = count_windows(extent, layer.window_px, layer.stride_px, spec.rounding)
            overhang = max(0, (side - 1) * layer.stride_px + layer.window_px - extent)
            kernel: tuple[int, ...] = (layer.kernels, channels // groups, layer.window_px, layer.window_px)
            output = (layer.kernels, side, side)
            positions = side * side
        else:
            kernel, output, positions = (layer.units, math.prod(current)), (layer.units,), 1
        weights = math.prod(kernel)
        final: tuple[int, ...] = output
        for operation in layer.then:
            if isinstance(operation, Pool):
                if isinstance(layer, Dense):
                    raise ConfigError(
                        f"layer {layer.name} of dialect {spec.dialect}: pooling needs maps, not a dense layer's units."
                    )
                maps, height = final[0], final[1]
                side = count_pooled(height, operation.window_px, operation.stride_px)
                final = (maps, side, side)
        rows.append(Shape(layer.name, kernel, overhang, output, final, weights + kernel[0], weights * positions))
        current = final
    return rows


def count_groups(spec: Spec, layer: Convolution) -> int:
    """Groups of a convolution: one per tower where kernels see only their own."""
    return spec.towers if layer.sees == "own tower" else 1


def paper(num_classes: int = 1000) -> Spec:
    """The network as printed: figure 2, sections 3.1 to 3.5, 4.2 and 5 for the initial weights."""
    relu, norm, pool, dropout = Rectify(), Normalize(), Pool(), Dropout()
    return Spec(
        dialect="paper",
        layers=(
            Convolution(name="conv1", kernels=96, window_px=11, stride_px=4, then=(relu, norm, pool)),
            Convolution(
                name="conv2", kernels=256, window_px=5, padding_px=2, sees="own tower", then=(relu, norm, pool), bias=1
            ),
            Convolution(name="conv3", kernels=384, window_px=3, padding_px=1, then=(relu,)),
            Convolution(name="conv4", kernels=384, window_px=3, padding_px=1, sees="own tower", then=(relu,), bias=1),
            Convolution(
                name="conv5", kernels=256, window_px=3, padding_px=1, sees="own tower", then=(relu, pool), bias=1
            ),
            Dense(name="fc6", units=4096, then=(relu, dropout), bias=1),
            Dense(name="fc7", units=4096, then=(relu, dropout), bias=1),
            Dense(name="fc8", units=num_classes),
        ),
    )


DIALECTS: dict[str, Callable[[int], Spec]] = {"paper": paper}
"""Name of a dialect -> function from the number of classes to its table."""


def find_dialect(name: str, num_classes: int) -> Spec:
    """Return the table of a dialect.

    Raises:
        ConfigError: no dialect has this name, or there are fewer than two classes.
    """
    if name not in DIALECTS:
        raise ConfigError(f"unknown dialect {name!r}. Known: {', '.join(DIALECTS)}.")
    if num_classes < 2:
        raise ConfigError(f"num_classes is {num_classes}; a classifier needs at least 2.")
    return DIALECTS[name](num_classes)
