"""What balanced epochs and class weights do where classes are unequal: 400 down to 20 training images a class.

Takes Imagenette (or any folder of train/<class> and val/<class>), keeps the first images of each training class in
geometric steps, and trains each choice with several seeds. Validation images stay as they are. Classes are ordered
anew for each seed, so that no class is always the small one. What is finished is not trained again.

    .venv/bin/python benchmarks/unequal_classes.py IMAGENETTE OUT --seeds 3
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CHOICES = {
    "as they are": [],
    "balance=square-root": ["batches.balance=square-root"],
    "balance=classes": ["batches.balance=classes"],
    "class_weights=square-root": ["optimization.class_weights=square-root"],
    "class_weights=classes": ["optimization.class_weights=classes"],
}
MOST, LEAST = 400, 20


def choose_images(source: Path, out: Path, seed: int) -> list[str]:
    """Link the chosen training images and all validation images below out; return the classes, largest first."""
    classes = sorted(each.name for each in (source / "train").iterdir() if each.is_dir())
    random.Random(seed).shuffle(classes)
    for place, name in enumerate(classes):
        count = round(MOST * (LEAST / MOST) ** (place / (len(classes) - 1)))
        for split, most in (("train", count), ("val", None)):
            folder = out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted((source / split / name).iterdir())[:most]:
                if not (folder / file.name).exists():
                    os.link(file, folder / file.name)
    return classes


def run(*words: object) -> str:
    """Call alexnet and return what it prints."""
    command = [sys.executable, "-m", "alexnet", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Train, test, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--dialect", default="cifar-18pct")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CHOICES}
    for seed in range(options.seeds):
        photos, store = options.out / f"photos-{seed}", options.out / f"store-{seed}"
        order = choose_images(options.source, photos, seed)
        if not store.exists():
            run("prepare", photos, "--out", store, "--size", options.size)
        for name, assignments in CHOICES.items():
            out = options.out / f"run-{seed}-{name.replace('=', '-').replace(' ', '-')}"
            fields = [
                f"network.dialect={options.dialect}",
                "batches.size=32",
                f"optimization.total_epochs={options.epochs}",
                *assignments,
            ]
            if not (out / "model.safetensors").exists():
                sets = [word for field in fields for word in ("--set", field)]
                run("train", store, "--recipe", "small-data", *sets, "--seed", seed, "--out", out, "--no-report")
            tested = json.loads(run("evaluate", out, store, "--views", 1, "--json"))
            errors = {each["name"]: each["top1_error"] for each in tested["classes"]}
            found[name].append(
                {
                    "all": tested["top1_error"],
                    "largest three": statistics.mean(errors[each] for each in order[:3]),
                    "smallest three": statistics.mean(errors[each] for each in order[-3:]),
                    "macro F1": tested["f1_macro"],
                }
            )
    columns = list(found["as they are"][0])
    print("| choice | " + " | ".join(f"{column} (spread)" for column in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name, rows in found.items():
        cells = []
        for column in columns:
            values = [row[column] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ({spread:.3f})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    (options.out / "unequal_classes.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
