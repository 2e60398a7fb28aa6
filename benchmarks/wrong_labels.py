"""How many wrong labels are found: 5 % of Imagenette's training labels are changed, and looked for.

Takes Imagenette (or any folder of train/<class> and val/<class>), gives a share of the training images another class,
drawn at random from the others, trains the folds of `alexnet train --folds`, and ranks the images by each rule. Of the
first images of a ranking, as many as were changed, precision and recall are one number. What is wrong in Imagenette
itself counts as a false alarm. What is finished is not trained again.

    .venv/bin/python benchmarks/wrong_labels.py IMAGENETTE OUT --seeds 3
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.evaluation.confident_learning import Doubts, doubt_labels, read_out_of_fold

RULES: dict[str, Callable[[Doubts], NDArray[np.bool_]]] = {
    "pruned by class (`--suspects`)": lambda doubts: doubts.is_suspect,
    "off the diagonal of the confident joint": lambda doubts: (
        (doubts.believed >= 0) & (doubts.believed != doubts.labels)
    ),
}


def change_labels(source: Path, out: Path, share: float, seed: int) -> dict[str, str]:
    """Link the images below out, a share of the training images under another class; return their true classes."""
    classes = sorted(each.name for each in (source / "train").iterdir() if each.is_dir())
    files = [file for name in classes for file in sorted((source / "train" / name).iterdir())]
    generator = random.Random(seed)
    changed = set(generator.sample(files, round(share * len(files))))
    true = {}
    for file in [*files, *(source / "val").glob("*/*")]:
        own = file.parent.name
        given = generator.choice([name for name in classes if name != own]) if file in changed else own
        place = out / file.parent.parent.name / given / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.link(file, place)
        if file in changed:
            true[str(place.relative_to(out))] = own
    return true


def run(*words: object) -> None:
    """Call alexnet."""
    subprocess.run([sys.executable, "-m", "alexnet", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Train, rank, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--dialect", default="cifar-18pct")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, help="Of each training.  [default: every core]")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        photos, store, folds = (options.out / f"{what}-{seed}" for what in ("photos", "store", "folds"))
        true = change_labels(options.source, photos, options.share, seed)
        if not store.exists():
            run("prepare", photos, "--out", store, "--size", options.size)
        more = ["--threads", options.threads] if options.threads else []
        more += ["--set", "batches.size=32", "--set", f"network.dialect={options.dialect}"]
        more += ["--epochs", options.epochs, "--folds", options.folds]
        run("train", store, "--recipe", "small-data", *more, "--seed", seed, "--out", folds)
        told = read_out_of_fold(folds)
        is_changed = np.array([path in true for path in told.paths])
        truth = np.array([told.class_names.index(true.get(path, path.split("/")[1])) for path in told.paths])
        doubts = doubt_labels(told.probabilities, told.labels)
        best = told.probabilities.argmax(1)
        facts = {
            "top-1 error on the labels given": (best != told.labels).mean(),
            "top-1 error on the true labels": (best != truth).mean(),
        }
        for name, rule in RULES.items():
            suspects = rule(doubts)
            first = np.lexsort((doubts.scores, ~suspects))[: is_changed.sum()]
            facts |= {
                f"{name}: suspects, of all images": suspects.mean(),
                f"{name}: precision of all suspects": is_changed[suspects].mean(),
                f"{name}: recall of all suspects": suspects[is_changed].mean(),
                f"{name}: precision and recall of the first {options.share:.0%}": is_changed[first].mean(),
            }
        facts["suggested class is the true one, where the label was changed"] = (doubts.suggested == truth)[
            is_changed
        ].mean()
        for name, value in facts.items():
            found.setdefault(name, []).append(float(value))
    print("| | " + f"mean of {options.seeds} seeds (standard deviation) |\n|---|---|")
    for name, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"| {name} | {100 * statistics.mean(values):.1f} % ({100 * spread:.1f}) |")
    chosen = {name: value for name, value in vars(options).items() if name not in ("source", "out")}
    (options.out / "wrong_labels.jsonl").write_text(json.dumps({**chosen, "samples": found}) + "\n")


if __name__ == "__main__":
    main()
