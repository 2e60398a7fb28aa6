"""alexnet report."""

from pathlib import Path
from typing import Any

import click

from alexnet.verbs.options import PATH, TARGET, Place, compute_options


@click.command()
@click.argument("run", type=TARGET)
@click.argument("store", required=False, type=PATH)
@click.option("--split", help="Split of the store to test on.  [default: test where there is one, else val]")
@compute_options
def report(run: Place, store: Path | None, split: str | None, **compute: Any) -> None:
    """Test RUN and write its report again: RUN/report.html, one file that needs nothing else, and RUN/figures.

    STORE is the one that it was trained on, where that was moved. Training ends with the same report.
    """
    from alexnet.console.terminal import Terminal
    from alexnet.functions import testing

    done = testing.report(run, store, split=split, show=True, **compute)
    Terminal().print(f"Report: {done.report}")
