"""Numba kernel that sums the gradients of a convolution's weights and biases on the CPU, in float32.

They are one matrix product: what each window saw, times what its outputs are to change by. It is computed in blocks, as
every fast product is. Windows and gradients are copied to where the cache keeps them, in the order in which they
are read, and tiles of sums stay in registers for the length of a block. The windows never lie side by side in memory.

A bias is the weight of an input that is always one. Ceiling: the processor's multiply-adds.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numpy.typing import NDArray

from alexnet.kernels.cpu_bits import Floats, compiled, compiled_parallel, instructions

LANES = 8
"""Numbers in a vector of AVX2."""
ROWS, COLUMNS = 6, 2 * LANES
"""Of a tile, kernels by inputs: its sums fill 12 of the 16 registers."""
DEPTH = 256
"""Places in a block; 16 KiB of a panel's inputs."""
PANELS_PER_THREAD = 8
"""At least, where the kernels can be shared further, so that threads end together."""

_ONE, _ZERO = -1, -2
"""Offsets of the input that is always one, and of columns behind the last."""

_NUMBER, _LONG = ir.FloatType(), ir.IntType(64)
_VECTOR, _INDICES = ir.VectorType(_NUMBER, LANES), ir.VectorType(ir.IntType(32), LANES)


def _find(context: Any, builder: Any, signature: Any, arguments: Any, position: int) -> Any:
    """Return the address of the element that an array and the index after it name."""
    kind: Any = cgutils.create_struct_proxy(signature.args[position])  # type: ignore[no-untyped-call]
    array = kind(context, builder, arguments[position])
    return builder.gep(array.data, [arguments[position + 1]])


def _vector_at(builder: Any, base: Any, offset: int) -> Any:
    return builder.bitcast(builder.gep(base, [_LONG(offset)]), _VECTOR.as_pointer())


def _load(builder: Any, base: Any, offset: int) -> Any:
    return builder.load(_vector_at(builder, base, offset), align=4)


def _repeat(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector whose lanes all hold `value`."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(_INDICES, [0] * LANES))


@instructions
def _add_tile(typing_context: Any, a: Any, i: Any, b: Any, j: Any, sums: Any, k: Any, depth: Any) -> Any:
    """Add to the tile at sums[k] the product of panels of `depth` at a[i] (depth, ROWS) and b[j] (depth, COLUMNS)."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, tile = (_find(context, builder, signature, arguments, position) for position in (0, 2, 4))
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fma.v{LANES}f32"
        multiply_add: Any = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
        before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("sums")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(_LONG)
        totals = [builder.phi(_VECTOR) for _ in range(ROWS * COLUMNS // LANES)]
        row_of_left = builder.gep(left, [builder.mul(step, _LONG(ROWS))])
        row_of_right = builder.gep(right, [builder.mul(step, _LONG(COLUMNS))])
        inputs = [_load(builder, row_of_right, lane) for lane in range(0, COLUMNS, LANES)]
        factors = (builder.load(builder.gep(row_of_left, [_LONG(row)])) for row in range(ROWS))
        pairs = [(_repeat(builder, factor, _VECTOR), x) for factor in factors for x in inputs]
        added = [builder.call(multiply_add, [*pair, total]) for pair, total in zip(pairs, totals, strict=True)]
        following = builder.add(step, _LONG(1))
        for value, start, later in [
            (step, _LONG(0), following),
            *((total, ir.Constant(_VECTOR, [0.0] * LANES), each) for total, each in zip(totals, added, strict=True)),
        ]:
            value.add_incoming(start, before)
            value.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[6]), loop, after)
        builder.position_at_end(after)
        for position, value in enumerate(added):
            total = builder.fadd(_load(builder, tile, position * LANES), value)
            builder.store(total, _vector_at(builder, tile, position * LANES), align=4)
        return context.get_dummy_value()

    return types.void(a, i, b, j, sums, k, depth), emit


@instructions
def _copy_two_runs(typing_context: Any, x: Any, i: Any, j: Any, cut: Any, out: Any, k: Any) -> Any:
    """Copy COLUMNS numbers to out[k]: those before `cut` as they follow x[i], the others as they follow x[j].

    It reads all that follow both, which stay within x where those of j do, since i <= j.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, target = (_find(context, builder, signature, arguments, position) for position in (0, 4))
        second = builder.gep(first, [builder.sub(arguments[2], arguments[1])])
        cuts = _repeat(builder, builder.trunc(arguments[3], ir.IntType(32)), _INDICES)
        for lane in range(0, COLUMNS, LANES):
            is_first = builder.icmp_signed("<", ir.Constant(_INDICES, list(range(lane, lane + LANES))), cuts)
            value = builder.select(is_first, _load(builder, first, lane), _load(builder, second, lane))
            builder.store(value, _vector_at(builder, target, lane), align=4)
        return context.get_dummy_value()

    return types.void(x, i, j, cut, out, k), emit


@instructions
def _copy_row(typing_context: Any, x: Any, i: Any, out: Any, k: Any) -> Any:
    """Copy ROWS numbers from x[i] to out[k]. Spelt out, since the compiler makes no good loop of so few."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (_find(context, builder, signature, arguments, position) for position in (0, 2))
        for offset, lanes in ((0, 4), (4, 2)):
            vector = ir.VectorType(_NUMBER, lanes).as_pointer()
            at, to = (builder.bitcast(builder.gep(end, [_LONG(offset)]), vector) for end in (source, target))
            builder.store(builder.load(at, align=4), to, align=4)
        return context.get_dummy_value()

    return types.void(x, i, out, k), emit


class Geometry(NamedTuple):
    """Of a convolution whose maps have their border of zeros."""

    stride: int
    rows: int
    columns: int
    """Outputs of a map: `rows` times `columns`."""
    groups: int


@compiled
def _find_windows(first: int, count: int, shape: tuple[int, int, int, int], g: Geometry, starts: NDArray[Any]) -> None:
    """Set starts[m] to where the window of place first + m begins in the maps; places in the order N, h, w."""
    _, height, width, channels = shape
    for m in range(count):
        image, place = divmod(first + m, g.rows * g.columns)
        row, column = divmod(place, g.columns)
        starts[m] = ((image * height + row * g.stride) * width + column * g.stride) * channels


@compiled
def _copy_inputs(x: Floats, starts: NDArray[Any], count: int, offsets: NDArray[Any], panel: Floats) -> None:
    """Copy COLUMNS inputs of each window, at `offsets` from its start, to a panel (count, COLUMNS)."""
    cut = 1
    while cut < COLUMNS and offsets[cut] == offsets[0] + cut:
        cut += 1
    second = offsets[min(cut, COLUMNS - 1)] - min(cut, COLUMNS - 1)
    if offsets[0] >= 0 and offsets[COLUMNS - 1] - (COLUMNS - 1) == second and second >= 0:
        for m in range(count):
            _copy_two_runs(x, starts[m] + offsets[0], starts[m] + second, cut, panel, m * COLUMNS)
        return
    for lane in range(COLUMNS):
        offset = offsets[lane]
        for m in range(count):
            panel[m * COLUMNS + lane] = x[starts[m] + offset] if offset >= 0 else offset == _ONE


@compiled
def _copy_gradients(dy: Floats, first: int, count: int, kernels: int, begin: int, end: int, panels: Floats) -> None:
    """Copy the gradients of kernels `begin` to `end` to panels (panels, DEPTH, ROWS); zeros for kernels behind."""
    for start in range(begin, end, ROWS):
        base = (start - begin) * DEPTH
        if start + ROWS <= end:
            for m in range(count):
                _copy_row(dy, (first + m) * kernels + start, panels, base + m * ROWS)
        else:
            for m in range(count):
                for i in range(ROWS):
                    here = start + i < end
                    panels[base + m * ROWS + i] = dy[(first + m) * kernels + start + i] if here else np.float32(0)


@compiled_parallel
def sum_weight_gradient(x: Floats, dy: Floats, dweight: Floats, dbias: Floats, g: Geometry, threads: int) -> None:
    """Set dweight (kernels, h, w, C / groups) and dbias (kernels,) to the sums over all places.

    Args:
        x: Maps with their border, (N, H, W, C).
        dy: Gradient of the outputs, (N, rows, columns, kernels).
    """
    channels, kernels, window = x.shape[3], dy.shape[3], dweight.shape[1]
    of_group, inputs = kernels // g.groups, channels // g.groups
    places, seen = x.shape[0] * g.rows * g.columns, window * window * inputs
    panels = seen // COLUMNS + 1  # with room for the bias
    parts = 1  # of a group's kernels
    while g.groups * panels * parts < PANELS_PER_THREAD * threads and of_group > 4 * ROWS * parts:
        parts *= 2
    step = -(-of_group // parts // ROWS) * ROWS
    parts = -(-of_group // step)
    flat_x, flat_dy = x.reshape(x.size), dy.reshape(dy.size)
    flat_dweight = dweight.reshape(kernels, seen)
    work = g.groups * parts * panels
    for thread in numba.prange(threads):
        lowest, highest = work * thread // threads, work * (thread + 1) // threads
        starts, offsets = np.empty(DEPTH, np.int64), np.empty(panels * COLUMNS, np.int64)
        for j in range(panels * COLUMNS):
            place, channel = divmod(j, inputs)
            offset = (place // window * x.shape[2] + place % window) * channels + channel
            offsets[j] = offset if j < seen else _ONE if j == seen else _ZERO
        left, right = np.empty(step * DEPTH, np.float32), np.empty(DEPTH * COLUMNS, np.float32)
        sums = np.zeros((highest - lowest) * step * COLUMNS, np.float32)
        for first in range(0, places, DEPTH):
            count, current = min(DEPTH, places - first), -1
            for unit in range(lowest, highest):
                part, panel = divmod(unit, panels)
                begin = part // parts * of_group + part % parts * step
                end = min(begin + step, (part // parts + 1) * of_group)
                if part != current:
                    _find_windows(first, count, x.shape, g, starts)
                    for m in range(count):
                        starts[m] += part // parts * inputs
                    _copy_gradients(flat_dy, first, count, kernels, begin, end, left)
                    current = part
                _copy_inputs(flat_x, starts, count, offsets[panel * COLUMNS : (panel + 1) * COLUMNS], right)
                base = (unit - lowest) * step * COLUMNS
                for row in range(0, end - begin, ROWS):
                    _add_tile(left, row * DEPTH, right, 0, sums, base + row * COLUMNS, count)
        for unit in range(lowest, highest):
            part, panel = divmod(unit, panels)
            begin = part // parts * of_group + part % parts * step
            for row in range(min(step, (part // parts + 1) * of_group - begin)):
                base = ((unit - lowest) * step + row) * COLUMNS
                for lane in range(min(COLUMNS, seen - panel * COLUMNS)):
                    flat_dweight[begin + row, panel * COLUMNS + lane] = sums[base + lane]
                if panel == panels - 1:
                    dbias[begin + row] = sums[base + seen - panel * COLUMNS]
