"""The whole job on pictures that the package draws itself."""

from importlib.util import find_spec
from pathlib import Path

from alexnet.console.terminal import Terminal, percent
from alexnet.data.prepare.prepare import prepare
from alexnet.data.scenes.scenes import write_scenes
from alexnet.data.store.reader import open_store
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.record import is_reported
from alexnet.recipes.named import find_recipe
from alexnet.runs.folder import MODEL, REPORT
from alexnet.runs.workflow import train_and_report
from alexnet.text.commands import command

TRAIN_PER_CLASS, VAL_PER_CLASS = 200, 50


def run_demo(terminal: Terminal, out: Path, *, seed: int = 0) -> Path:
    """Draw, prepare, train, test, predict and report below `out`; return the report. Interrupted, it continues.

    Raises:
        ConfigError: `out` holds something else.
    """
    pictures, store_path, run = out / "pictures", out / "store", out / "run"
    if out.exists() and any(out.iterdir()) and not pictures.exists():
        raise ConfigError(f"{out}: exists and is not a demo. Choose another --out.")
    terminal.say(f"1 of 4  Drawing {10 * (TRAIN_PER_CLASS + VAL_PER_CLASS):,} scenes of ten classes into {pictures}")
    if not store_path.exists():
        with terminal.progress("drawing", "scenes") as meter:
            write_scenes(
                pictures, train_per_class=TRAIN_PER_CLASS, val_per_class=VAL_PER_CLASS, seed=seed, progress=meter
            )
    terminal.say(f"2 of 4  {command('prepare', pictures, out=store_path)}")
    if not store_path.exists():
        with terminal.progress("preparing", "images") as meter:
            prepare(pictures, store_path, progress=lambda done, total, skipped: meter(done, total))
    terminal.say(f"3 of 4  {command('train', store_path, recipe='demo', seed=seed, out=run)}")
    store = open_store(store_path)
    if not ((run / MODEL).exists() and is_reported(run, run / MODEL)):
        train_and_report(terminal, store, find_recipe("demo"), run, seed=seed)
    picture = sorted((pictures / "val").rglob("*.jpg"))[-1]
    terminal.say(f"4 of 4  {command('predict', run, picture)}")
    for name, probability in load(run).predict([picture], views=10)[0].top(3):
        terminal.print(f"  {percent(probability):>9}  {name}")
    report = run / REPORT
    terminal.print(f"Report: {report.resolve()}")
    without = "" if find_spec("gradio") else " (needs: pip install 'alexnet[web]')"
    terminal.print(f"Try it on pictures of your own{without}: {command('serve', run)}")
    return report
