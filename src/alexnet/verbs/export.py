"""alexnet export."""

from pathlib import Path
from typing import Any, Literal

import click

from alexnet.text.commands import command
from alexnet.text.wording import counted
from alexnet.verbs.options import NEW_PATH, PATH, json_option, typed_besides


@click.command()
@click.argument("model", type=PATH)
@click.option(
    "--to",
    "to",
    required=True,
    type=click.Choice(["alexnet", "onnx", "torchvision", "program", "folder", "webdataset"]),
    help="alexnet: a model file; onnx; torchvision: a state dict for its alexnet; program: for torch.export.load; "
    "folder: weights, ONNX and a card of the model, to give away; webdataset: of a store, shards of its pictures for "
    "other trainers.",
)
@click.option(
    "--out",
    required=True,
    type=NEW_PATH,
    help="File to create: .safetensors, .onnx, .pth or .safetensors, .pt2; or a folder.",
)
@click.option(
    "--plain-norm",
    is_flag=True,
    help="ONNX: response normalisation without the operator LRN, which some programs lack.",
)
@click.option("--ten-views", is_flag=True, help="ONNX: to the probabilities of ten views.")
@click.option("--dialect", help="Which network foreign weights are of, where their shapes leave it open.")
@click.option(
    "--mean", metavar="FILE|R,G,B", help="What the inputs of foreign weights lost.  [default: the usual of their kind]"
)
@click.option("--class-names", type=PATH, help="Names of the classes of foreign weights: a text file, one per line.")
@json_option
def export(
    model: Path,
    to: Literal["alexnet", "onnx", "torchvision", "program", "folder", "webdataset"],
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring MODEL into another format, or the weights of another program into this one's (--to alexnet).

    MODEL is a run folder, a model file or (to ONNX) an ensemble of alexnet; or torchvision's alexnet (.pth,
    .safetensors), or a .caffemodel of bvlc_alexnet or CaffeNet. What is written has been compared with the model; if
    they disagree, nothing is. To webdataset MODEL is a store.

    \b
    alexnet export RUN --to onnx --out model.onnx
    alexnet export RUN --to folder --out FOLDER
    alexnet export STORE --to webdataset --out SHARDS
    alexnet export alexnet-owt.pth --to alexnet --out model.safetensors
    alexnet export bvlc_alexnet.caffemodel --mean imagenet_mean.binaryproto --to alexnet --out model.safetensors
    """
    if to not in ("folder", "webdataset") and out.is_dir():
        raise click.BadParameter(f"{out} is a folder. Name a file.", param_hint="'--out'")
    from alexnet.console.terminal import Terminal
    from alexnet.evaluation.ensemble import is_ensemble
    from alexnet.functions import exporting

    terminal = Terminal()
    if to == "webdataset":
        if others := typed_besides({"model", "to", "out", "as_json"}):
            raise click.UsageError(
                f"{', '.join(others)}: of models, and --to webdataset writes the pictures of a store."
            )
        shards = exporting.export_store(model, out, show=True)
        if as_json:
            terminal.print_json(shards._asdict())
        else:
            what = f"{counted(shards.images, 'image')} in {counted(shards.shards, 'shard')}"
            terminal.print(f"{out}: {what}, {shards.bytes:,} bytes.")
        return
    done = exporting.export(model, to, out, show=True, **options)
    if as_json:
        terminal.print_json(done._asdict())
        return
    difference = done.largest_difference
    if is_ensemble(model):
        networks = counted(done.members, "network")
        what, whole = f"{networks}, from stored images to ten-view probabilities", "ensemble"
    else:
        what, whole = f"dialect {done.dialect}", "model"
    agreement = (
        f"agrees with the {whole} to {difference:.1g} of its largest output"
        if difference is not None
        else "the weights themselves"
    )
    terminal.say(f"{out}: {what}, {done.bytes:,} bytes, {agreement}.")
    for note in done.notes:
        terminal.say(note)
    if done.program is None:
        terminal.say(f"To use it: {command('predict', done.path, 'picture.jpg')}")
    else:  # on standard output, so that it can be kept
        terminal.say("To use it, save this as use.py, put a picture.jpg beside it, and run: python use.py")
        terminal.print(done.program.rstrip())
