"""The command `alexnet`: one thin function per verb, in the order in which data flows.

Nothing heavy is imported at the top, so that --help answers at once; each verb imports what it needs.
"""

import signal
import sys
from pathlib import Path
from typing import Any, Literal

import click

from alexnet.errors import AlexNetError
from alexnet.version import __version__


class _InOrder(click.Group):
    """Lists its verbs in the order of the pipeline, and names the nearest verb for an unknown one."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        try:
            return super().resolve_command(context, args)
        except click.UsageError as problem:
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            if close:
                raise click.UsageError(f"{problem.message} Did you mean {close[0]!r}?", context) from None
            raise


SOURCE_KINDS = ["table", "ilsvrc", "cifar", "cifar-strips", "parquet", "webdataset", "numpy", "archive", "folders"]
"""Names of `data.sources.KINDS`, here so that --help need not load them; a test compares the two."""

_PATH = click.Path(path_type=Path)
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
_precision = click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="auto takes bfloat16 where the hardware multiplies it natively.",
)
_threads = click.option("--threads", type=click.IntRange(1), help="Threads to compute with.  [default: every core]")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="alexnet")
def cli() -> None:
    """Labelled images in; a trained, tested, explainable AlexNet classifier out.

    \b
    A first classifier from folders of photographs (PHOTOS/train/<class>/…, PHOTOS/val/<class>/…):
      alexnet prepare PHOTOS --out STORE
      alexnet train STORE --recipe small-data --out RUN
      alexnet evaluate RUN STORE --views 10
      alexnet predict RUN picture.jpg

    To see it all work on pictures that the program draws itself: alexnet demo
    """


@cli.command()
@click.argument("source", type=_PATH)
@click.option("--out", required=True, type=_PATH, help="Store to create: a folder.")
@click.option(
    "--source",
    "kind",
    type=click.Choice(SOURCE_KINDS),
    help="What SOURCE is.  [default: the first that recognises it]",
)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of each class to set aside for validation, where SOURCE has no validation images.",
)
@click.option(
    "--val-list",
    type=_PATH,
    help="Text file that names the validation images and, where SOURCE does not, their classes.",
)
@click.option(
    "--codec",
    default="raw",
    show_default=True,
    type=click.Choice(["raw", "jpeg"]),
    help="Keep pixels, or JPEGs of a tenth of the size that are decoded during training.",
)
@click.option(
    "--quality", default=90, show_default=True, type=click.IntRange(1, 100), help="Of the JPEGs of --codec jpeg."
)
@click.option(
    "--size", default=256, show_default=True, type=click.IntRange(8, 4096), help="Side of the stored images in pixels."
)
@click.option("--seed", default=0, show_default=True, help="Fixes which images --val-fraction sets aside.")
@click.option(
    "--on-bad-image",
    default="skip",
    show_default=True,
    type=click.Choice(["skip", "stop"]),
    help="Leave unreadable images out and list them, or end with an error at the first.",
)
@click.option(
    "--max-bad",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of unreadable images above which something systematic is wrong, and the run stops.",
)
@click.option("--class-names", type=_PATH, help="TSV with a readable name for each class.")
@click.option("--workers", type=click.IntRange(1), help="Threads that decode.  [default: every core]")
@_json
def prepare(
    source: Path,
    out: Path,
    kind: str | None,
    val_fraction: float | None,
    val_list: Path | None,
    codec: Literal["raw", "jpeg"],
    quality: int,
    size: int,
    seed: int,
    on_bad_image: Literal["skip", "stop"],
    max_bad: float,
    class_names: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Bring images to 256x256 and measure their mean and colours, once (paper, section 2).

    SOURCE holds train/<class>/… and val/<class>/…, or <class>/… together with --val-fraction: a folder, or a zip or
    tar archive, which is not unpacked. Also read are ImageNet's and CIFAR's own archives, tables of paths and labels
    (CSV, TSV), WebDataset, Parquet and .npz: see docs/data.md. The shorter side becomes 256 pixels, the centre is kept.
    Interrupted, the same command continues.
    """
    import dataclasses
    import json

    from alexnet.data.prepare import prepare as prepare_store
    from alexnet.terminal import Terminal

    terminal = Terminal()
    with terminal.progress("preparing", "images") as meter:
        report = prepare_store(
            source,
            out,
            kind=kind,
            size=size,
            codec=codec,
            quality=quality,
            val_fraction=val_fraction,
            val_list=val_list,
            seed=seed,
            on_bad_image=on_bad_image,
            max_bad=max_bad,
            workers=workers,
            class_names_file=class_names,
            progress=lambda done, total, skipped: meter(done, total, f"{skipped} left out" if skipped else ""),
        )
    if as_json:
        terminal.print_json(json.dumps(dataclasses.asdict(report), default=str))
        return
    _show_preparation(terminal, report, out)


@cli.command()
@click.argument("store", type=_PATH)
@click.option("--recipe", default="paper", show_default=True, help="A named recipe, or a recipe.yaml.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="GROUP.FIELD=VALUE",
    help="Change one field of the recipe; repeatable. `alexnet info RECIPE` lists them.",
)
@click.option("--out", required=True, type=_PATH, help="Run folder to create, or to continue.")
@click.option("--seed", default=0, show_default=True, help="Fixes weights, order, crops, colour noise and dropout.")
@click.option(
    "--checkpoint-minutes",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="At most this much work is lost to a crash.",
)
@_device
@_precision
@_threads
def train(
    store: Path,
    recipe: str,
    assignments: tuple[str, ...],
    out: Path,
    seed: int,
    checkpoint_minutes: float,
    device: str,
    precision: str,
    threads: int | None,
) -> None:
    """Train a network on STORE (paper, sections 3 to 5). Continues by itself if --out is an unfinished run.

    \b
    paper       as printed: batch 128, rate 0.01 divided by ten at plateaus; for hundreds of thousands of images
    small-data  the same network with a gentler start, for a few thousand images
    source-2012 what was run for the paper, with its recorded schedule
    others      demo, caffe, cifar-80sec, cifar-19pct, cifar-18pct, cifar-13pct, cifar-11pct
    """
    from alexnet.data.store import open_store
    from alexnet.recipes import find_recipe
    from alexnet.terminal import Terminal
    from alexnet.workflow import train_and_report

    terminal = Terminal()
    train_and_report(
        terminal,
        open_store(store),
        find_recipe(recipe, assignments),
        out,
        seed=seed,
        checkpoint_minutes=checkpoint_minutes,
        device=device,
        precision=precision,
        threads=threads,
    )
    terminal.say(f"Trained: {out}. Test it with: alexnet evaluate {out} {store} --views 10")


@cli.command()
@click.argument("model", type=_PATH)
@click.argument("store", type=_PATH)
@click.option(
    "--views",
    default="10",
    show_default=True,
    type=click.Choice(["1", "9", "10"]),
    help="1: centre; 9: three by three places; 10: corners and centre and their mirror images.",
)
@click.option("--split", default="val", show_default=True, help="Split of the store to test on.")
@click.option("--predictions", type=_PATH, help="CSV to write: each image with its label and five best classes.")
@_device
@_precision
@_threads
@_json
def evaluate(
    model: Path,
    store: Path,
    views: str,
    split: str,
    predictions: Path | None,
    device: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure the top-1 and top-5 error of MODEL on STORE (paper, section 6).

    MODEL is a run folder or a model file. Every image is used once; intervals are 95 % (Wilson).
    """
    import json

    from alexnet.data.store import open_store
    from alexnet.evaluation.classifier import load
    from alexnet.evaluation.evaluate import write_predictions
    from alexnet.system import set_threads, tune_allocator
    from alexnet.terminal import Terminal

    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    opened = open_store(store)
    classifier = load(model, device=device, precision=precision)
    with terminal.progress("evaluating", "images") as meter:
        result = classifier.evaluate(opened, split=split, views=int(views), tick=meter)
    if predictions:
        write_predictions(predictions, result, opened[split].paths)
        terminal.say(f"Predictions: {predictions}")
    if as_json:
        terminal.print_json(json.dumps({"model": str(model), "store": str(store), "split": split, **result.to_json()}))
        return
    _show_evaluation(terminal, result)


@cli.command()
@click.argument("model", type=_PATH)
@click.argument("images", nargs=-1, required=True, type=_PATH)
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes to list.")
@click.option(
    "--views",
    default="10",
    show_default=True,
    type=click.Choice(["1", "9", "10"]),
    help="1: centre; 9: three by three places; 10: corners and centre and their mirror images.",
)
@_device
@_precision
@_threads
@_json
def predict(
    model: Path,
    images: tuple[Path, ...],
    top: int,
    views: str,
    device: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Name what is in IMAGES, with probabilities.

    IMAGES are files or folders of any size and mode. One that cannot be read is named and left out (exit code 1).
    """
    import json

    from alexnet.errors import ImageError
    from alexnet.evaluation.classifier import load
    from alexnet.system import set_threads, tune_allocator
    from alexnet.terminal import Terminal, percent

    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    classifier = load(model, device=device, precision=precision)
    paths = _image_files(images)
    predictions: list[dict[str, Any]] = []
    left_out: list[str] = []
    with terminal.progress("predicting", "images") as meter:
        for number, outcome in enumerate(classifier.predict_each(paths, views=int(views))):
            if isinstance(outcome, ImageError):
                left_out.append(str(outcome))
            elif as_json:
                best = [{"name": name, "probability": probability} for name, probability in outcome.top(top)]
                predictions.append({"path": outcome.source, "top": best})
            else:
                terminal.print(outcome.source)
                for name, probability in outcome.top(top):
                    terminal.print(f"  {percent(probability):>9}  {'█' * round(20 * probability):<20}  {name}")
            meter(number + 1, len(paths))
    if as_json:
        document = {"model": str(model), "views": int(views), "images": predictions, "left_out": left_out}
        terminal.print_json(json.dumps(document))
    for reason in left_out:
        terminal.show_error("Left out", reason)
    if left_out:
        sys.exit(1)


@cli.command()
@click.argument("model", type=_PATH)
@click.argument("images", nargs=-1, required=True, type=_PATH)
@click.option(
    "--layers",
    metavar="NAME,NAME,…",
    help="Activations to write: conv1, conv1.relu, conv5.pool:a, …  [default: the last hidden layer, rectified]",
)
@click.option("--out", required=True, type=_PATH, help="File to create: .npz, .h5 or .parquet.")
@click.option(
    "--batch-size", default=16, show_default=True, type=click.IntRange(1, 4096), help="Images computed together."
)
@_device
@_precision
@_threads
@_json
def features(
    model: Path,
    images: tuple[Path, ...],
    layers: str | None,
    out: Path,
    batch_size: int,
    device: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write what layers of MODEL make of IMAGES into a file: one row per image, its path beside it.

    IMAGES are files or folders; the centre view of each is used. docs/dialects.md has a picture of the layers' names; a
    wrong one lists them all. The file also holds where it comes from: weights, dialect, preprocessing.
    """
    import json

    from alexnet.evaluation.classifier import load
    from alexnet.exchange.features import write_features
    from alexnet.system import set_threads, tune_allocator
    from alexnet.terminal import Terminal

    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    classifier = load(model, device=device, precision=precision)
    names = layers.split(",") if layers else [classifier.network.features_name()]
    with terminal.progress("computing", "images") as meter:
        report = write_features(
            classifier, _image_files(images), [name.strip() for name in names], out, batch_size=batch_size, tick=meter
        )
    if as_json:
        terminal.print_json(json.dumps(report._asdict(), default=str))
    else:
        rows = [[name, " x ".join(map(str, (report.rows, *shape)))] for name, shape in report.shapes.items()]
        terminal.table(["layer", "shape"], rows, title=str(out))
    for reason in report.left_out:
        terminal.show_error("Left out", reason)
    if report.left_out:
        sys.exit(1)


@cli.command()
@click.argument("model", type=_PATH)
@click.option(
    "--to",
    "to",
    required=True,
    type=click.Choice(["alexnet", "onnx", "torchvision", "program"]),
    help="alexnet: a model file; onnx; torchvision: a state dict for its alexnet; program: for torch.export.load.",
)
@click.option(
    "--out", required=True, type=_PATH, help="File to create: .safetensors, .onnx, .pth or .safetensors, .pt2."
)
@click.option("--plain-norm", is_flag=True, help="ONNX: response normalisation without the operator LRN.")
@click.option("--ten-views", is_flag=True, help="ONNX: from stored images (uint8) to ten-view probabilities.")
@click.option("--dialect", help="Which network foreign weights are of, where their shapes leave it open.")
@click.option(
    "--mean", metavar="FILE|R,G,B", help="What the inputs of foreign weights lost.  [default: the usual of their kind]"
)
@click.option("--class-names", type=_PATH, help="Names of the classes of foreign weights: a text file, one per line.")
@_json
def export(
    model: Path,
    to: Literal["alexnet", "onnx", "torchvision", "program"],
    out: Path,
    plain_norm: bool,
    ten_views: bool,
    dialect: str | None,
    mean: str | None,
    class_names: Path | None,
    as_json: bool,
) -> None:
    """Bring MODEL into another format, or the weights of another program into this one's (--to alexnet).

    MODEL is a run folder or a model file of alexnet; or torchvision's alexnet (.pth, .safetensors), or a .caffemodel of
    bvlc_alexnet or CaffeNet. What is written has been compared with the model; if they disagree, nothing is.

    \b
    alexnet export RUN --to onnx --out model.onnx
    alexnet export alexnet-owt.pth --to alexnet --out model.safetensors
    alexnet export bvlc_alexnet.caffemodel --mean imagenet_mean.binaryproto --to alexnet --out model.safetensors
    """
    import json

    from alexnet.exchange.exporting import export_model
    from alexnet.exchange.importing import open_model
    from alexnet.terminal import Terminal

    terminal = Terminal()
    opened = open_model(model, dialect=dialect, mean=mean, class_names=class_names)
    done = export_model(opened, to, out, plain_normalization=plain_norm, ten_views=ten_views)
    if as_json:
        values = {**done._asdict(), "dialect": opened.network.spec.dialect}
        terminal.print_json(json.dumps(values, default=str))
        return
    agreement = (
        "the weights themselves"
        if done.largest_difference is None
        else f"agrees with the model to {done.largest_difference:.1g} of its largest output"
    )
    terminal.say(f"{out}: dialect {opened.network.spec.dialect}, {done.bytes:,} bytes, {agreement}.")
    for note in done.notes:
        terminal.say(note)


@cli.command()
@click.argument("what", nargs=-1)
@click.option("--compare", "compare", is_flag=True, help="Print where several dialects differ.")
@click.option("--system", "show_system", is_flag=True, help="What this machine is, and what is chosen on it.")
@click.option("--verify", is_flag=True, help="Read a whole store and compare its checksums.")
@click.option("--images", "list_images", is_flag=True, help="List a store's images: split, class, name, path.")
@_json
def info(
    what: tuple[str, ...], compare: bool, show_system: bool, verify: bool, list_images: bool, as_json: bool
) -> None:
    """Tell in one screen what WHAT is: a store, a run, a model file, a dialect or a recipe.

    \b
    alexnet info source-2012+no-norm                   a dialect, with modifiers: its layers, parameters and memory
    alexnet info --compare paper source-2012 caffe     where dialects differ
    """
    import json

    from alexnet import description
    from alexnet.terminal import Terminal

    terminal = Terminal()
    if not what and not show_system:
        raise click.UsageError("Name a store, run, model file, dialect or recipe, or give --system.")
    if len(what) > 1 and not compare:
        raise click.UsageError("Name one thing, or give --compare with several dialects.")
    if list_images and not what:
        raise click.UsageError("Name the store whose images are to be listed.")
    if list_images:
        for row in description.list_images(what[0]):
            terminal.print_json(json.dumps(row) if as_json else "\t".join(row.values()))
        return
    if show_system:
        report = description.describe_system()
    elif compare:
        report = description.compare(what)
    else:
        report = description.describe(what[0], verify=verify)
    if as_json:
        terminal.print_json(json.dumps(report.values, default=str))
        return
    for title, columns, rows in report.tables:
        terminal.table(columns, rows, title=title)
        terminal.print("")


@cli.command()
@click.argument("subjects", nargs=-1, metavar="[WHAT]...")
@click.option("--what", "more", multiple=True, help="kernels, step, loader, evaluate or prepare; repeatable.")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(1), help="Images per step.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Turns that each side takes.")
@click.option("--images", type=_PATH, help="Photographs for loader and prepare.  [default: drawn scenes]")
@click.option("--record", type=_PATH, help="Folder to keep the raw samples in.")
@_threads
@_json
def bench(
    subjects: tuple[str, ...],
    more: tuple[str, ...],
    batch: int,
    rounds: int,
    images: Path | None,
    record: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure this machine: ours beside stock PyTorch, in turns, with the ceiling of the hardware.

    \b
    WHAT is any of
      kernels   response normalisation, pooling and the update, against PyTorch's own
      step      a training step, against the stock network and torchvision's
      loader    batches from a store, against a folder of images; an epoch with data, against the bare step
      evaluate  one and ten views, against separate passes
      prepare   decoding to 256 x 256, against plain Pillow
    All of them, if none is named.
    """
    import json

    from alexnet.benchmark.suite import WHAT, run_benchmark, write_record
    from alexnet.terminal import Terminal

    wanted = (*subjects, *more) or WHAT
    for what in wanted:
        if what not in WHAT:
            raise click.UsageError(f"Unknown benchmark {what!r}. Known: {', '.join(WHAT)}.")
    terminal = Terminal()
    for what in wanted:
        with terminal.progress(f"measuring {what}", "rounds") as meter:
            rows = run_benchmark(what, batch=batch, rounds=rounds, images=images, threads=threads, tick=meter)
        if as_json:
            for row in rows:
                terminal.print_json(json.dumps(row.to_json()))
        else:
            _show_benchmark(terminal, what, rows)
        if record:
            command = f"alexnet bench {what} --batch {batch} --rounds {rounds}"
            terminal.say(f"Record: {write_record(record, what, rows, command)}")


@cli.command()
@click.option(
    "--out", default=Path("demo"), show_default=True, type=_PATH, help="Folder for pictures, store, run and report."
)
@click.option("--seed", default=0, show_default=True, help="Fixes pictures, weights, order and views.")
def demo(out: Path, seed: int) -> None:
    """Do the whole job on pictures that the program draws itself, and write a report.

    About five minutes on two cores. Interrupted, the same command continues.
    """
    from alexnet.demo import run_demo
    from alexnet.terminal import Terminal

    run_demo(Terminal(), out, seed=seed)


def _image_files(given: tuple[Path, ...]) -> list[Path]:
    """Files as they are; of folders, every file that is not hidden."""
    from alexnet.errors import SourceError

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            if not inside:
                raise SourceError(f"{path}: is an empty folder. Give image files, or a folder of them.")
            files += inside
        else:
            files.append(path)
    return files


def _show_preparation(terminal: Any, report: Any, out: Path) -> None:
    from alexnet.data.decode import show_name
    from alexnet.terminal import duration

    terminal.table(
        ["split", "images", "classes"],
        [[split, f"{sum(counts.values()):,}", str(len(counts))] for split, counts in report.per_class.items()],
    )
    for note in report.notes:
        terminal.say(note)
    if report.ignored:
        ignored = ", ".join(f"{count:,} {reason}" for reason, count in report.ignored.items())
        terminal.say(f"Passed over, since they are not images: {ignored}.")
    if report.skipped:
        terminal.print("")
        rows = [[show_name(path), reason] for path, reason in report.skipped[:10]]
        terminal.table(["left out", "reason"], rows)
        more = f"… and {len(report.skipped) - 10:,} more. " if len(report.skipped) > 10 else ""
        terminal.print(f"{more}See them: {out / 'report.html'}; as data: {out / 'report.json'}")
    terminal.say(
        f"{out}: verified, {duration(report.seconds)}, {report.images_per_second:,.0f} images/s. "
        f"Train with: alexnet train {out} --recipe small-data --out RUN"
    )


def _show_evaluation(terminal: Any, result: Any) -> None:
    from alexnet.evaluation.metrics import wilson_interval
    from alexnet.terminal import percent

    def interval(bounds: tuple[float, float]) -> str:
        return f"{100 * bounds[0]:.2f} – {100 * bounds[1]:.2f} %"

    views = {1: "centre view", 9: "nine views", 10: "ten views"}[result.num_views]
    terminal.table(
        ["", "error", "95 % interval"],
        [
            ["top-1", percent(result.top1_error), interval(result.top1_interval)],
            [f"top-{result.k}", percent(result.topk_error), interval(result.topk_interval)],
        ],
        title=f"{result.images:,} images, {views}, cross-entropy {result.cross_entropy:.4f}",
    )
    terminal.print("")
    rows = sorted(
        zip(result.class_names, result.class_images, result.class_errors, strict=True),
        key=lambda row: -row[2] / max(1, row[1]),
    )
    shown = rows if len(rows) <= 20 else rows[:20]
    terminal.table(
        ["class" if len(rows) <= 20 else f"worst 20 of {len(rows)} classes", "images", "top-1 error", "95 % interval"],
        [
            [name, f"{count:,}", percent(errors / count) if count else "–", interval(wilson_interval(errors, count))]
            for name, count, errors in shown
        ],
    )


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


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 misuse, 130 interrupted."""
    from click.exceptions import Abort

    signal.signal(signal.SIGTERM, lambda number, frame: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        cli(standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except AlexNetError as problem:
        from alexnet.terminal import Terminal

        Terminal().show_error(type(problem).__name__, str(problem))
        sys.exit(problem.exit_code)
    except (KeyboardInterrupt, Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
