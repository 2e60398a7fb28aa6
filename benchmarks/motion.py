"""What time is worth: errors of single frames, of their mean, and of heads over frames, on clips that differ in motion.

Draws clips and still pictures of the same things, trains an image model on the stills, then heads on its features over
the frames of the clips. The seed fixes the weights and the order of both; what is drawn stays the same. Each step is a
command of alexnet; what FOLDER holds already is not made again.

    .venv/bin/python benchmarks/motion.py FOLDER --seeds 3 --out benchmarks/records/DATE_motion_MACHINE.jsonl
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from alexnet.data.scenes.motion import FRAME_SECONDS, write_clips
from alexnet.data.scenes.scenes import write_scenes
from alexnet.system import describe_processor
from alexnet.version import __version__

TRAIN_CLIPS, VAL_CLIPS, CLIP_PX = 100, 40, 64
"""Of each of six classes, twelve frames each."""
TRAIN_STILLS, VAL_STILLS = 300, 50
"""Of each of ten classes."""
IMAGE_MODEL = ("--recipe", "cifar-18pct", "--epochs", "20", "--precision", "float32", "--no-report")
KINDS = ("pooling", "convolution")


def alexnet(*words: object) -> str:
    line = [sys.executable, "-m", "alexnet", *map(str, words)]
    print("alexnet", *words[:1], *words[1:], flush=True)
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def draw_and_prepare(folder: Path) -> tuple[Path, Path]:
    """The stores of clips and of stills."""
    clips, stills = folder / "CLIPSTORE", folder / "STILLSTORE"
    if not clips.exists():
        write_clips(folder / "CLIPS", train=TRAIN_CLIPS, val=VAL_CLIPS, size=CLIP_PX)
        alexnet("prepare", folder / "CLIPS", "--every", FRAME_SECONDS, "--thin", 0, "--size", 32, "--out", clips)
    if not stills.exists():
        write_scenes(folder / "STILLS", train_per_class=TRAIN_STILLS, val_per_class=VAL_STILLS)
        alexnet("prepare", folder / "STILLS", "--size", 32, "--out", stills)
    return clips, stills


def measure(folder: Path, seed: int) -> list[dict[str, Any]]:
    clips, stills = draw_and_prepare(folder)
    run = folder / f"RUN{seed}"
    if not (run / "model.safetensors").exists():
        alexnet("train", stills, *IMAGE_MODEL, "--seed", seed, "--out", run)
    image_error = json.loads(alexnet("evaluate", run, stills, "--views", 1, "--json"))["top1_error"]
    rows = []
    for kind in KINDS:
        model = folder / f"{kind}{seed}.safetensors"
        if not model.exists():
            alexnet("train", clips, "--temporal", kind, "--from", run, "--seed", seed, "--precision", "float32",
                    "--out", model)  # fmt: skip
        found = json.loads(alexnet("evaluate", model, clips, "--precision", "float32", "--json"))
        rows.append(
            {
                "seed": seed,
                "image_error": image_error,
                **{name: value for name, value in found.items() if name != "model"},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in range(given.seeds) for row in measure(given.folder, seed)]
    machine = {"cpu": describe_processor(), "cores": os.cpu_count(), "alexnet": __version__}
    if given.out:
        given.out.write_text("".join(json.dumps({**row, **machine}) + "\n" for row in rows))
    for what, name, kind in (
        ("one frame", "frame_error", KINDS[1]),
        ("mean of frames", "mean_error", KINDS[1]),
        *((kind, "error", kind) for kind in KINDS),
    ):
        values = [100 * row[name] for row in rows if row["head"] == kind]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        listed = ", ".join(f"{each:.1f}" for each in values)
        print(f"{what:15}  {statistics.mean(values):5.1f} ± {spread:.1f} %  ({listed})")


if __name__ == "__main__":
    main()
