"""The commands whose writing is made to fail, on files that are as few and small as they can be."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.network.rows import Convolution, Dense, Dropout, Normalize, Pool, Rectify, Spec

SMALL = (
    "--recipe", "paper", "--set", "network.dialect=tiny", "--set", "network.initialization=he",
    "--set", "batches.size=5", "--set", "batches.divisor=60", "--set", "optimization.schedule=cosine",
)  # fmt: skip
CIFAR = (
    "--recipe", "cifar-80sec", "--set", "optimization.drop_epochs=[]", "--set", "optimization.schedule=constant",
    "--set", "network.initialization=he", "--set", "batches.divisor=60", "--set", "batches.size=6", "--epochs", "1",
)  # fmt: skip


def tiny(num_classes: int) -> Spec:
    """A network with one of every part, for images of 24 px."""
    relu = Rectify()
    return Spec(
        dialect="tiny",
        input_px=24,
        layers=(
            Convolution(name="conv1", kernels=4, window_px=5, stride_px=2, then=(relu, Normalize(), Pool())),
            Convolution(name="conv2", kernels=4, window_px=3, sees="own tower", then=(relu, Pool()), bias=1),
            Dense(name="fc6", units=8, then=(relu, Dropout())),
            Dense(name="fc8", units=num_classes),
        ),
    )


@dataclass(frozen=True)
class Stage:
    """One command."""

    name: str
    work: tuple[str, ...] | Callable[[], None]
    """Words behind `alexnet`; or a function, for what is no command."""
    needs: tuple[str, ...]
    """Files and folders of the base that it finds."""
    before: tuple[str, ...] = ()
    """Words of a command that leaves what this one replaces."""
    again: tuple[str, ...] = ()
    """Words of the command that is given after a fault, where that is another one."""

    renews: bool = False
    """Whether the command does its work anew when it is given again after it has ended well."""

    def do(self) -> None:
        """Do it here and now, and leave as the command line does."""
        if callable(self.work):
            self.work()
        else:
            call(self.work)

    def do_again(self) -> None:
        """Do what is done after a fault."""
        if self.again:
            call(self.again)
        else:
            self.do()


def call(words: tuple[str, ...]) -> None:
    from alexnet.cli import main

    sys.argv = ["alexnet", *words]
    main()


def correct() -> None:
    """Three corrections on the page of `alexnet serve`: what its server calls for each."""
    from alexnet.serving.corrections import Corrections

    corrections = Corrections(Path("corrections.csv"))
    for number in range(3):
        pixels = np.full((8, 8, 3), 60 * number, np.uint8)
        try:
            corrections.add(pixels, f"class{number}", predicted="ant", probability=0.5, name=f"{number}.jpg")
        except OSError as problem:
            sys.exit(f"Failed: {problem.filename}: {problem.strerror}.")


TRAIN = ("train", "STORE", *SMALL, "--epochs", "2", "--checkpoint-minutes", "1e-9")

BASE = (
    ("prepare", "PHOTOS", "--out", "STORE", "--size", "32", "--val-fraction", "0.34"),
    (*TRAIN, "--out", "RUN", "--no-report"),
    (*TRAIN, "--out", "OTHER", "--no-report", "--seed", "1"),
    ("search", "index", "RUN", "PHOTOS/ant", "--out", "INDEX"),
)  # fmt: skip
"""What makes the base, in turn."""

STAGES = (
    Stage("prepare", ("prepare", "PHOTOS", "--out", "MADE", "--size", "32", "--val-fraction", "0.34"), ("PHOTOS",)),
    Stage("prepare --codec jpeg", ("prepare", "PHOTOS", "--out", "MADE", "--size", "32", "--val-fraction", "0.34",
                                   "--codec", "jpeg"), ("PHOTOS",)),
    Stage("train", (*TRAIN, "--out", "MADE", "--no-report"), ("STORE",)),
    Stage("train, keeping the best", (*TRAIN, "--out", "MADE", "--no-report", "--set", "stop.keep=best"), ("STORE",)),
    Stage("train --folds", (*TRAIN, "--out", "MADE", "--no-report", "--folds", "2"), ("STORE",)),
    Stage("evaluate", ("evaluate", "RUN", "OTHER", "STORE", "--average", "--save-ensemble", "two.json", "--predictions",
                       "predictions.csv", "--html", "page.html"), ("RUN", "OTHER", "STORE"),
          before=("evaluate", "OTHER", "RUN", "STORE", "--average", "--save-ensemble", "two.json", "--predictions",
                  "predictions.csv", "--html", "page.html")),
    Stage("evaluate --figures", ("evaluate", "RUN", "STORE", "--html", "page.html", "--figures", "MADE", "--predictions",
                                 "predictions.parquet"), ("RUN", "STORE")),
    Stage("features .npz", ("features", "RUN", "PHOTOS/ant", "--layers", "conv1,fc6", "--out", "made.npz"),
          ("RUN", "PHOTOS")),
    Stage("features .h5", ("features", "RUN", "PHOTOS/ant", "--layers", "conv1,fc6", "--out", "made.h5"),
          ("RUN", "PHOTOS")),
    Stage("features .parquet", ("features", "RUN", "PHOTOS/ant", "--layers", "conv1,fc6", "--out", "made.parquet"),
          ("RUN", "PHOTOS")),
    Stage("features --to projector", ("features", "RUN", "PHOTOS/ant", "--layers", "fc6", "--to", "projector", "--out",
                                      "MADE"), ("RUN", "PHOTOS")),
    Stage("predict --csv", ("predict", "RUN", "PHOTOS/ant", "--csv", "made.csv"), ("RUN", "PHOTOS")),
    Stage("draw filters", ("draw", "filters", "RUN", "--out", "made.png"), ("RUN",),
          again=("draw", "filters", "RUN", "--out", "made.png", "--overwrite")),
    Stage("search index", ("search", "index", "RUN", "PHOTOS", "--out", "MADE", "--batch-size", "4"), ("RUN", "PHOTOS")),
    Stage("search add", ("search", "add", "INDEX", "PHOTOS"), ("RUN", "PHOTOS", "INDEX")),
    Stage("search codes", ("search", "codes", "INDEX", "--bits", "64", "--method", "random"), ("RUN", "PHOTOS", "INDEX"), renews=True),
    Stage("search codes, again", ("search", "codes", "INDEX", "--bits", "64", "--method", "random", "--seed", "1"),
          ("RUN", "PHOTOS", "INDEX"), before=("search", "codes", "INDEX", "--bits", "64", "--method", "random"), renews=True),
    Stage("search remove", ("search", "remove", "INDEX", "--id", "1"), ("RUN", "PHOTOS", "INDEX")),
    Stage("export to alexnet", ("export", "RUN", "--to", "alexnet", "--out", "made.safetensors"), ("RUN",)),
    Stage("export to onnx", ("export", "RUN", "--to", "onnx", "--out", "made.onnx"), ("RUN",)),
    Stage("export to folder", ("export", "RUN", "--to", "folder", "--out", "MADE"), ("RUN",)),
    Stage("calibrate", ("calibrate", "RUN", "STORE"), ("RUN", "STORE")),
    Stage("report", ("report", "RUN"), ("RUN", "STORE")),
    Stage("reproduce", ("reproduce", "views", "--store", "STORE", "--out", "MADE", *CIFAR), ("STORE",)),
    Stage("corrections of serve", correct, ()),
)  # fmt: skip


def make_pictures(folder: Path) -> None:
    """Six pictures of each of two classes."""
    noise = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.clip(noise.normal(70 + 90 * label, 30, (34, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def fill(folder: Path, base: Path, stage: Stage, old: Path | None = None) -> None:
    """Make the folder in which a stage runs, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    if old is not None:
        shutil.copytree(old, folder)
        return
    folder.mkdir()
    for name in stage.needs:
        shutil.copytree(base / name, folder / name)
