"""Rows of the table that describes a network: one per layer with weights, and what happens to its output.

Rows are plain data (frozen pydantic models): they are stored as JSON inside every model file and validated on the way
back. A field that is added here has a default that means what older files meant.

Not here: which tables there are (network.dialects), what shapes follow from one (network.shapes), or how a row is
computed (network.layers).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alexnet.errors import WeightsError

Rounding = Literal["ceil", "floor"]
Sees = Literal["all", "own tower"]


class Row(BaseModel):
    """A frozen record of the table; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rectify(Row):
    """max(0, x) (paper 3.1)."""

    kind: Literal["relu"] = "relu"


class Nonlinearity(Row):
    """Another non-linearity than the rectifier: scale * f(slope * x), f named by `kind`.

    "softplus" is ln(1 + exp(x)), "sigmoid" the logistic function, "abs" the absolute value.
    """

    kind: Literal["tanh", "sigmoid", "softplus", "abs"] = "tanh"
    scale: float = 1.0
    slope: float = 1.0


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


class NormalizeMap(Row):
    """Response normalisation within each map, over a square around each place (2012 source, type rnorm)."""

    kind: Literal["map_norm"] = "map_norm"
    size: int = Field(5, ge=1)
    """Side of the square."""
    k: float = Field(1.0, gt=0)
    alpha: float = Field(0.001 / 25, ge=0)
    """Multiplies the sum of squares; the 2012 source first divides its own by size squared."""
    beta: float = Field(0.75, ge=0)


class Pool(Row):
    """Maximum (paper 3.4) or mean over windows; a window that hangs over the bottom or right edge is cut off there."""

    kind: Literal["pool"] = "pool"
    window_px: int = Field(3, ge=1)
    stride_px: int = Field(2, ge=1)
    method: Literal["maximum", "mean"] = "maximum"
    rounding: Rounding = "ceil"
    """"ceil" counts windows that hang over, as the 2012 source and Caffe do; "floor" only whole ones (PyTorch)."""


class Dropout(Row):
    """Zero with this probability in training (paper 4.2)."""

    kind: Literal["dropout"] = "dropout"
    probability: float = Field(0.5, ge=0, lt=1)
    scaling: Literal["in testing", "in training"] = "in testing"
    """When outputs are brought to scale: multiplied by 1 - probability in testing (paper, 2012 source), or divided by
    it in training (Caffe, PyTorch)."""


Operation = Annotated[Rectify | Nonlinearity | Normalize | NormalizeMap | Pool | Dropout, Field(discriminator="kind")]


class Convolution(Row):
    """A convolution; `kernels` counts those of all towers together."""

    kind: Literal["convolution"] = "convolution"
    name: str
    kernels: int = Field(ge=1)
    window_px: int = Field(ge=1)
    stride_px: int = Field(1, ge=1)
    padding_px: int = Field(0, ge=0)
    sees: Sees = "all"
    """Whether a kernel is connected to the maps of every tower or only to those of its own."""
    then: tuple[Operation, ...] = ()
    weight_std: float = Field(0.01, gt=0)
    bias: float = 0.0


class Local(Row):
    """A locally connected layer: as a convolution, but every place has weights and biases of its own."""

    kind: Literal["local"] = "local"
    name: str
    kernels: int = Field(ge=1)
    """Outputs at each place."""
    window_px: int = Field(ge=1)
    stride_px: int = Field(1, ge=1)
    padding_px: int = Field(0, ge=0)
    then: tuple[Operation, ...] = ()
    weight_std: float = Field(0.01, gt=0)
    bias: float = 0.0


class Dense(Row):
    """A fully connected layer."""

    kind: Literal["dense"] = "dense"
    name: str
    units: int = Field(ge=1)
    sees: Sees = "all"
    """Whether a unit is connected to the outputs of every tower or only to those of its own."""
    then: tuple[Operation, ...] = ()
    weight_std: float = Field(0.01, gt=0)
    bias: float = 0.0


Layer = Annotated[Convolution | Local | Dense, Field(discriminator="kind")]


class Spec(Row):
    """A whole network, from the crop to the logits."""

    dialect: str
    input_px: int = Field(224, ge=1)
    towers: int = Field(2, ge=1)
    rounding: Rounding = "ceil"
    """How a convolution counts its windows. "ceil": the last one may hang over the bottom and right edge, where it
    reads zeros, as the 2012 source does; this is what makes 55 out of 224."""
    initial_weights: Literal["table", "pytorch"] = "table"
    """"table": Gaussians of `weight_std` and biases of `bias`; "pytorch": what its layers draw, uniform on
    +-1 / sqrt(fan-in) for weights and biases."""
    layers: tuple[Layer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "Spec":
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise ValueError("two layers have the same name")
        return self

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
