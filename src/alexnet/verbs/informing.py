"""alexnet info and alexnet bench."""

from pathlib import Path
from typing import Any

import click

from alexnet.commands import command
from alexnet.verbs.options import PATH, Whole, json_option, threads_option


@click.command()
@click.argument("what", nargs=-1)
@click.option("--compare", "compare", is_flag=True, help="Print where several dialects differ.")
@click.option("--system", "show_system", is_flag=True, help="What this machine is, and what is chosen on it.")
@click.option("--all", "every", is_flag=True, help="Every field of a recipe, every class, what each layer costs.")
@click.option("--verify", is_flag=True, help="Read the whole of a store, or of a run's weights, and compare checksums.")
@click.option("--images", "list_images", is_flag=True, help="List a store's images: split, class, name, path.")
@json_option
def info(
    what: tuple[str, ...], compare: bool, show_system: bool, every: bool, verify: bool, list_images: bool, as_json: bool
) -> None:
    """Tell in one screen what WHAT is, and the command that goes on.

    WHAT is a store, a run, a model or ensemble file, an index, a folder of reproduce, a dialect or a recipe; or another
    kind of file.

    \b
    alexnet info RUN                                   how far it is, how well it does, the next command
    alexnet info small-data --all                      a recipe, with every field explained
    alexnet info source-2012+no-norm                   a dialect, with modifiers: its layers, parameters and memory
    alexnet info --compare paper source-2012 caffe     where dialects differ
    """
    import json

    from alexnet.description.describe import describe
    from alexnet.description.dialects import compare as compare_dialects
    from alexnet.description.machine import describe_system
    from alexnet.description.stores import list_images as list_images_of
    from alexnet.terminal import Terminal

    terminal = Terminal()
    if not what and not show_system:
        raise click.UsageError("Name a store, run, model file, dialect or recipe, or give --system.")
    if len(what) > 1 and not compare:
        raise click.UsageError("Name one thing, or give --compare with several dialects.")
    if list_images and not what:
        raise click.UsageError("Name the store whose images are to be listed.")
    if list_images:
        for row in list_images_of(what[0]):
            terminal.print_json(json.dumps(row) if as_json else "\t".join(row.values()))
        return
    if show_system:
        report = describe_system()
    elif compare:
        report = compare_dialects(what)
    else:
        report = describe(what[0], verify=verify, every=every)
    if as_json:
        terminal.print_json(json.dumps(report.values, default=str))
        return
    for number, part in enumerate(report.parts):
        if number:
            terminal.print("")
        terminal.show(part)


@click.command()
@click.argument("subjects", nargs=-1, metavar="[WHAT]...")
@click.option(
    "--what",
    "more",
    multiple=True,
    help="kernels, step, loader, evaluate, prepare, search, scaling or serve; repeatable.",
)
@click.option("--batch", default=128, show_default=True, type=Whole(1, 65_536), help="Images per step.")
@click.option("--rounds", default=5, show_default=True, type=Whole(1, 10_000), help="Turns that each side takes.")
@click.option("--images", type=PATH, help="Photographs for loader, prepare and serve.  [default: drawn scenes]")
@click.option(
    "--requests", default=10_000, show_default=True, type=Whole(1, 10_000_000), help="Requests of serve's long run."
)
@click.option("--record", type=PATH, help="Folder to keep the raw samples in.")
@threads_option
@json_option
def bench(
    subjects: tuple[str, ...],
    more: tuple[str, ...],
    batch: int,
    rounds: int,
    images: Path | None,
    requests: int,
    record: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure this machine: ours beside stock PyTorch, in turns, with the ceiling of the hardware.

    \b
    WHAT is any of
      kernels   response normalisation, pooling and the update, against PyTorch's own
      step      a training step, against the stock network and torchvision's
      loader    batches from a store, against a folder of images; epochs with data, against the bare step
      evaluate  one and ten views, against separate passes
      prepare   photographs to a store, against plain Pillow; all cores, against one
      search    exact and by codes, against torch.cdist; features, against inference
      scaling   steps on 2 and 4 processes of this machine, against one; the ceiling is the cost model's estimate
                (with --batch 64 --rounds 3 three minutes on an idle machine)
      serve     one client and 32, against evaluating; 64 clients for long: lost or exchanged answers, memory
    All of them, if none is named; serve only where the extra web is installed.
    """
    import json
    from importlib.util import find_spec

    from alexnet.benchmark.suite import WHAT, run_benchmark, write_record
    from alexnet.terminal import Terminal

    wanted = (*subjects, *more) or tuple(what for what in WHAT if what != "serve" or find_spec("gradio"))
    for what in wanted:
        if what not in WHAT:
            raise click.UsageError(f"Unknown benchmark {what!r}. Known: {', '.join(WHAT)}.")
    terminal = Terminal()
    for what in wanted:
        with terminal.progress(f"measuring {what}", "rounds") as meter:
            rows = run_benchmark(
                what, batch=batch, rounds=rounds, images=images, threads=threads, requests=requests, tick=meter
            )
        if as_json:
            for row in rows:
                terminal.print_json(json.dumps(row.to_json()))
        else:
            _show_benchmark(terminal, what, rows)
        if record:
            of_serve = requests if what == "serve" else None
            typed = command(
                "bench", what, batch=batch, rounds=rounds, images=images, threads=threads, requests=of_serve
            )
            terminal.say(f"Record: {write_record(record, what, [row.to_json() for row in rows], typed)}")


def _show_benchmark(terminal: Any, what: str, rows: Any) -> None:
    def rate(value: float | None) -> str:
        return "–" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"

    terminal.table(
        [what, "ours", "p20 – p80", "theirs", "ratio", "ceiling", "of it", "unit", "n"],
        [
            [
                row.what,
                rate(row.ours.median),
                f"{rate(row.ours.p20)} – {rate(row.ours.p80)}",
                rate(row.theirs.median if row.theirs else None),
                f"{row.ratio:.2f}" if row.ratio else "–",
                rate(row.ceiling),
                f"{row.fraction:.0%}" if row.fraction else "–",
                row.unit,
                str(row.ours.n),
            ]
            for row in rows
        ],
    )
    terminal.print("")
