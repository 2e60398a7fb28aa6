"""alexnet train."""

from pathlib import Path
from typing import Any

import click

from alexnet.text.commands import command
from alexnet.verbs.options import (
    LARGEST,
    PATH,
    SEED,
    TARGET,
    Number,
    Place,
    Whole,
    cluster_option,
    compute_options,
    devices_option,
    local_batch_option,
    mesh_option,
    read_devices,
    reject_option,
    timeout_option,
)
from alexnet.verbs.temporal import train_on_clips


@click.command()
@click.argument("store", type=PATH)
@click.option("--recipe", help="A named recipe, or a recipe.yaml.  [default: modern; with --from, fine-tune]")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="GROUP.FIELD=VALUE",
    help="Change one field of the recipe; repeatable. `alexnet info RECIPE --all` explains them.",
)
@click.option(
    "--epochs",
    type=Whole(1, LARGEST),
    help="Train for so many epochs; what happens at fixed times moves in proportion.  [default: the recipe's]",
)
@click.option(
    "--more-epochs",
    type=Whole(1, LARGEST),
    help="STORE is a finished run: go on from it into --out, the rate falling from a tenth of its first to 0.",
)
@click.option(
    "--folds",
    type=Whole(2, 1000),
    metavar="K",
    help="Train K networks, each without a K-th of the training images, and test it on these.",
)
@click.option(
    "--fold",
    type=Whole(1),
    metavar="N",
    help="Train only this one of --folds here, while others are trained on other devices; without it all are tested.",
)
@click.option("--from", "start", type=PATH, metavar="MODEL", help="Start from the layers of a model that fit.")
@click.option("--freeze", metavar="LAYERS", help="Layers that stay as they are: conv1-conv5, or conv1,conv2.")
@click.option("--add-sixth-convolution", is_flag=True, help="As for the pre-trained networks of section 6.")
@click.option(
    "--temporal",
    type=click.Choice(["pooling", "convolution"]),
    help="STORE holds clips (prepare --every): learn over their frames, on the features of --from, which stays as it "
    "is. --out is the file to write.",
)
@click.option("--out", required=True, type=TARGET, help="Run folder to create, or to continue; or an address.")
@click.option("--seed", default=0, type=SEED, help="Fixes weights, order, crops, colour noise and dropout.")
@click.option(
    "--checkpoint-minutes",
    default=5.0,
    type=Number(0, min_open=True),
    help="At most this much work is lost to a crash.",
)
@click.option(
    "--no-report", is_flag=True, help="Do not test the result and report on it; alexnet report does it later."
)
@click.option(
    "--log",
    multiple=True,
    type=click.Choice(["tensorboard", "mlflow", "wandb-offline"]),
    help="An experiment tracker that gets every epoch, the recipe and the figures; repeatable.  [default: tensorboard, "
    "where it is installed]",
)
@reject_option
@compute_options
@local_batch_option
@devices_option
@click.option("--towers", type=Whole(1), help="The same as --mesh tower=…; with --devices.")
@mesh_option
@timeout_option
@cluster_option
def train(
    store: Path,
    recipe: str | None,
    assignments: tuple[str, ...],
    epochs: int | None,
    more_epochs: int | None,
    folds: int | None,
    fold: int | None,
    start: Path | None,
    freeze: str | None,
    add_sixth_convolution: bool,
    temporal: str | None,
    out: Place,
    no_report: bool,
    reject: float | None,
    device: str,
    devices: str | None,
    towers: int | None,
    mesh: str | None,
    timeout_seconds: float,
    cluster: str | None,
    **options: Any,
) -> None:
    """Train a network on STORE (paper, sections 3 to 5), test it and report on it.

    Interrupted anywhere, the same command continues.

    \b
    alexnet train STORE --out RUN
    alexnet train STORE --recipe paper --epochs 40 --out RUN
    alexnet train RUN --more-epochs 10 --out LONGER      from a finished run on
    alexnet train STORE --folds 4 --out FOLDS            cross-validation
    alexnet train CLIPSTORE --temporal convolution --from RUN --out clips.safetensors

    \b
    modern      the paper's network trained as one would today; not the paper
    paper       as printed: batch 128, rate 0.01 divided by ten at plateaus; for hundreds of thousands of images
    small-data  the paper's training with a gentler start, for a few thousand images
    fine-tune   from a trained model (--from) to other classes
    source-2012 what was run for the paper, with its recorded schedule
    others      demo, caffe, cifar-80sec, cifar-19pct, cifar-18pct, cifar-13pct, cifar-11pct
    """
    from alexnet.console.terminal import Terminal
    from alexnet.distribution.session import join_world, start_if_asked
    from alexnet.files.addresses import on_disk
    from alexnet.functions import training
    from alexnet.runs.cross_validation import show_folds

    if cluster and not folds:
        raise click.UsageError(
            "--cluster trains the networks of --folds K side by side. One network is divided by --devices, or torchrun."
        )
    if temporal:
        compute = {"device": device, "precision": options["precision"], "threads": options["threads"]}
        train_on_clips(store, temporal, start, on_disk(out, "train --temporal"), seed=options["seed"], **compute)
        return
    terminal = Terminal()
    if more_epochs and (recipe or start or epochs or freeze or add_sixth_convolution or folds):
        raise click.UsageError(
            "--more-epochs goes on with the recipe and the network of the run; leave out --recipe, --from, --epochs, "
            "--freeze, --folds and --add-sixth-convolution."
        )
    if reject and folds:
        raise click.UsageError(
            "--reject keeps thresholds in one model, and --folds trains several to test labels; leave out --reject."
        )
    if fold and not folds:
        raise click.UsageError("--fold is one of --folds K; give both.")
    if towers and mesh:
        raise click.UsageError("Give --towers or --mesh, not both.")
    mesh = f"tower={towers}" if towers else mesh
    places = read_devices(devices, cluster=cluster)
    if start_if_asked(places, mesh):
        return
    with join_world(mesh, places, device, timeout_seconds) as (world, own_device):
        options |= {"assignments": assignments, "device": own_device, "world": world, "show": True}
        fresh: dict[str, Any] = {"recipe": recipe, "epochs": epochs, "start": start, "freeze": freeze}
        fresh |= {"add_sixth_convolution": add_sixth_convolution}
        if more_epochs:
            training.train_longer(store, out, more_epochs, report=not no_report, reject=reject, **options)
        elif folds is None:
            training.train(store, out, report=not no_report, reject=reject, **fresh, **options)
        elif found := training.cross_validate(store, out, folds=folds, fold=fold, cluster=cluster, **fresh, **options):
            show_folds(terminal, found)
            doubtful = command("evaluate", out, store, suspects="suspects.csv", html="suspects.html")
            terminal.say(f"Probabilities: {found.path}. Labels that are doubtful: {doubtful}")
    if folds is not None:
        return
    if world.is_main and no_report:
        terminal.say(f"Trained: {out}. Test it and write its report: {command('report', out)}")
    elif world.is_main:
        terminal.say(f"Trained: {out}. Use it: {command('predict', out, 'picture.jpg')}")
