"""Which fields make a recipe better on a few thousand images, chosen on images that nothing is reported on.

Takes Imagenette (or any folder of train/<class> and val/<class>). A fifth of each training class is set aside, and each
choice is trained on the rest and tested, in one view, on that fifth. With --confirm, the choices named by --only are
trained on all training images and tested on the validation images, which have chosen nothing: look once. Choices take
turns, a seed of each; what is finished is not trained again, and an interrupted training continues.

    .venv/bin/python benchmarks/choose_recipe.py IMAGENETTE OUT
    .venv/bin/python benchmarks/choose_recipe.py IMAGENETTE OUT --confirm --only modern BEST --seeds 3
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from alexnet import system

NOT_AVERAGED = "optimization.average_epochs=0"
LATER = ("optimization.dropout_from_epoch=20", NOT_AVERAGED)
CHOICES: dict[str, tuple[str, ...]] = {
    "small-data": (),
    "modern": (),
    "small-batches": (
        "batches.size=32",
        "optimization.learning_rate=0.01",
        "batches.scaled_crops=null",
        "batches.color_noise=0.1",
        "optimization.dropout_from_epoch=0",
        NOT_AVERAGED,
    ),
    "dropout-from-20": LATER,
    "dropout-from-20-decay": (*LATER, "optimization.weight_decay=0.003"),
    "dropout-from-20-cutmix": (LATER[0], "batches.cutmix=1", "batches.mix_epochs=28"),
    "dropout-throughout": ("optimization.dropout_from_epoch=0",),
    "wide-crops": ("batches.scaled_crops=[0.2,1]",),
    "rate-of-0.03": ("optimization.learning_rate=0.03",),
    "not-averaged": (NOT_AVERAGED,),
    "erasing": ("batches.erasing=0.25",),
    "mixup": ("batches.mixup=0.2", "batches.mix_epochs=34"),
    "smoothing": ("optimization.label_smoothing=0.1",),
}
"""Name -> changes of recipe modern; small-data stands for itself, and small-batches is what modern was until 0.2."""


def run(*words: object) -> str:
    """Call alexnet and return what it prints."""
    command = [sys.executable, "-m", "alexnet", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(store: Path, out: Path, name: str, seed: int, more: list[str]) -> dict[str, Any]:
    """Train a choice unless it is done; return its error and the minutes of its training and validation."""
    recipe = name if name == "small-data" else "modern"
    sets = [word for field in (*more, *CHOICES[name]) for word in ("--set", field)]
    if not (out / "model.safetensors").exists():
        run("train", store, "--recipe", recipe, *sets, "--seed", seed, "--out", out, "--no-report")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "error": rows[-1]["val_top1_error"],
        "training error": rows[-1]["train_top1_error"],
        "minutes": sum(row["seconds_with_validation"] for row in rows) / 60,
    }


def main() -> None:
    """Train, and print a table, best choice first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--set", action="append", default=[], help="field of every choice, such as network.dialect")
    options = parser.parse_args()
    what = f"{'confirm' if options.confirm else 'choose'}-{options.size}"
    store = options.out / f"store-{what}"
    if not store.exists():
        source = options.source if options.confirm else options.source / "train"
        fraction = () if options.confirm else ("--val-fraction", 0.2)
        run("prepare", source, *fraction, "--size", options.size, "--out", store)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    for seed in range(options.seeds):
        for name, rows in found.items():
            rows.append(train(store, options.out / f"run-{what}-{name}-{seed}", name, seed, options.set))
            print(f"{name}, seed {seed}: {rows[-1]['error']:.2%}", flush=True)
    print("| choice | error (spread) | of each seed | training error | minutes |\n|---|---|---|---|---|")
    for name, rows in sorted(found.items(), key=lambda item: statistics.mean(row["error"] for row in item[1])):
        errors, seen, minutes = ([row[key] for row in rows] for key in ("error", "training error", "minutes"))
        spread = f" ({100 * statistics.stdev(errors):.2f})" if len(errors) > 1 else ""
        each = ", ".join(f"{error:.1%}" for error in errors)
        mean = f"{statistics.mean(errors):.2%}{spread}"
        print(f"| {name} | {mean} | {each} | {statistics.mean(seen):.1%} | {statistics.mean(minutes):.1f} |")
    document = {"what": what, "set": options.set, "system": system.describe_system(), "choices": found}
    (options.out / f"{what}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
