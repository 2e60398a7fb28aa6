"""Changes to a table that go with any dialect: functions from Spec to Spec, which compose.

On the command line and in recipes they follow the dialect's name: "paper+no-norm", "source-2012+without=conv3+conv6".
They apply from left to right.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from alexnet.errors import ConfigError
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
    Rectify,
    Spec,
)

NONLINEARITIES = ("tanh", "sigmoid", "softplus", "abs")
"""Non-linearities that may stand in for the rectifier."""


def remove_normalization(spec: Spec) -> Spec:
    """No response normalisation of either kind (config 148 of the 2012 source)."""
    return _without_operations(spec, Normalize, NormalizeMap)


def remove_map_normalization(spec: Spec) -> Spec:
    """No response normalisation within maps."""
    return _without_operations(spec, NormalizeMap)


def add_normalization(spec: Spec) -> Spec:
    """Normalise conv1 and conv2 across kernels after the non-linearity, with k 2 and alpha 1e-4 / 5."""
    layers = []
    for position, layer in enumerate(spec.layers):
        if position < 2 and not any(isinstance(step, Normalize) for step in layer.then):
            then: list[Operation] = []
            for step in layer.then:
                then += [step, Normalize(alpha=1e-4 / 5)] if isinstance(step, Rectify | Nonlinearity) else [step]
            layer = _changed(layer, then=tuple(then))
        layers.append(layer)
    return _changed(spec, layers=tuple(layers))


def separate_pools(spec: Spec) -> Spec:
    """Pool windows of 2 at strides of 2, with conv2 and conv5 padded by 1 px less (config 147 of the 2012 source).

    The padding keeps the later maps at 13 and 6 px: pool1 gives 28, conv2 26, pool2 13, conv5 11, pool5 6.
    """
    spec = separate_pools_only(spec)
    for name in ("conv2", "conv5"):
        row = _find(spec, name)
        padding = getattr(row, "padding_px", 0)
        if padding < 1:
            raise ConfigError(
                f"dialect {spec.dialect}: {name} has no padding that could be reduced. Use +pool-2-same-padding."
            )
        spec = _replace(spec, name, padding_px=padding - 1)
    return spec


def separate_pools_only(spec: Spec) -> Spec:
    """Pool windows of 2 at strides of 2; paddings stay, so maps grow (28, 14, 7 from 224 px)."""
    layers = [
        _changed(
            layer,
            then=tuple(
                _changed(step, window_px=2, stride_px=2) if isinstance(step, Pool) else step for step in layer.then
            ),
        )
        for layer in spec.layers
    ]
    return _changed(spec, layers=tuple(layers))


def replace_rectifier(spec: Spec, kind: str) -> Spec:
    """Another non-linearity in the place of every rectifier: tanh, sigmoid, softplus or abs."""
    if kind not in NONLINEARITIES:
        raise ConfigError(f"activation is {kind!r}; accepted are {', '.join(NONLINEARITIES)}.")
    nonlinearity = Nonlinearity.model_validate({"kind": kind})
    layers = [
        _changed(layer, then=tuple(nonlinearity if isinstance(step, Rectify) else step for step in layer.then))
        for layer in spec.layers
    ]
    return _changed(spec, layers=tuple(layers))


def cut_cross_links(spec: Spec) -> Spec:
    """Towers that meet only in the last layer, also in normalisation; widths stay."""
    _need_towers(spec, "no-cross-links")
    last = len(spec.layers) - 1
    layers = []
    for position, layer in enumerate(spec.layers):
        then = tuple(_changed(step, within="tower") if isinstance(step, Normalize) else step for step in layer.then)
        layer = _changed(layer, then=then)
        if isinstance(layer, Convolution | Dense) and 0 < position < last:
            layer = _changed(layer, sees="own tower")
        layers.append(layer)
    return _changed(spec, layers=tuple(layers))


def separate_columns(spec: Spec) -> Spec:
    """Towers that meet only in the last layer, with a quarter more kernels in conv2 and twice fc6 (config 150)."""
    spec = cut_cross_links(spec)
    conv2, fc6 = _find(spec, "conv2"), _find(spec, "fc6")
    assert isinstance(conv2, Convolution)
    assert isinstance(fc6, Dense)
    return _replace(_replace(spec, "conv2", kernels=conv2.kernels * 5 // 4), "fc6", units=2 * fc6.units)


def link_everything(spec: Spec) -> Spec:
    """Every kernel sees the maps of all towers."""
    layers = [_changed(layer, sees="all") if isinstance(layer, Convolution | Dense) else layer for layer in spec.layers]
    return _changed(spec, layers=tuple(layers))


def halve_into_one_column(spec: Spec) -> Spec:
    """One tower with half the kernels, except in the last convolution; dense layers stay (paper 3.2, 145-half)."""
    _need_towers(spec, "half")
    last = max(position for position, layer in enumerate(spec.layers) if isinstance(layer, Convolution))
    layers = []
    for position, layer in enumerate(link_everything(spec).layers):
        if isinstance(layer, Convolution) and position < last:
            layer = _changed(layer, kernels=layer.kernels // spec.towers)
        layers.append(layer)
    return _changed(spec, towers=1, layers=tuple(layers))


def remove_layer(spec: Spec, name: str) -> Spec:
    """One layer less (paper, section 7).

    Its kernels, non-linearity and normalisation go. Its pool stays, behind the layer before it, so that later maps keep
    their size; the layer after it is connected as it was, to all towers or its own. Without the first layer, the second
    reads the image through the first one's window, stride and padding.
    """
    names = [layer.name for layer in spec.layers]
    if name not in names[:-1]:
        raise ConfigError(
            f"dialect {spec.dialect} has no layer {name!r} that could be removed. Accepted: {', '.join(names[:-1])}."
        )
    layers = list(spec.layers)
    position = names.index(name)
    gone = layers.pop(position)
    kept = tuple(step for step in gone.then if isinstance(step, Pool | Dropout))
    after = layers[position]
    if isinstance(after, Convolution | Dense) and isinstance(gone, Convolution | Dense) and gone.sees == "all":
        after = layers[position] = _changed(after, sees="all")
    if position == 0:
        if not isinstance(gone, Convolution) or not isinstance(after, Convolution):
            raise ConfigError(f"dialect {spec.dialect}: {name} cannot be removed, since {after.name} follows it.")
        layers[0] = _changed(
            after,
            window_px=gone.window_px,
            stride_px=gone.stride_px,
            padding_px=gone.padding_px,
            then=(*after.then, *kept),
        )
    elif not isinstance(gone, Dense):
        before = layers[position - 1]
        layers[position - 1] = _changed(before, then=(*before.then, *kept))
    return _changed(spec, layers=tuple(layers))


def add_sixth_convolution(spec: Spec) -> Spec:
    """A sixth convolution over the last pool, with as many kernels as the fifth, 3 x 3, seeing all towers.

    Paper, section 6; 590,080 parameters, as in configs 141 and 146 of the 2012 source.
    """
    position = next((i for i, layer in enumerate(spec.layers) if isinstance(layer, Dense)), 0)
    last = spec.layers[position - 1]
    if position == 0 or not isinstance(last, Convolution):
        raise ConfigError(f"dialect {spec.dialect} has no convolution before its dense layers to add a sixth to.")
    moved = tuple(step for step in last.then if isinstance(step, Dropout))
    nonlinearity = tuple(step for step in last.then if isinstance(step, Rectify | Nonlinearity))
    sixth = Convolution(
        name="conv6",
        kernels=last.kernels,
        window_px=3,
        padding_px=1,
        then=(*nonlinearity, *moved),
        weight_std=last.weight_std,
        bias=last.bias,
    )
    kept = _changed(last, then=tuple(step for step in last.then if step not in moved))
    return _changed(spec, layers=(*spec.layers[: position - 1], kept, sixth, *spec.layers[position:]))


def add_bottleneck(spec: Spec, units: int) -> Spec:
    """A linear layer of so many units before the last one (2048 in config 146-2011 with its 21,843 classes)."""
    bottleneck = Dense(name="bottleneck", units=units)
    return _changed(spec, layers=(*spec.layers[:-1], bottleneck, spec.layers[-1]))


def remove_dropout(spec: Spec) -> Spec:
    """No dropout."""
    return _without_operations(spec, Dropout)


def change_input(spec: Spec, pixels: int) -> Spec:
    """Crops of another size; later maps follow."""
    return _changed(spec, input_px=pixels)


class Modifier(NamedTuple):
    """A modifier under its name."""

    apply: Callable[..., Spec]
    value: type[int] | type[str] | None = None
    """Type of what follows the equals sign; None without one."""
    example: str = ""


MODIFIERS: dict[str, Modifier] = {
    "no-norm": Modifier(remove_normalization),
    "no-map-norm": Modifier(remove_map_normalization),
    "norm": Modifier(add_normalization),
    "pool-2": Modifier(separate_pools),
    "pool-2-same-padding": Modifier(separate_pools_only),
    "activation": Modifier(replace_rectifier, str, "tanh"),
    "no-cross-links": Modifier(cut_cross_links),
    "separate-columns": Modifier(separate_columns),
    "all-cross-links": Modifier(link_everything),
    "half": Modifier(halve_into_one_column),
    "without": Modifier(remove_layer, str, "conv3"),
    "conv6": Modifier(add_sixth_convolution),
    "bottleneck": Modifier(add_bottleneck, int, "2048"),
    "no-dropout": Modifier(remove_dropout),
    "input": Modifier(change_input, int, "227"),
}
"""Name after the plus sign -> modifier. Its meaning is the first line of the function's docstring."""


def apply_modifier(spec: Spec, text: str) -> Spec:
    """Return the table changed as "name" or "name=value" says.

    Raises:
        ConfigError: no such modifier, a value that it does not take, or a dialect that it cannot change.
    """
    name, equals, value = text.partition("=")
    if name not in MODIFIERS:
        raise ConfigError(
            f"unknown modifier {name!r}. Known: {', '.join(describe_modifier(each) for each in MODIFIERS)}."
        )
    modifier = MODIFIERS[name]
    if modifier.value is None:
        if equals:
            raise ConfigError(f"modifier {name} takes no value; given was {text!r}. Write +{name}.")
        return modifier.apply(spec)
    if not value:
        raise ConfigError(f"modifier {name} needs a value. Write, for example, +{describe_modifier(name)}.")
    if modifier.value is str:
        return modifier.apply(spec, value)
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 10**6:
        raise ConfigError(f"modifier {name} is {value!r}; accepted is a whole number from 1 to 999999.")
    return modifier.apply(spec, int(value))


def describe_modifier(name: str) -> str:
    """Return how a modifier is written."""
    example = MODIFIERS[name].example
    return f"{name}={example}" if example else name


_R = TypeVar("_R", Spec, Layer, Convolution, Dense, Pool, Normalize)


def _changed(row: _R, **fields: Any) -> _R:
    """Return a copy with other fields, validated."""
    return type(row).model_validate({**{name: getattr(row, name) for name in type(row).model_fields}, **fields})


def _replace(spec: Spec, name: str, **fields: Any) -> Spec:
    layers = [_changed(layer, **fields) if layer.name == name else layer for layer in spec.layers]
    return _changed(spec, layers=tuple(layers))


def _find(spec: Spec, name: str) -> Layer:
    for layer in spec.layers:
        if layer.name == name:
            return layer
    raise ConfigError(f"dialect {spec.dialect} has no layer {name}, which this modifier changes.")


def _without_operations(spec: Spec, *kinds: type[Operation]) -> Spec:
    layers = [
        _changed(layer, then=tuple(step for step in layer.then if not isinstance(step, kinds))) for layer in spec.layers
    ]
    return _changed(spec, layers=tuple(layers))


def _need_towers(spec: Spec, modifier: str) -> None:
    if spec.towers < 2:
        raise ConfigError(f"dialect {spec.dialect} has one tower; {modifier} needs a dialect with two, such as paper.")
