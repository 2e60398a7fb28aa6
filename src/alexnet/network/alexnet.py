"""Table to module: the network that a spec describes (paper, section 3.5 and figure 2)."""

import math
from collections.abc import Iterable, Iterator, Set
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from alexnet.errors import ConfigError
from alexnet.network.dialects import find_dialect
from alexnet.network.layers import AnyLayer, LocalLayer, apply_all, apply_one, make_layer
from alexnet.network.rows import Layer, Nonlinearity, Rectify, Spec
from alexnet.network.shapes import measure, name_steps, shape_after

if TYPE_CHECKING:
    from alexnet.network.unfused import UnfusedAlexNet


class AlexNet(nn.Module):
    """The network of a spec.

    Inputs are (N, 3, S, S) with S = spec.input_px: RGB, mean already subtracted, on the 0-255 scale unless the model
    was trained on divided inputs; float32, or the dtype of the weights. Outputs are logits (N, num_classes).
    The two towers are the two halves of every layer's channels: tower a first, tower b second.

    In training mode, dropout masks are a pure function of one key per image. Pass `keys` to fix them; otherwise they
    are drawn from PyTorch's generator. No operation overwrites the output of another.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.shapes = measure(spec)
        self.layers = nn.ModuleDict()
        for row, shape in zip(spec.layers, self.shapes, strict=True):
            self.layers[row.name] = make_layer(spec, row, shape)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return logits (N, num_classes).

        Args:
            inputs: (N, 3, S, S).
            keys: (N,) int64, one per image, or None to draw them; used in training mode only.
        Raises:
            ConfigError: inputs have another shape.
        """
        x, keys = self._start(inputs, keys)
        return self.forward_from(0, x, keys)

    def forward_from(self, first: int, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return logits from what the layers before number `first` made of the inputs; keys as in `forward`."""
        return self._compute(first, None, x, keys)

    def read_last_layer(self, first: int, x: Tensor) -> Tensor:
        """Return what the last layer reads, (N, D) or (N, C, H, W), from what the layers before number `first` made.

        In evaluation mode, of a network that is not divided among processes.
        """
        return self._compute(first, -1, x, None)

    def _compute(self, first: int, until: int | None, x: Tensor, keys: Tensor | None) -> Tensor:
        for index, (row, layer) in enumerate(self.named_layers()[first:until], start=first):
            x = apply_all(layer(x), row.then, towers=self.spec.towers, training=self.training, keys=keys, layer=index)
        return x

    def activations(
        self, inputs: Tensor, names: Iterable[str] | None = None, keys: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the output of every operation by name, or of those named, in network order.

        Names are "conv1" for the layer itself and "conv1.relu", "conv1.norm", "conv1.pool", "fc6.dropout" for what
        follows it, as listed by `activation_names`. Each is a tensor of its own, before and after the rectifier. With
        ":a" or ":b" behind it, a name is the part of one tower: its half of the channels or units. docs/dialects.md has
        a picture of where each of them sits.

        Raises:
            ConfigError: a name is unknown, or inputs have another shape.
        """
        wanted = list(self.activation_names() if names is None else names)
        for name in wanted:
            self.locate_activation(name)
        plain = {name.partition(":")[0] for name in wanted}
        found = {name: x for name, x in self._walk(inputs, keys, plain) if name in plain}
        if set(wanted) == set(found):
            return found
        order = {name: position for position, name in enumerate(found)}
        wanted.sort(key=lambda name: (order[name.partition(":")[0]], name))
        return {name: found[name.partition(":")[0]][:, self.locate_activation(name)] for name in wanted}

    def activation_names(self) -> tuple[str, ...]:
        """Names that `activations` accepts, in network order; each may be followed by the letter of a tower."""
        return tuple(name for row in self.spec.layers for name in (row.name, *name_steps(row)))

    def locate_activation(self, name: str) -> slice:
        """Return the channels or units that a name means: all, or those of one tower.

        Raises:
            ConfigError: there is no such activation or tower.
        """
        base, colon, letter = name.partition(":")
        known = self.activation_names()
        if base not in known:
            raise ConfigError(f"unknown activation {base!r}. Known: {', '.join(known)}.")
        if not colon:
            return slice(None)
        towers = self.spec.towers
        layer = base.partition(".")[0]
        letters = "abcdefgh"[:towers]
        total = next(shape.output[0] for shape in self.shapes if shape.name == layer)
        if towers == 1 or letter not in letters or len(letter) != 1 or layer == self.spec.layers[-1].name:
            accepted = ", ".join(f"{base}:{each}" for each in letters) if towers > 1 else f"{base} alone"
            if layer == self.spec.layers[-1].name:
                accepted = f"{base} alone, as it belongs to no tower"
            raise ConfigError(f"unknown tower in {name!r}. Accepted: {accepted}.")
        width = total // towers
        first = letters.index(letter) * width
        return slice(first, first + width)

    def measure_activation(self, name: str) -> tuple[int, ...]:
        """Return the shape that an activation has for one image.

        Raises:
            ConfigError: there is no such activation or tower.
        """
        part = self.locate_activation(name)
        base = name.partition(":")[0]
        for row, shape in zip(self.spec.layers, self.shapes, strict=True):
            current = shape.output
            for tap, step in zip((row.name, *name_steps(row)), (None, *row.then), strict=True):
                current = current if step is None else shape_after(step, current)
                if tap == base:
                    return len(range(*part.indices(current[0]))), *current[1:]
        raise AssertionError(name)

    @property
    def num_features(self) -> int:
        """Numbers that the last layer reads of one image: 4096 in the paper's network."""
        final = self.shapes[-2].final if len(self.shapes) > 1 else (3, self.spec.input_px, self.spec.input_px)
        return math.prod(final)

    def features_name(self) -> str:
        """Name of the activation that `features` returns: behind the non-linearity of the last hidden layer."""
        bent = [
            f"{row.name}.{step.kind}"
            for row in self.spec.layers[:-1]
            for step in row.then
            if isinstance(step, Rectify | Nonlinearity)
        ]
        return bent[-1] if bent else self.spec.layers[-1].name

    def features(self, inputs: Tensor) -> Tensor:
        """Return the rectified outputs (N, D) of the last hidden layer, the features of section 6.1; D is 4096."""
        name = self.features_name()
        return self.activations(inputs, [name])[name].flatten(1)

    def unfused(self) -> "UnfusedAlexNet":
        """Return an equal module of plain PyTorch with these very parameters, one submodule for each operation.

        For tools that name or transform what is inside a network: torch.fx, torchvision's feature extraction,
        torch.jit.trace, torch.func, thingsvision, Captum. Slower than this one; see `network.unfused`.
        """
        from alexnet.network.unfused import UnfusedAlexNet

        return UnfusedAlexNet(self)

    def named_layers(self) -> list[tuple[Layer, AnyLayer]]:
        """Rows of the spec beside the modules that hold their weights, in order."""
        return list(zip(self.spec.layers, self.layers.values(), strict=True))  # type: ignore[arg-type]

    def _walk(self, inputs: Tensor, keys: Tensor | None, wanted: Set[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield outputs by name up to the last layer with a wanted one; operations of other layers run together."""
        x, keys = self._start(inputs, keys)
        of_interest = [not wanted.isdisjoint((row.name, *name_steps(row))) for row, _ in self.named_layers()]
        for index, (row, layer) in enumerate(self.named_layers()):
            if not any(of_interest[index:]):
                return
            x = layer(x)
            if not of_interest[index]:
                x = apply_all(x, row.then, towers=self.spec.towers, training=self.training, keys=keys, layer=index)
                continue
            yield row.name, x
            for name, step in zip(name_steps(row), row.then, strict=True):
                x = apply_one(x, step, towers=self.spec.towers, training=self.training, keys=keys, layer=index)
                yield name, x

    def _start(self, inputs: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor | None]:
        expected = (3, self.spec.input_px, self.spec.input_px)
        if inputs.ndim != 4 or tuple(inputs.shape[1:]) != expected:
            raise ConfigError(
                f"inputs have shape {tuple(inputs.shape)}; dialect {self.spec.dialect} reads (N, {expected[0]}, "
                f"{expected[1]}, {expected[2]}), RGB with the mean subtracted."
            )
        if self.training and keys is None:
            keys = torch.randint(2**62, (len(inputs),), device=inputs.device)
        return inputs.contiguous(memory_format=torch.channels_last), keys


def allocate(spec: Spec) -> AlexNet:
    """Return a network in float32 on the CPU whose weights are not set yet.

    Drawing PyTorch's own initial weights first takes longer than reading 61 million numbers from a file.
    """
    with torch.device("meta"):
        net = AlexNet(spec)
    for _, layer in net.named_layers():
        for name, parameter in list(layer.named_parameters()):  # to_empty would import a compiler: 0.5 s
            layer.register_parameter(name, nn.Parameter(torch.empty(parameter.shape)))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def build(
    dialect: str = "paper", num_classes: int = 1000, *, seed: int = 0, initialization: str = "dialect"
) -> AlexNet:
    """Return a network with fresh weights, in float32 on the CPU.

    Args:
        dialect: A name of `network.dialects.DIALECTS`, with modifiers if wanted: "paper+no-norm+conv6".
        num_classes: Units of the last layer, at least 2.
        seed: Fixes the weights.
        initialization: One of METHODS, see `initialize`.
    Raises:
        ConfigError: an argument is outside what is accepted.
    """
    return build_spec(find_dialect(dialect, num_classes), seed=seed, initialization=initialization)


def build_spec(spec: Spec, *, seed: int = 0, initialization: str = "dialect") -> AlexNet:
    """Return the network of a spec with fresh weights; see `build`."""
    net = allocate(spec)
    by_pytorch = initialization == "dialect" and spec.initial_weights == "pytorch"
    initialize(net.named_layers(), seed=seed, method="pytorch" if by_pytorch else initialization)
    return net


METHODS = ("dialect", "he", "pytorch")
"""Accepted initialisations: the dialect's own table, He normal, or what PyTorch's layers draw."""


def initialize(layers: Iterable[tuple[Layer, AnyLayer]], *, seed: int, method: str = "dialect") -> None:
    """Fill weights and biases in place.

    "dialect": zero-mean Gaussians with each row's standard deviation and constant biases, as the paper and the 2012
    source do. Made for 1.2 million images; with a few thousand it often stays at chance (docs/deviations.md).
    "he": Gaussians with variance 2 / fan-in (He, Zhang, Ren, Sun 2015), a last layer of 0.01 and biases 0, for small
    data with inputs of about unit variance.
    "pytorch": weights and biases uniform on +-1 / sqrt(fan-in), for the dialect that torchvision ships.

    Each layer draws from a generator of its own, so its weights depend on (seed, position) only.

    Raises:
        ConfigError: unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown initialization {method!r}. Known: {', '.join(METHODS)}.")
    rows = list(layers)
    for position, (row, layer) in enumerate(rows):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + position)
        std, bias = row.weight_std, row.bias
        fan_in = layer.weight.shape[-1] if isinstance(layer, LocalLayer) else layer.weight[0].numel()
        if method == "he":
            last = position == len(rows) - 1
            std, bias = (0.01 if last else math.sqrt(2 / fan_in)), 0.0
        assert layer.bias is not None
        with torch.no_grad():
            if method == "pytorch":
                for values in (layer.weight, layer.bias):
                    bound = 1 / math.sqrt(fan_in)
                    values.copy_(torch.empty(values.shape).uniform_(-bound, bound, generator=generator))
                continue
            fresh: Tensor = torch.empty(layer.weight.shape).normal_(0, std, generator=generator)
            layer.weight.copy_(fresh)
            layer.bias.fill_(bias)
