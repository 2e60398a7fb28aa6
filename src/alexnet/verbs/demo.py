"""alexnet demo."""

from pathlib import Path

import click

from alexnet.verbs.options import DISK, SEED, Number


@click.command()
@click.option("--out", default=Path("demo"), type=DISK, help="Folder for pictures, store, run and report.")
@click.option(
    "--minutes",
    default=6.0,
    type=Number(0.1, 10_000),
    help="What it may take; a slow machine draws fewer pictures and trains fewer epochs.",
)
@click.option("--seed", default=0, type=SEED, help="Fixes pictures, weights, order and views.")
def demo(out: Path, minutes: float, seed: int) -> None:
    """Do the whole job on pictures that the program draws itself, and write a report.

    It measures a few steps first, says how long it will take, and does as much as fits into --minutes: on two fast
    cores everything, in four. Interrupted, the same command continues.
    """
    from alexnet.console.terminal import Terminal
    from alexnet.demo import run_demo

    run_demo(Terminal(), out, seed=seed, minutes=minutes)
