"""The tables: every AlexNet that is known by a name, as a function from the number of classes.

Each is one value of `Spec`, which `find_dialect` returns, changed by the modifiers joined to its name. Where two share
a name in the literature and differ in a number, the difference is a cell here; docs/dialects.md prints them beside each
other, generated from these tables.
"""

from collections.abc import Callable

from alexnet.errors import ConfigError
from alexnet.network.modifiers import apply_modifier, halve_into_one_column
from alexnet.network.rows import (
    Convolution,
    Dense,
    Dropout,
    Layer,
    Local,
    Normalize,
    NormalizeMap,
    Operation,
    Pool,
    Rectify,
    Spec,
)
from alexnet.network.shapes import measure

_RELU, _POOL, _MEAN_POOL, _DROPOUT = Rectify(), Pool(), Pool(method="mean"), Dropout()
_SCALED_DROPOUT = Dropout(scaling="in training")


def _convolutions(
    kernels: tuple[int, int, int, int, int],
    then: tuple[tuple[Operation, ...], ...],
    *,
    split: bool,
    deep_std: float,
    one: float,
    padding_px: int = 0,
) -> tuple[Layer, ...]:
    """Five convolutions; `split`: conv2, conv4 and conv5 see their own tower; `one`: what stands for a bias of one."""
    own = {"sees": "own tower" if split else "all"}
    three = {"window_px": 3, "padding_px": 1, "weight_std": deep_std}
    rows = [
        {"name": "conv1", "window_px": 11, "stride_px": 4, "padding_px": padding_px},
        {"name": "conv2", "window_px": 5, "padding_px": 2, "bias": one, **own},
        {"name": "conv3", **three},
        {"name": "conv4", "bias": one, **three, **own},
        {"name": "conv5", "bias": one, **three, **own},
    ]
    return tuple(
        Convolution(kernels=count, then=steps, **row) for row, count, steps in zip(rows, kernels, then, strict=True)
    )


def _dense(
    num_classes: int, *, then: tuple[Operation, ...], one: float = 1, std: float = 0.01, last_bias: float = 0
) -> tuple[Layer, ...]:
    return (
        Dense(name="fc6", units=4096, then=then, bias=one, weight_std=std),
        Dense(name="fc7", units=4096, then=then, bias=one, weight_std=std),
        Dense(name="fc8", units=num_classes, bias=last_bias),
    )


_TWO_TOWERS = (96, 256, 384, 384, 256)
_ONE_TOWER = (64, 192, 384, 256, 256)


def paper(num_classes: int = 1000) -> Spec:
    """The network as printed: figure 2, sections 3.1 to 3.5, 4.2 and 5 for the initial weights."""
    normalized = (_RELU, Normalize(), _POOL)
    then = (normalized, normalized, (_RELU,), (_RELU,), (_RELU, _POOL))
    return Spec(
        dialect="paper",
        layers=(
            *_convolutions(_TWO_TOWERS, then, split=True, deep_std=0.01, one=1),
            *_dense(num_classes, then=(_RELU, _DROPOUT)),
        ),
    )


def source_2012(num_classes: int = 1000) -> Spec:
    """The network that was trained for the paper: config 145 of the source code released in 2025.

    Against the paper: alpha is divided by the window; layer 1 is normalised before the rectifier; each tower normalises
    its own maps; layer 2 is normalised a second time within each map; conv3 to conv5 start wider. The rectifier behind
    a pooling layer is where the source has it; it commutes with the maximum.
    """
    norm = Normalize(alpha=1e-4 / 5, within="tower")
    then = ((norm, _POOL, _RELU), (_RELU, norm, NormalizeMap(), _POOL), (_RELU,), (_RELU,), (_POOL, _RELU))
    return Spec(
        dialect="source-2012",
        layers=(
            *_convolutions(_TWO_TOWERS, then, split=True, deep_std=0.03, one=1),
            *_dense(num_classes, then=(_RELU, _DROPOUT)),
        ),
    )


def caffe(num_classes: int = 1000) -> Spec:
    """Caffe's bvlc_alexnet: crops of 227, k = 1, windows across the groups, biases of 0.1, dropout scaled in training.

    Inputs are RGB as everywhere here; weights from Caffe, which reads BGR, are converted when they are read.
    """
    normalized = (_RELU, _caffe_norm(), _POOL)
    then = (normalized, normalized, (_RELU,), (_RELU,), (_RELU, _POOL))
    return _caffe("caffe", num_classes, then, one=0.1)


def caffenet(num_classes: int = 1000) -> Spec:
    """Caffe's bvlc_reference_caffenet: as `caffe`, but pooled before it is normalised, and biases of 1."""
    pooled = (_RELU, _POOL, _caffe_norm())
    return _caffe("caffenet", num_classes, (pooled, pooled, (_RELU,), (_RELU,), (_RELU, _POOL)), one=1)


def _caffe_norm() -> Normalize:
    return Normalize(k=1, alpha=1e-4 / 5)


def _caffe(name: str, num_classes: int, then: tuple[tuple[Operation, ...], ...], *, one: float) -> Spec:
    return Spec(
        dialect=name,
        input_px=227,
        rounding="floor",
        layers=(
            *_convolutions(_TWO_TOWERS, then, split=True, deep_std=0.01, one=one),
            *_dense(num_classes, then=(_RELU, _SCALED_DROPOUT), one=one, std=0.005),
        ),
    )


def one_tower_2014(num_classes: int = 1000) -> Spec:
    """torchvision's alexnet: the one-tower shapes of "One weird trick" (2014), padded by 2, without normalisation.

    Dropout precedes fc6 and fc7. Pooling rounds down as in PyTorch, which at 224 px changes nothing; the adaptive mean
    over 6 x 6 that torchvision has before fc6 does nothing at this size either. Initial weights are PyTorch's.
    """
    pool = Pool(rounding="floor")
    then = ((_RELU, pool), (_RELU, pool), (_RELU,), (_RELU,), (_RELU, pool, _SCALED_DROPOUT))
    return Spec(
        dialect="one-tower-2014",
        towers=1,
        rounding="floor",
        initial_weights="pytorch",
        layers=(
            *_convolutions(_ONE_TOWER, then, split=False, deep_std=0.01, one=0, padding_px=2),
            Dense(name="fc6", units=4096, then=(_RELU, _SCALED_DROPOUT)),
            Dense(name="fc7", units=4096, then=(_RELU,)),
            Dense(name="fc8", units=num_classes),
        ),
    )


def cuda_convnet2(num_classes: int = 1000) -> Spec:
    """The one-tower network of "One weird trick" (2014) as cuda-convnet2 trains it on one GPU, with normalisation.

    The shapes of one-tower-2014, the geometry and constants of source-2012 without the norm within maps, and a last
    bias of -7.
    """
    norm = Normalize(alpha=1e-4 / 5)
    then = ((norm, _POOL, _RELU), (_RELU, norm, _POOL), (_RELU,), (_RELU,), (_POOL, _RELU))
    return Spec(
        dialect="cuda-convnet2",
        towers=1,
        layers=(
            *_convolutions(_ONE_TOWER, then, split=False, deep_std=0.03, one=1),
            *_dense(num_classes, then=(_RELU, _DROPOUT), last_bias=-7),
        ),
    )


def one_tower(num_classes: int = 1000) -> Spec:
    """The paper's control for section 3.2: one tower of half the kernels, with conv5 and the dense layers whole."""
    return halve_into_one_column(paper(num_classes)).model_copy(update={"dialect": "one-tower"})


def cifar_80sec(num_classes: int = 10) -> Spec:
    """cuda-convnet's 80-second network for CIFAR-10, 26 % error: three convolutions and two dense layers."""
    return _cifar_small("cifar-80sec", num_classes, hidden=True, norm=())


def cifar_19pct(num_classes: int = 10) -> Spec:
    """cuda-convnet's 19 % network for CIFAR-10: three convolutions and the classifier."""
    return _cifar_small("cifar-19pct", num_classes, hidden=False, norm=())


def cifar_18pct(num_classes: int = 10) -> Spec:
    """cuda-convnet's 18 % network for CIFAR-10: the 19 % one, normalised within maps after the first two pools."""
    return _cifar_small("cifar-18pct", num_classes, hidden=False, norm=(NormalizeMap(size=3, alpha=5e-5 / 9),))


def cifar_13pct(num_classes: int = 10) -> Spec:
    """cuda-convnet's 13 % network for CIFAR-10, on crops of 24: two convolutions and two locally connected layers."""
    pooled = (_RELU, _POOL)
    return _cifar_local("cifar-13pct", num_classes, pooled, pooled, local3=32)


def cifar_11pct(num_classes: int = 10) -> Spec:
    """cuda-convnet's 11 % network for CIFAR-10: the 13 % one with response normalisation and a wider local3.

    The first normalisation follows its pool, the second precedes it.
    """
    norm = Normalize(size=9, k=1, alpha=0.001 / 9)
    return _cifar_local("cifar-11pct", num_classes, (_RELU, _POOL, norm), (_RELU, norm, _POOL), local3=64)


def _cifar_small(name: str, num_classes: int, *, hidden: bool, norm: tuple[Operation, ...]) -> Spec:
    five = {"window_px": 5, "padding_px": 2}
    layers: list[Layer] = [
        Convolution(name="conv1", kernels=32, then=(_RELU, _POOL, *norm), weight_std=0.0001, **five),
        Convolution(name="conv2", kernels=32, then=(_RELU, _MEAN_POOL, *norm), **five),
        Convolution(name="conv3", kernels=64, then=(_RELU, _MEAN_POOL), **five),
    ]
    if hidden:
        layers.append(Dense(name="fc64", units=64, then=(_RELU,), weight_std=0.1))
    layers.append(Dense(name="fc10", units=num_classes, weight_std=0.1 if hidden else 0.01))
    return Spec(dialect=name, input_px=32, towers=1, layers=tuple(layers))


def _cifar_local(
    name: str, num_classes: int, first: tuple[Operation, ...], second: tuple[Operation, ...], *, local3: int
) -> Spec:
    three = {"window_px": 3, "padding_px": 1, "weight_std": 0.04, "then": (_RELU,)}
    return Spec(
        dialect=name,
        input_px=24,
        towers=1,
        layers=(
            Convolution(name="conv1", kernels=64, window_px=5, padding_px=2, then=first, weight_std=0.0001),
            Convolution(name="conv2", kernels=64, window_px=5, padding_px=2, then=second),
            Local(name="local3", kernels=local3, **three),
            Local(name="local4", kernels=32, **three),
            Dense(name="fc10", units=num_classes),
        ),
    )


DIALECTS: dict[str, Callable[[int], Spec]] = {
    "paper": paper,
    "source-2012": source_2012,
    "caffe": caffe,
    "caffenet": caffenet,
    "one-tower-2014": one_tower_2014,
    "cuda-convnet2": cuda_convnet2,
    "one-tower": one_tower,
    "cifar-80sec": cifar_80sec,
    "cifar-19pct": cifar_19pct,
    "cifar-18pct": cifar_18pct,
    "cifar-13pct": cifar_13pct,
    "cifar-11pct": cifar_11pct,
}
"""Name of a dialect -> function from the number of classes to its table."""


def is_dialect(name: str) -> bool:
    """Whether a name begins with a known dialect; its modifiers may still be unknown."""
    return name.partition("+")[0] in DIALECTS


def find_dialect(name: str, num_classes: int) -> Spec:
    """Return the table of a dialect, with modifiers applied from left to right: "paper", "paper+no-norm+conv6".

    Raises:
        ConfigError: no dialect or modifier has this name, a modifier does not fit, or there are fewer than two classes.
    """
    base, *modifiers = name.split("+")
    if base not in DIALECTS:
        raise ConfigError(f"unknown dialect {base!r}. Known: {', '.join(DIALECTS)}.")
    if num_classes < 2:
        raise ConfigError(f"num_classes is {num_classes}; a classifier needs at least 2.")
    spec = DIALECTS[base](num_classes)
    for modifier in modifiers:
        spec = apply_modifier(spec, modifier)
    if modifiers:
        spec = spec.model_copy(update={"dialect": name})
        measure(spec)  # a combination that cannot be computed is refused here, not at the first batch
    return spec
