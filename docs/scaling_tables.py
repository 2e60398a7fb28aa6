"""The tables of docs/scaling.md: what was measured, from benchmarks/records, and what the cost model expects."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.distribution.cost import Cluster, Cost, Link, estimate_step
from alexnet.distribution.mesh import parse_mesh
from alexnet.network.dialects import find_dialect
from alexnet.text.wording import say_bytes

RECORDS = Path(__file__).parent.parent / "benchmarks" / "records"
IMAGENET_IMAGES = 1_281_167
ENGINES = {"ours": "alexnet", "lancedb": "LanceDB", "faiss": "faiss"}

GPUS = Cluster(
    flops_per_second=300e12,
    memory_bytes_per_second=2.4e12,
    inside=Link(360e9, 10e-6),
    between=Link(40e9, 20e-6),
    processes_per_machine=8,
    images_per_second=52_000,
    overhead_seconds=1.5e-3,
    hides=1.0,
)
"""Assumed, not measured: docs/scaling.md says where each number comes from."""

EXPECTED = (
    (1, "data=1", 128),
    (1, "data=1", 1024),
    (8, "data=8", 1024),
    (8, "data=4,tower=2", 1024),
    (8, "data=8,dense=8", 1024),
    (8, "data=8", 8192),
    (16, "data=16", 8192),
    (16, "data=16,dense=16", 8192),
    (64, "data=64", 8192),
    (64, "data=64,dense=64", 8192),
    (512, "data=512", 8192),
    (512, "data=512", 32768),
    (512, "data=512,dense=512", 32768),
)
"""GPUs, mesh and global batch of the table of expectations."""

_LIMITS = {
    "compute": "operations",
    "update": "updating weights",
    "activations": "sending activations",
    "exposed_gradients": "sending gradients",
    "overhead": "starting kernels",
}


def measured_rows() -> list[list[str]]:
    """Return a row for each mesh of the newest record of `alexnet bench scaling`."""
    _, rows = read_record("scaling")
    return [
        [
            f"`{row['what']}`",
            f"{row['samples']['bytes'][0] / 2**20:.1f}",
            f"{row['ours']:.1f} ({row['ours_p20_p80'][0]:.1f}–{row['ours_p20_p80'][1]:.1f})",
            f"{row['ratio']:.2f}",
            f"{row['ceiling']:.1f}",
            f"{row['fraction']:.2f}",
        ]
        for row in rows
    ]


def limited_rows() -> list[list[str]]:
    """Return a row for each speed and mesh of the newest record of benchmarks/limited_link.py."""
    _, rows = read_record("limited-link")
    return [
        [
            f"{row['mbit']:,.0f}",
            f"`{row['mesh']}`",
            f"{row['step_s']:.2f} ({min(row['samples']):.2f}–{max(row['samples']):.2f})",
            f"{row['not_hidden_s']:.2f}",
            f"{row['hidden_s']:.2f}",
        ]
        for row in rows
    ]


def full_size_columns() -> list[str]:
    """Return the head of the table of benchmarks/full_size.py."""
    sizes = [f"{images:,}" for images in _full_sizes()]
    return [
        "stage",
        *(f"s, {size}" for size in sizes),
        "grows as n to",
        *(f"MiB, {size}" for size in sizes),
        "files",
        "bytes",
    ]


def full_size_rows() -> list[list[str]]:
    """Return a row for each stage of the newest record of benchmarks/full_size.py."""
    rows = read_full_size()
    sizes = _full_sizes()
    table = []
    for stage in dict.fromkeys(stage for stage, _ in rows):
        own = [rows.get((stage, images)) for images in sizes]
        last = next(row for row in reversed(own) if row)
        kills = f", killed {last['kills']}" if last["kills"] else ""
        table.append(
            [
                f"{stage}{kills}",
                *("–" if row is None else f"{row['cpu_seconds']:,.1f}" for row in own),
                _find_exponent([row for row in own if row]),
                *("–" if row is None else f"{row['peak_mib']:,.0f}" for row in own),
                f"{last['files']:,}" if last["files"] else "–",
                say_bytes(last["bytes"]) if last["files"] else "–",
            ]
        )
    return table


def _find_exponent(rows: Sequence[dict[str, Any]]) -> str:
    """Return the power of n by which time grew between the two largest sizes, where they did the same."""
    if len(rows) < 2 or rows[-2].get("views") != rows[-1].get("views"):
        return "–"
    before, after = rows[-2:]
    growth = math.log(after["cpu_seconds"] / before["cpu_seconds"]) / math.log(after["images"] / before["images"])
    return f"{max(growth, 0):.2f}"


def read_full_size() -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows of the newest record of benchmarks/full_size.py by stage and number of images."""
    return {(row["what"], row["images"]): row for row in read_record("full-size")[1]}


def _full_sizes() -> list[int]:
    return sorted({images for _, images in read_full_size()})


def engine_rows() -> list[list[str]]:
    """Return a row for each size and engine of the newest records of benchmarks/index_engines.py."""
    table = []
    for record in sorted({path.name.split("_")[1] for path in RECORDS.glob("*_index-engines-*_*.jsonl")}):
        by_engine: dict[str, dict[str, dict[str, Any]]] = {}
        for row in read_record(record)[1]:
            by_engine.setdefault(row["engine"], {})[row["what"]] = row
        table += [_engine_row(engine, rows) for engine, rows in by_engine.items()]
    return table


def _engine_row(engine: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    write, ask, codes = rows["write"], rows.get("ask", {}), rows.get("ask codes", {})

    def cell(row: dict[str, Any] | None, name: str, form: str, scale: float = 1) -> str:
        return "–" if not row or name not in row else format(scale * row[name], form)

    killed, changed = rows.get("killed while adding"), rows.get("one byte changed")
    safety = (
        "–" if not killed else "unreadable" if killed["unreadable"] else f"{killed['lost']} of {killed['kills']} lost"
    )
    return [
        f"{write['of']:,} × {write['dimensions']:,}",
        ENGINES[engine],
        cell(write, "bytes", ".2f", 1e-9),
        cell(write, "s", ",.0f"),
        cell(ask, "open_s", ".3f"),
        cell(ask, "one_s", ".3f"),
        cell(ask, "many_s", ",.1f"),
        cell(codes, "one_s", ".3f"),
        cell(rows.get("add"), "s", ".2f"),
        cell(rows.get("remove"), "s", ".2f"),
        cell(ask, "peak_mib", ",.0f"),
        cell(ask, "anonymous_mib", ",.0f"),
        safety,
        "–" if not changed else "noticed" if "failed" in changed else "not noticed",
    ]


def expected_rows() -> list[list[str]]:
    """Return a row for each of `EXPECTED`: what the model says of GPUs."""
    spec = find_dialect("paper", 1000)
    alone = _rate(1, "data=1", 1024)
    rows = []
    for gpus, mesh, batch in EXPECTED:
        cost = estimate_step(GPUS, parse_mesh(mesh, gpus), spec, batch, value_bytes=2)
        rate = _rate(gpus, mesh, batch)
        rows.append(
            [
                str(gpus),
                f"`{mesh}`",
                f"{batch:,}",
                f"{1000 * cost.step:.1f}",
                f"{rate / 1000:,.0f}",
                f"{rate / gpus / alone:.0%}",
                f"{IMAGENET_IMAGES / rate:.1f}",
                _limit(cost),
            ]
        )
    return rows


def _rate(gpus: int, mesh: str, batch: int) -> float:
    cost = estimate_step(GPUS, parse_mesh(mesh, gpus), find_dialect("paper", 1000), batch, value_bytes=2)
    return batch / cost.step


def _limit(cost: Cost) -> str:
    if cost.step == cost.reading:
        return "reading images"
    return _LIMITS[max(_LIMITS, key=lambda name: getattr(cost, name))]


def read_record(what: str, processor: str = "*") -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    """Return the head and the rows of the newest record of a benchmark, on a processor as its file name spells it.

    Several spellings are separated by "|": older names do not tell the instructions.
    """
    newest = max(path for name in processor.split("|") for path in RECORDS.glob(f"*_{what}_{name}.jsonl"))
    head, *rows = map(json.loads, newest.read_text(encoding="utf-8").splitlines())
    return head, rows
