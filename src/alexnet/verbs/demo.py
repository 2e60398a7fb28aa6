"""alexnet demo."""

from pathlib import Path

import click

from alexnet.verbs.options import PATH, SEED


@click.command()
@click.option("--out", default=Path("demo"), type=PATH, help="Folder for pictures, store, run and report.")
@click.option("--seed", default=0, type=SEED, help="Fixes pictures, weights, order and views.")
def demo(out: Path, seed: int) -> None:
    """Do the whole job on pictures that the program draws itself, and write a report.

    About five minutes on two cores. Interrupted, the same command continues.
    """
    from alexnet.console.terminal import Terminal
    from alexnet.demo import run_demo

    run_demo(Terminal(), out, seed=seed)
