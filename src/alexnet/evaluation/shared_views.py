"""Ten views at the price of fewer: the first layer of the five crops of an image is computed once where they overlap.

The crops start at multiples of the strides of conv1 and its pooling (offsets 0, 16, 32; strides 4 and 2), so their
first-layer outputs are windows of one output over the whole image. A crop's last windows hang over its edge and read
zeros, where the image goes on. So one row and one column of pooled outputs are computed anew, for the crops that do not
touch that edge of the image.

In the same way, of an image with a covered square only the outputs that see the square are computed anew.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.network.alexnet import AlexNet
from alexnet.network.layers import ConvolutionLayer, apply_all
from alexnet.network.rows import Convolution, Dropout, NormalizeMap, Pool

Place = tuple[int, int]
"""Top row and left column of a crop, in pixels of the image."""


def can_share(network: AlexNet, image_px: int, places: Sequence[Place]) -> bool:
    """Whether the first layer of these crops can be taken from one output over the whole image, exactly.

    It needs a first convolution without padding, followed by one pooling and otherwise only by what is done pixel by
    pixel; an image that its windows cover as they cover the crop; and crops that start at multiples of both strides.
    """
    row, crop = network.spec.layers[0], network.spec.input_px
    if not isinstance(row, Convolution) or row.padding_px:
        return False
    pools = [step for step in row.then if isinstance(step, Pool)]
    if len(pools) != 1 or any(isinstance(step, Dropout | NormalizeMap) for step in row.then):
        return False
    step = row.stride_px * pools[0].stride_px
    aligned = all(offset % step == 0 for place in places for offset in place) and (image_px - crop) % step == 0
    # The pooled rows must be whole windows: one cut off at the edge would be shared with what lies beyond it.
    side, pooled = network.shapes[0].output[1], network.shapes[0].final[1]
    return aligned and (pooled - 1) * pools[0].stride_px + pools[0].window_px == side


def share_first_layer(network: AlexNet, images: Tensor, places: Sequence[Place]) -> Tensor:
    """Return what the first layer and its operations make of every crop: (N * V, C, H, W), crops of an image together.

    Equal to running the layer on the crops one by one, to rounding.

    Args:
        network: In evaluation mode, with `can_share` true.
        images: (N, 3, S, S) inputs, not cropped.
        places: V crops.
    """
    row, layer, pool = _first_layer(network)
    side, last = network.shapes[0].output[1], network.shapes[0].final[1] - 1
    crop, stride, overhang = network.spec.input_px, row.stride_px, layer.overhang_px
    margin = images.shape[2] - crop
    kept = row.window_px - overhang  # the part of a crop's last window inside the crop
    whole = F.pad(images, (0, overhang, 0, overhang))

    def convolve(x: Tensor, rows: int | None = None) -> Tensor:
        """Convolve with the first rows of the kernel; the others would read zeros."""
        return F.conv2d(x, layer.weight[:, :, :rows], layer.bias, stride)

    def convolve_column(x: Tensor, columns: int) -> Tensor:
        """Convolve a strip with the first columns of the kernel, both lying down.

        oneDNN 3.12 leaves all but the first of outputs that are one pixel wide unwritten in bfloat16, where the
        processor has AMX.
        """
        kernel = layer.weight[:, :, :, :columns].transpose(2, 3)
        lying = x.transpose(2, 3).contiguous(memory_format=torch.channels_last)
        return F.conv2d(lying, kernel, layer.bias, stride).transpose(2, 3)

    def finish(x: Tensor) -> Tensor:
        return apply_all(x, row.then, towers=network.spec.towers, training=False, keys=None, layer=0)

    everywhere = convolve(whole)
    shared = finish(everywhere)
    # The last convolution row or column of crops whose own edge is not the edge of the image.
    inner_y = {y for y, _ in places if overhang and y != margin}
    inner_x = {x for _, x in places if overhang and x != margin}
    bottoms = {y: convolve(whole[:, :, y + crop - kept : y + crop], kept) for y in inner_y}
    rights = {x: convolve_column(whole[:, :, :, x + crop - kept : x + crop], kept) for x in inner_x}

    def outputs(y: int, x: int, top: int, left: int) -> Tensor:
        """Convolution outputs of the crop at pixel (y, x), from row `top` and column `left` of it to its end."""
        rows, columns = (slice(at // stride + first, at // stride + side) for at, first in ((y, top), (x, left)))
        part = everywhere[:, :, rows, columns].clone(memory_format=torch.channels_last)
        if x in inner_x:
            part[:, :, :, -1:] = rights[x][:, :, rows]
        if y in inner_y:
            part[:, :, -1:] = bottoms[y][:, :, :, columns]
        if x in inner_x and y in inner_y:
            corner = whole[:, :, y + crop - kept : y + crop, x + crop - kept : x + crop]
            part[:, :, -1, -1] = F.linear(corner.flatten(1), layer.weight[:, :, :kept, :kept].flatten(1), layer.bias)
        return part

    inside = last * pool.stride_px  # the first convolution row that the last pooled row reads
    crops = []
    for y, x in places:
        top, left = y // stride // pool.stride_px, x // stride // pool.stride_px
        view = shared[:, :, top : top + last + 1, left : left + last + 1].clone(memory_format=torch.channels_last)
        if y in inner_y:
            view[:, :, last:] = finish(outputs(y, x, inside, 0))
        if x in inner_x:
            view[:, :, :, last:] = finish(outputs(y, x, 0, inside))
        crops.append(view)
    return torch.stack(crops, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def share_covered_first_layer(network: AlexNet, image: Tensor, places: Sequence[Place], side_px: int) -> Tensor:
    """Return what the first layer and its operations make of an image with a square of zeros: (P, C, H, W).

    Equal to covering the image at one place after the other and running the layer, to rounding.

    Args:
        network: In evaluation mode, with `can_share` true for a crop that is the image.
        image: (1, 3, S, S) inputs, as the network takes them.
        places: Top row and left column of each of P squares that lie inside the image.
        side_px: Side of the square.
    """
    row, layer, pool = _first_layer(network)
    step, total = row.stride_px * pool.stride_px, network.shapes[0].final[1]
    reach = (pool.window_px - 1) * row.stride_px + row.window_px  # pixels along an axis that one pooled output sees
    count = min(total, (side_px + reach - 2) // step + 1)  # outputs along an axis that can see a pixel of the square
    part_px = (count - 1) * step + reach
    whole = F.pad(image, (0, layer.overhang_px, 0, layer.overhang_px))

    def compute(x: Tensor) -> Tensor:
        x = F.conv2d(x.contiguous(memory_format=torch.channels_last), layer.weight, layer.bias, row.stride_px)
        return apply_all(x, row.then, towers=network.spec.towers, training=False, keys=None, layer=0)

    def first(offset: int) -> int:
        """Return the first of the outputs along an axis that are computed anew for a square at this offset."""
        return min(max(0, -((reach - 1 - offset) // step)), total - count)

    parts = []
    for y, x in places:
        top, left = first(y) * step, first(x) * step
        part = whole[0, :, top : top + part_px, left : left + part_px].clone()
        part[:, y - top : y - top + side_px, x - left : x - left + side_px] = 0
        parts.append(part)
    everywhere = compute(whole).expand(len(places), -1, -1, -1)
    outputs = everywhere.clone(memory_format=torch.channels_last)
    for out, part, (y, x) in zip(outputs, compute(torch.stack(parts)), places, strict=True):
        out[:, first(y) : first(y) + count, first(x) : first(x) + count] = part
    return outputs


def _first_layer(network: AlexNet) -> tuple[Convolution, ConvolutionLayer, Pool]:
    row, layer = network.spec.layers[0], network.layers[network.spec.layers[0].name]
    assert isinstance(row, Convolution)
    assert isinstance(layer, ConvolutionLayer)
    return row, layer, next(step for step in row.then if isinstance(step, Pool))
