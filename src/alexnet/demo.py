"""The whole job on pictures that the package draws itself, as much as fits into a few minutes."""

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from alexnet import kernels
from alexnet.batches.loader import Batch
from alexnet.console.terminal import Terminal, duration, percent
from alexnet.data.prepare.prepare import prepare
from alexnet.data.scenes.scenes import write_scenes
from alexnet.data.store.reader import open_store
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.record import is_reported
from alexnet.files.documents import parse_json
from alexnet.files.writing import read_text, settled_names, write_text
from alexnet.network.alexnet import build
from alexnet.recipes.named import change_recipe, find_recipe, scale_epochs
from alexnet.runs.folder import MODEL, REPORT
from alexnet.runs.workflow import train_and_report
from alexnet.system import choose_compute, set_threads, tune_allocator
from alexnet.text.commands import command
from alexnet.text.wording import counted
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

CHOSEN = "demo.json"
"""File that keeps the plan of a demo."""


class Plan(NamedTuple):
    """How much of the demo a machine does."""

    train_per_class: int
    val_per_class: int
    epochs: int
    settings: tuple[str, ...]
    """Changes of recipe demo, "group.field=value"."""
    error: str
    """Its held-out error in ten views with seed 0; docs/notebook.md has the machines."""

    @property
    def steps(self) -> float:
        """Images trained on; one that is only predicted counts a third, since it has no gradient.

        Every picture is validated once an epoch, and tested in ten views at the end.
        """
        return 10 * (self.train_per_class * self.epochs + self.val_per_class * (self.epochs + 10) / 3)


_SHORT = ("batches.size=16", "network.dialect=paper+no-dropout")
"""For a few hundred updates: smaller batches make more of them, and without dropout they leave chance."""
PLANS = (
    Plan(200, 50, 7, (), "5 %"),
    Plan(200, 50, 4, _SHORT, "3 %"),
    Plan(100, 30, 5, _SHORT, "13 %"),
    Plan(60, 20, 5, _SHORT, "31 %"),
)
"""Plans from the largest to the smallest."""
MOST = 1000
"""Most pictures of a class, or epochs, in the plan of a file."""

OTHER_SHARE, OTHER_SECONDS = 0.2, 45
"""Time of drawing, preparing and the report's figures: a share of that of `Plan.steps`, and seconds."""


def run_demo(terminal: Terminal, out: Path, *, seed: int = 0, minutes: float = 6.0) -> Path:
    """Draw, prepare, train, test, predict and report below `out`; return the report. Interrupted, it continues.

    The numbers of pictures and epochs are chosen from `PLANS` by the time of a few steps, and kept for the next call.

    Args:
        minutes: Time that it may take.
    Raises:
        ConfigError: `out` holds something else.
    """
    pictures, store_path, run = out / "pictures", out / "store", out / "run"
    if out.exists() and not (out / CHOSEN).exists() and settled_names(out, CHOSEN):
        raise ConfigError(f"{out}: exists and is not a demo. Choose another --out.")
    plan = _read_plan(out) or _choose_plan(terminal, out, minutes)
    total = 10 * (plan.train_per_class + plan.val_per_class)
    terminal.say(f"1 of 4  Drawing {total:,} scenes of ten classes into {pictures}")
    if not store_path.exists():
        with terminal.progress("drawing", "scenes") as meter:
            write_scenes(
                pictures,
                train_per_class=plan.train_per_class,
                val_per_class=plan.val_per_class,
                seed=seed,
                progress=meter,
            )
    terminal.say(f"2 of 4  {command('prepare', pictures, out=store_path)}")
    if not store_path.exists():
        with terminal.progress("preparing", "images") as meter:
            prepare(pictures, store_path, progress=lambda done, total, skipped: meter(done, total))
    recipe = change_recipe(find_recipe("demo"), plan.settings)
    epochs = None if plan.epochs == recipe.optimization.total_epochs else plan.epochs
    if epochs is not None:
        recipe = change_recipe(recipe, scale_epochs(recipe, epochs))
    words = {"recipe": "demo", "set": list(plan.settings), "epochs": epochs, "seed": seed, "out": run}
    terminal.say(f"3 of 4  {command('train', store_path, **words)}")
    store = open_store(store_path)
    if not ((run / MODEL).exists() and is_reported(run, run / MODEL)):
        train_and_report(terminal, store, recipe, run, seed=seed)
    picture = sorted((pictures / "val").rglob("*.jpg"))[-1]
    terminal.say(f"4 of 4  {command('predict', run, picture)}")
    for name, probability in load(run).predict([picture], views=10)[0].top(3):
        terminal.print(f"  {percent(probability):>9}  {name}")
    report = run / REPORT
    terminal.print(f"Report: {report.resolve()}")
    without = "" if find_spec("gradio") else " (needs: pip install 'alexnet[web]')"
    terminal.print(f"Try it on pictures of your own{without}: {command('serve', run)}")
    return report


def _read_plan(out: Path) -> Plan | None:
    """Return what was chosen when the demo began, or None where it did not begin.

    Raises:
        ConfigError: its file is none that was written here.
    """
    file = out / CHOSEN
    if not file.exists():
        return None
    try:
        kept = parse_json(read_text(file))
        numbers = [kept[name] for name in Plan._fields[:3]]
        if not all(type(number) is int and 1 <= number <= MOST for number in numbers):
            raise ValueError
        train, val, epochs = numbers
        return Plan(train, val, epochs, tuple(map(str, kept["settings"])), str(kept["error"]))
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{file}: holds no plan of this demo. Choose another --out.") from None


def _choose_plan(terminal: Terminal, out: Path, minutes: float) -> Plan:
    """Return the largest plan that is over in time on this machine, and keep it; the smallest, where none is."""
    rate = _measure_rate(find_recipe("demo").batches.size)
    estimates = [OTHER_SECONDS + (1 + OTHER_SHARE) * plan.steps / rate for plan in PLANS]
    position = next((i for i, seconds in enumerate(estimates) if seconds <= 60 * minutes), len(PLANS) - 1)
    plan = PLANS[position]
    whole = f" The whole demo, seven epochs with dropout, would take {duration(estimates[0])}."
    terminal.say(
        f"This machine trains {rate:.0f} images/s. {duration(estimates[position])} for "
        f"{10 * plan.train_per_class:,} pictures and {counted(plan.epochs, 'epoch')}, with a held-out error of about "
        f"{plan.error} in the end.{whole if position else ''}"
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CHOSEN, json.dumps(plan._asdict()) + "\n")
    return plan


def _measure_rate(batch: int) -> float:
    """Return the images/s of a few training steps here; the first, which compiles, is left out."""
    set_threads()
    tune_allocator()
    compute = choose_compute()
    kernels.warm_up(compute.dtype)
    recipe = find_recipe("demo")
    network = build("paper", num_classes=10, initialization=recipe.network.initialization).to(compute.device)
    optimizer = MomentumDescent(network, recipe.optimization, dtype=compute.dtype)
    optimizer.working.train()
    positions = torch.arange(batch, device=compute.device)
    inputs = torch.ones(batch, 3, network.spec.input_px, network.spec.input_px, dtype=compute.dtype)
    item = Batch(inputs.to(compute.device), positions % 10, positions, total=batch)
    update, rates = Update(optimizer), dict.fromkeys(optimizer.velocities, 0.001)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        launched = update(item, rates)
        assert launched is not None
        launched.read()
        seconds.append(time.perf_counter() - start)
    return batch / sorted(seconds[1:])[1]
