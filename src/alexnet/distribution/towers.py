"""The part of a network that one process computes: its tower's kernels, its share of the dense units.

As in section 3.2 of the paper, a tower computes on its own maps wherever it can. Activations are exchanged only in
front of layers that see both towers (conv3, the dense layers, the classifier), and, in dialects whose response
normalisation reaches over the border between the towers, two maps on either side of it.
"""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.distribution.exchanges import add_halos, gather_and_convolve, gather_and_multiply, multiply_and_sum
from alexnet.distribution.mesh import Mesh, shard_parameters
from alexnet.distribution.process_group import ProcessGroup
from alexnet.network.alexnet import AlexNet
from alexnet.network.layers import AnyLayer, ConvolutionLayer, DenseLayer, apply_all, merge
from alexnet.network.rows import Convolution, Dense, Layer, Normalize, Spec
from alexnet.network.shapes import Shape, measure


class NetworkPart(AlexNet):
    """One process's part of the network of a spec; to be called by all processes of the mesh at the same time.

    Inputs are this process's images; outputs are their logits, as the whole network gives them. Parameters have the
    whole network's names and hold what `shard_parameters` says. There are no `activations` of a part.
    """

    def __init__(self, spec: Spec, mesh: Mesh, tower: ProcessGroup, dense: ProcessGroup, data: ProcessGroup) -> None:
        nn.Module.__init__(self)
        self.spec = spec
        self.shapes = measure(spec)
        self.groups = {"tower": tower, "dense": dense, "data": data}
        # Behind the first dense layer all images are everywhere.
        self._units = dataclasses.replace(dense, batch_shards=1)
        self.shards = shard_parameters(mesh, spec)
        self.layers = nn.ModuleDict()
        for row, shape in zip(spec.layers, self.shapes, strict=True):
            with torch.device("meta"):
                match row:
                    case Convolution():
                        groups = spec.towers // tower.size if row.sees == "own tower" else 1
                        part = row.model_copy(update={"kernels": row.kernels // tower.size})
                        layer: AnyLayer = ConvolutionLayer(part, shape, groups)
                    case Dense():
                        layer = self._make_dense(row, shape)
                    case _:
                        raise AssertionError(f"{row.name} cannot be divided")
            self.layers[row.name] = layer.to_empty(device="cpu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _make_dense(self, row: Dense, shape: Shape) -> DenseLayer:
        units, inputs = shape.kernel
        own = row.sees == "own tower"
        count = self.groups["tower" if own else "dense"].size
        last = row.name == self.spec.layers[-1].name
        kernel = (units, inputs // count) if last else (units // count, inputs)
        return DenseLayer(row, shape._replace(kernel=kernel), self.spec.towers // count if own else 1)

    def fill(self, whole: Mapping[str, Tensor]) -> None:
        """Take this process's part of the parameters of the whole network."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                shard = self.shards.get(name)
                parameter.copy_(shard.take(whole[name], self.groups[shard.group]) if shard else whole[name])

    def forward_from(self, first: int, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return logits (N, num_classes) of this process's images; see `AlexNet.forward_from`."""
        tower, dense = self.groups["tower"], self.groups["dense"]
        group = dense
        last = len(self.spec.layers) - 1
        for index, row in enumerate(self.spec.layers[first:], start=first):
            layer = self.layers[row.name]
            weight, bias = layer.weight, layer.bias
            assert isinstance(weight, Tensor)
            assert isinstance(bias, Tensor)
            if index == last:
                x = multiply_and_sum(x.flatten(1), weight, bias, dense, row.name)
                continue
            position = tower
            if isinstance(row, Dense) and row.sees == "all":
                if group.batch_shards > 1 and keys is not None:
                    keys = self.groups["data"].all_gather(keys, "keys forward").wait().flatten()
                x = gather_and_multiply(x.flatten(1), weight, bias, group, row.name)
                group, position = self._units, dense
            elif isinstance(row, Convolution) and row.sees == "all" and index > 0 and tower.size > 1:
                assert isinstance(layer, ConvolutionLayer)
                if layer.overhang_px:
                    x = F.pad(x, (0, layer.overhang_px, 0, layer.overhang_px))
                x = gather_and_convolve(x, weight, bias, tower, row.name, stride=row.stride_px, padding=row.padding_px)
            else:
                x = layer(x)
            x = self._finish(x, row, index, position, keys)
        return x

    def _finish(self, x: Tensor, row: Layer, index: int, position: ProcessGroup, keys: Tensor | None) -> Tensor:
        """Do what follows a layer, on this process's maps or units."""
        towers = self.spec.towers // self.groups["tower"].size
        for group in merge(row.then):
            norm = next((step for step in group if isinstance(step, Normalize)), None)
            reaches = norm is not None and norm.within == "layer" and position.size > 1 and x.ndim == 4
            channels, start = x.shape[1], 0
            if reaches:
                assert norm is not None
                before = norm.size // 2
                x, start = add_halos(x, before, norm.size - 1 - before, position, f"{row.name}.norm")
            x = apply_all(
                x,
                group,
                towers=towers,
                training=self.training,
                keys=keys,
                layer=index,
                first=position.rank * x[:1].numel(),
            )
            if reaches:
                x = x[:, start : start + channels].contiguous(memory_format=torch.channels_last)
        return x
