"""Table to module: the network that a spec describes (paper, section 3.5 and figure 2)."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from alexnet.errors import ConfigError
from alexnet.network.layers import ConvolutionLayer, DenseLayer, apply_all, apply_one
from alexnet.network.spec import Convolution, Dense, Rectify, Spec, count_groups, find_dialect, measure
from alexnet.network.weights import initialize


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
            self.layers[row.name] = (
                ConvolutionLayer(row, shape, count_groups(spec, row))
                if isinstance(row, Convolution)
                else DenseLayer(row, shape)
            )
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
        for index, (row, layer) in enumerate(self.named_layers()[first:], start=first):
            x = apply_all(layer(x), row.then, towers=self.spec.towers, training=self.training, keys=keys, layer=index)
        return x

    def activations(
        self, inputs: Tensor, names: Iterable[str] | None = None, keys: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the output of every operation by name, or of those named, in network order.

        Names are "conv1" for the layer itself and "conv1.relu", "conv1.norm", "conv1.pool", "fc6.dropout" for what
        follows it, as listed by `activation_names`. Each is a tensor of its own, before and after the rectifier.

        Raises:
            ConfigError: a name is unknown, or inputs have another shape.
        """
        known = self.activation_names()
        wanted = set(known if names is None else names)
        unknown = sorted(wanted - set(known))
        if unknown:
            raise ConfigError(f"unknown activation {unknown[0]!r}. Known: {', '.join(known)}.")
        return {name: x for name, x in self._walk(inputs, keys) if name in wanted}

    def activation_names(self) -> tuple[str, ...]:
        """Names that `activations` accepts, in network order."""
        return tuple(
            name for row in self.spec.layers for name in (row.name, *(f"{row.name}.{step.kind}" for step in row.then))
        )

    def features(self, inputs: Tensor) -> Tensor:
        """Return the rectified outputs (N, D) of the last hidden layer, the features of section 6.1; D is 4096."""
        last = [row.name for row in self.spec.layers if any(isinstance(step, Rectify) for step in row.then)][-1]
        return self.activations(inputs, [f"{last}.relu"])[f"{last}.relu"].flatten(1)

    def named_layers(self) -> list[tuple[Convolution | Dense, ConvolutionLayer | DenseLayer]]:
        """Rows of the spec beside the modules that hold their weights, in order."""
        return list(zip(self.spec.layers, self.layers.values(), strict=True))  # type: ignore[arg-type]

    def _walk(self, inputs: Tensor, keys: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        x, keys = self._start(inputs, keys)
        for index, (row, layer) in enumerate(self.named_layers()):
            x = layer(x)
            yield row.name, x
            for step in row.then:
                x = apply_one(x, step, towers=self.spec.towers, training=self.training, keys=keys, layer=index)
                yield f"{row.name}.{step.kind}", x

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


def build(
    dialect: str = "paper", num_classes: int = 1000, *, seed: int = 0, initialization: str = "dialect"
) -> AlexNet:
    """Return a network with fresh weights, in float32 on the CPU.

    Args:
        dialect: A name of `network.spec.DIALECTS`.
        num_classes: Units of the last layer, at least 2.
        seed: Fixes the weights.
        initialization: "dialect" for the standard deviations and biases of the table (paper, section 5), or "he".
    Raises:
        ConfigError: an argument is outside what is accepted.
    """
    net = AlexNet(find_dialect(dialect, num_classes))
    initialize(net.named_layers(), seed=seed, method=initialization)
    return net
