"""Search: exact, by codes, and its features, beside the rates of memory, matrix products and inference."""

from functools import partial

import numpy as np
import torch

from alexnet.benchmark.measure import (
    Contender,
    Row,
    alternate,
    compare_rates,
    measure_matrix_rate,
    take_turns,
    time_once,
)
from alexnet.retrieval.codes.hamming import find_nearest_codes
from alexnet.retrieval.exact import find_nearest, rank_exactly
from alexnet.system import has_bfloat16
from alexnet.text.progress import Tick

DIMENSIONS = 4096
ROWS = 32_768
"""Float32 features that are searched: 512 MiB, far beyond any cache."""
CODES = 1_280_000
"""As many as ImageNet has images. The time of exact search over so many is that over ROWS in proportion."""
BITS, RERANK, K, QUERIES = 128, 500, 6, 128


def bench_search(batch: int, rounds: int, tick: Tick) -> list[Row]:
    """Return the rows of exact search, search by codes, and feature extraction."""
    return [*_bench_scans(rounds, tick), _bench_features(batch, rounds, tick)]


def _bench_scans(rounds: int, tick: Tick) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(ROWS, DIMENSIONS, generator=generator).relu_().numpy()
    queries = torch.randn(QUERIES, DIMENSIONS, generator=generator).relu_().numpy()
    tensor = torch.from_numpy(features)
    gigabytes, gigaflop = features.nbytes / 1e9, 2 * QUERIES * ROWS * DIMENSIONS / 1e9
    rows, one = [], queries[:1]
    seconds_per_row = 0.0
    for what, asked, amount, ceiling, unit in (
        ("1 query : cdist", one, gigabytes, measure_read_rate(tensor) / 1e9, "GB/s"),
        (f"{QUERIES} queries : cdist", queries, gigaflop, measure_matrix_rate(torch.float32) / 1e9, "GFLOP/s"),
    ):
        find_stock = partial(_find_with_cdist, torch.from_numpy(asked), tensor)
        mine, theirs = take_turns(partial(find_nearest, features, asked, K), find_stock, rounds)
        seconds_per_row = seconds_per_row or float(np.median(mine)) / ROWS
        ours, others = ([amount / seconds for seconds in series] for series in (mine, theirs))
        rows.append(compare_rates(what, ours, others, ceiling=ceiling, unit=unit))
        tick(len(rows), 4)
    codes = np.random.default_rng(0).integers(0, 256, (CODES, BITS // 8), dtype=np.uint8)
    asked_code = codes[:1].copy()
    exact_rate = 1 / (seconds_per_row * CODES)
    candidates = np.random.default_rng(1).permutation(ROWS)[None, :RERANK]
    mine, again = take_turns(
        lambda: find_nearest_codes(codes, asked_code, RERANK),
        lambda: rank_exactly([features], one, candidates, K),
        max(rounds, 5),
    )
    both = [scan + rank for scan, rank in zip(mine, again, strict=True)]
    for what, taken in (("", mine), (f", {RERANK} again", both)):
        rates = [1 / seconds for seconds in taken]
        rows.append(compare_rates(f"{BITS}-bit codes{what} : exact", rates, [exact_rate], unit="queries/s"))
    tick(3, 4)
    return rows


def _find_with_cdist(queries: torch.Tensor, features: torch.Tensor) -> object:
    return torch.cdist(queries, features).topk(K, largest=False)


def _bench_features(batch: int, rounds: int, tick: Tick) -> Row:
    """Return the row of features of stored images against the bare forward pass, in processes of their own."""
    precision = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    with (
        Contender("ours-features", batch=batch, dtype=precision) as ours,
        Contender("ours-inference", batch=batch, dtype=precision) as inference,
    ):
        extracted, inferred = alternate([ours, inference], rounds, amount=batch)
    tick(4, 4)
    return compare_rates("features : inference", extracted, inferred, unit="images/s")


def measure_read_rate(memory: torch.Tensor, *, rounds: int = 5) -> float:
    """Return the bytes/s at which memory is read here, by every thread at once: the best of two sums, a few times."""
    flat = memory.view(torch.int64).flatten()
    pieces = flat.tensor_split(torch.get_num_threads())
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(pieces)) as pool:

        def by_pieces() -> None:
            list(pool.map(lambda piece: np.add.reduce(piece.numpy()), pieces))

        best = min(min(time_once(flat.sum), time_once(by_pieces)) for _ in range(rounds))
    return memory.nbytes / best
