"""A network of every part in miniature, and models of it."""

import numpy as np
import torch

from alexnet.batches.preprocessing import Preprocessing
from alexnet.network.alexnet import AlexNet, initialize
from alexnet.network.dialects import find_dialect
from alexnet.network.model_file import Model
from alexnet.network.rows import (
    Convolution,
    Dense,
    Dropout,
    Local,
    Nonlinearity,
    Normalize,
    NormalizeMap,
    Pool,
    Rectify,
    Spec,
)

CLASSES = ("ant", "bee", "cat", "dog")


def everything() -> Spec:
    """One of every row and operation, and of every rounding, reach and grouping."""
    relu = Rectify()
    return Spec(
        dialect="everything",
        input_px=28,
        layers=(
            Convolution(name="conv1", kernels=8, window_px=5, stride_px=2,
                        then=(Normalize(alpha=1e-3, within="tower"), Pool(), relu, Pool(window_px=2, stride_px=1))),
            Convolution(name="conv2", kernels=12, window_px=3, padding_px=1, sees="own tower",
                        then=(relu, Normalize(size=3, alpha=1e-2), NormalizeMap(alpha=1e-2), Pool(method="mean"))),
            Convolution(name="conv3", kernels=8, window_px=3, padding_px=1,
                        then=(Nonlinearity(kind="tanh", scale=1.7159, slope=2 / 3), Normalize(size=4, alpha=1e-2))),
            Local(name="local4", kernels=6, window_px=2, padding_px=1, then=(Nonlinearity(kind="softplus"), Pool(rounding="floor"))),
            Dense(name="fc6", units=16, sees="own tower", then=(relu, Dropout())),
            Dense(name="fc7", units=8, then=(Nonlinearity(kind="sigmoid"), Dropout(scaling="in training"))),
            Dense(name="fc8", units=len(CLASSES)),
        ),
    )  # fmt: skip


def make_model(spec: Spec, *, image_px: int = 32, divisor: float | tuple[float, float, float] = 60.0,
               mean_place: str = "aligned") -> Model:  # fmt: skip
    net = AlexNet(spec)
    initialize(net.named_layers(), seed=1, method="he")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, values in net.named_parameters():
            if name.endswith(".bias"):
                values.normal_(0, 0.5, generator=generator)
    mean = np.random.default_rng(0).uniform(80, 160, (image_px, image_px, 3)).astype(np.float32)
    names = tuple(f"class {number}" for number in range(spec.num_classes)) if spec.num_classes != 4 else CLASSES
    return Model(net.eval(), names, names, Preprocessing(mean, divisor, mean_place), {"made by": "a test"})  # type: ignore[arg-type]


def small_paper() -> Spec:
    """The paper's network, layer for layer, on inputs of 67 px and with 16 kernels or units in each layer but the last."""
    spec = find_dialect("paper+input=67", len(CLASSES))
    rows = [
        row.model_copy(update={"kernels": 16} if isinstance(row, Convolution) else {"units": 16})
        for row in spec.layers[:-1]
    ]
    return spec.model_copy(update={"layers": (*rows, spec.layers[-1])})
