"""alexnet bench."""

from pathlib import Path
from typing import Any

import click

from alexnet.text.commands import command
from alexnet.verbs.options import DISK, PATH, Whole, device_option, json_option, threads_option

OWN = {"serve": ("requests",), "step": ("dialect",), "loader": ("dialect",)}
"""Options that say something about one benchmark only."""


@click.command()
@click.argument("subjects", nargs=-1, metavar="[WHAT]...")
@click.option(
    "--what",
    "more",
    multiple=True,
    help="kernels, step, loader, evaluate, prepare, search, scaling or serve; repeatable.",
)
@click.option("--batch", default=128, type=Whole(1, 65_536), help="Images per step.")
@click.option("--rounds", default=5, type=Whole(1, 10_000), help="Turns that each side takes.")
@click.option("--dialect", default="paper", help="Network of step and of loader's epochs.")
@click.option("--images", type=PATH, help="Photographs for loader, prepare and serve.  [default: drawn scenes]")
@click.option("--requests", default=10_000, type=Whole(1, 10_000_000), help="Requests of serve's long run.")
@click.option("--record", type=DISK, help="Folder to keep the raw samples in.")
@device_option
@threads_option
@json_option
def bench(
    subjects: tuple[str, ...],
    more: tuple[str, ...],
    record: Path | None,
    as_json: bool,
    device: str,
    **options: Any,
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
    All of them, if none is named; serve only where the extra web is installed. --device is for the first four; on a
    GPU by name, they are all that is measured.
    """
    from importlib.util import find_spec

    from alexnet.benchmark.suite import ON_DEVICES, WHAT, run_benchmark, write_record
    from alexnet.console.terminal import Terminal
    from alexnet.system import choose_compute

    chosen = choose_compute(device).device
    known = WHAT if device == "auto" or chosen.type == "cpu" else ON_DEVICES
    wanted = (*subjects, *more) or tuple(what for what in known if what != "serve" or find_spec("gradio"))
    for what in wanted:
        if what not in WHAT:
            raise click.UsageError(f"Unknown benchmark {what!r}. Known: {', '.join(WHAT)}.")
        if what not in known:
            raise click.UsageError(f"{what} is measured on the processor. --device is for {', '.join(ON_DEVICES)}.")
    terminal = Terminal()
    for what in wanted:
        with terminal.progress(f"measuring {what}", "rounds") as meter:
            rows = run_benchmark(what, tick=meter, device=str(chosen), **options)
        if as_json:
            for row in rows:
                terminal.print_json(row.to_json())
        else:
            _show_benchmark(terminal, what, rows)
        if record:
            given = ("batch", "rounds", "images", "threads", *OWN.get(what, ()))
            there = chosen if what in ON_DEVICES and chosen.type != "cpu" else None
            typed = command("bench", what, **{name: options[name] for name in given}, device=there)
            other = "dialect" in given and options["dialect"] != "paper"
            subject = f"{what}-{options['dialect']}" if other else what
            path = write_record(record, subject, [row.to_json() for row in rows], typed, device=str(chosen))
            terminal.say(f"Record: {path}")


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
    for ceiling in dict.fromkeys(row.ceiling_of for row in rows if row.ceiling_of):
        terminal.print(f"ceiling: {ceiling}")
    terminal.print("")
