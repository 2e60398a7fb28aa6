"""The tables of docs/scaling.md: what was measured, from benchmarks/records, and what the cost model expects."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.distribution.cost import Cluster, Cost, Link, estimate_step
from alexnet.distribution.mesh import parse_mesh
from alexnet.network.dialects import find_dialect

RECORDS = Path(__file__).parent.parent / "benchmarks" / "records"
IMAGENET_IMAGES = 1_281_167

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
    """Return the head and the rows of the newest record of a benchmark, on a processor as its file name spells it."""
    newest = max(RECORDS.glob(f"*_{what}_{processor}.jsonl"))
    head, *rows = map(json.loads, newest.read_text(encoding="utf-8").splitlines())
    return head, rows
