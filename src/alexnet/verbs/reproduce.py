"""alexnet reproduce."""

from pathlib import Path
from typing import Any

import click

from alexnet.verbs.options import (
    DISK,
    MOST_THREADS,
    PATH,
    Number,
    Whole,
    cluster_option,
    json_option,
    precision_option,
    read_devices,
)


@click.command()
@click.argument("names", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--store", "store_path", type=PATH, help="Prepared images; the experiment trains and tests on them.")
@click.option("--out", type=DISK, default=Path("reproduced"), help="Folder for runs and results.")
@click.option("--seeds", default=1, type=Whole(1, 1000), help="Trainings of each variant.")
@click.option(
    "--hours",
    "--budget",
    "budget_hours",
    type=Number(0, min_open=True),
    metavar="HOURS",
    help="Do what fits into this time, name what does not, and begin nothing that ends later.",
)
@click.option(
    "--priority", multiple=True, metavar="EXPERIMENT", help="All seeds of this one come before the others; repeatable."
)
@click.option("--recipe", help="Recipe that is varied.  [default: the experiment's own]")
@click.option(
    "--epochs", type=Whole(1, 1_000_000), help="Epochs of each training; drops of the rate move in proportion."
)
@click.option(
    "--set", "assignments", multiple=True, metavar="GROUP.FIELD=VALUE", help="Change a field for all variants."
)
@click.option("--larger", "larger_path", type=PATH, metavar="STORE", help="Larger label set to pre-train on (table2).")
@click.option("--devices", metavar="A,B,…", help="A training at a time on each: cuda:0,cuda:1.  [default: auto]")
@click.option("--side-by-side", default=1, type=Whole(1, 64), help="Trainings at a time on each device.")
@cluster_option
@precision_option
@click.option(
    "--threads", type=Whole(1, MOST_THREADS), help="Threads of each training.  [default: its share of the cores]"
)
@click.option("--dry-run", is_flag=True, help="Show the plan with estimated times, and train nothing.")
@json_option
def reproduce(
    names: tuple[str, ...],
    store_path: Path | None,
    out: Path,
    larger_path: Path | None,
    devices: str | None,
    side_by_side: int,
    cluster: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Repeat experiments of the paper on your images, and set the results beside the paper's.

    Without EXPERIMENT, lists them. A few steps of each network are timed first, and how long all takes is said.
    The first seeds of all experiments come before the second ones. Trainings are kept under OUT/runs and shared between
    experiments; interrupted anywhere, the same command goes on. Results go to OUT/EXPERIMENT: results.csv,
    results.json, errors.json (image by image), and the figure.

    \b
      alexnet reproduce dropout --store STORE --seeds 3 --dry-run
      alexnet reproduce dropout depth --store STORE --seeds 3 --epochs 20 --hours 4
      alexnet reproduce table2 --store STORE --larger BIGGER --seeds 5
      alexnet reproduce depth --store STORE --seeds 3 --devices cuda:0,cuda:1
    """
    from alexnet.console.terminal import Terminal
    from alexnet.reproduction.experiments import EXPERIMENTS, TABLES

    terminal = Terminal()
    if not names:
        titles = {each.name: each.title for each in EXPERIMENTS.values()} | TABLES
        for known, title in titles.items():
            small = known in EXPERIMENTS and EXPERIMENTS[known].recipe.startswith("cifar")
            terminal.print(f"{known:<20}{title}{' – store of 32 px' if small else ''}")
        terminal.print("\nStores of 256 px where nothing else is said; table2 pre-trains on a second one (--larger).")
        return
    if store_path is None:
        raise click.UsageError(f"{names[0]} needs images to train and test on. Name a store: --store STORE.")
    from alexnet.data.store.reader import open_store
    from alexnet.functions.opening import check_shared, share_work
    from alexnet.reproduction.carry_out import carry_out

    if cluster and side_by_side > 1:
        raise click.UsageError("--cluster trains as many at a time as it has room for. Leave out --side-by-side.")
    check_shared(cluster, store_path, larger_path)
    places = (read_devices(devices, cluster=cluster) or ("auto",)) * side_by_side
    with share_work(cluster, threads=options["threads"], device="auto") as nodes:
        document: Any = carry_out(
            terminal,
            names,
            open_store(store_path),
            out,
            larger=open_store(larger_path) if larger_path else None,
            devices=places,
            cluster=nodes,
            **options,
        )
    if as_json:
        terminal.print_json(document)
    if document.get("failed"):
        raise SystemExit(1)
