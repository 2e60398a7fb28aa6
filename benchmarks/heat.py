"""Which heat can be believed: the methods of `alexnet draw why` on drawn scenes, whose objects are known by the pixel.

For each run: the share of the heat on the object, how often the hottest pixel is on it (the pointing game), the area
under the deletion curve, and the rank correlation with the heat of a network with random weights, which is measured in
the same way (Adebayo et al., "Sanity Checks for Saliency Maps", 2018). Two maps that look at nothing stand beside them:
the same everywhere, and the nearer to the middle the hotter. Deletion is always judged by the trained network, since
a random one has no answer to lose. The scenes are validation scenes of seed 0, which no demo has trained on.

    python benchmarks/heat.py demo/run --per-class 10 --out benchmarks/records
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.benchmark.suite import write_record
from alexnet.data.scenes.scenes import CLASS_NAMES, VALIDATION_START, draw_scene_and_mask
from alexnet.evaluation.classifier import Classifier, load
from alexnet.interpretation.saliency import crop_center
from alexnet.interpretation.why import METHODS, explain
from alexnet.network.alexnet import build_spec
from alexnet.network.model_file import Model
from alexnet.system import set_threads
from heat_quality import (
    area_under,
    correlate_ranks,
    deletion_curves,
    points_inside,
    share_inside,
)

MEASURES = ("share_inside", "points_inside", "deletion_area", "rank_correlation")


def draw_scenes(per_class: int, size: int) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.bool_]], list[str]]:
    """Return validation scenes, where their things are, and which things these are."""
    names = [name for name in CLASS_NAMES for _ in range(per_class)]
    numbers = [VALIDATION_START + number for _ in CLASS_NAMES for number in range(per_class)]
    pairs = [draw_scene_and_mask(name, number, size=size) for name, number in zip(names, numbers, strict=True)]
    return [image for image, _ in pairs], [mask for _, mask in pairs], names


def randomize(classifier: Classifier, seed: int) -> Classifier:
    """Return the same network with fresh weights: He's, since the paper's leave logits that hardly differ."""
    model = classifier.model
    network = build_spec(model.network.spec, seed=1000 + seed, initialization="he")
    names = (model.class_names, model.class_titles)
    return Classifier(
        Model(network, *names, model.preprocessing, {}), classifier.path, device=str(classifier.compute.device)
    )


def blind_maps(count: int, crop_px: int) -> dict[str, NDArray[np.float32]]:
    """Return maps that do not look at the image: the same everywhere, and a Gaussian about the middle."""
    place = (np.arange(crop_px) - (crop_px - 1) / 2) / crop_px
    middle = np.exp(-(place**2 + place[:, None] ** 2) / (2 * 0.2**2))
    maps = {"even": np.ones((crop_px, crop_px)), "middle": middle}
    return {name: np.tile(each.astype(np.float32), (count, 1, 1)) for name, each in maps.items()}


def measure_run(path: Path, seed: int, per_class: int) -> list[dict[str, Any]]:
    """Return a row for each method and network."""
    classifier = load(path)
    crop_px = classifier.network.spec.input_px
    images, masks, names = draw_scenes(per_class, classifier.model.preprocessing.image_px)
    inside = np.stack(crop_center(masks, classifier))
    kinds = [classifier.class_names.index(name) for name in names]
    wrong = np.mean([p.top(1)[0][0] != name for p, name in zip(classifier.predict(images), names, strict=True)])
    random = randomize(classifier, seed)
    heat: dict[tuple[str, str], NDArray[np.float32]] = {
        ("no network", name): each for name, each in blind_maps(len(images), crop_px).items()
    }
    for method in METHODS:
        for network, who in (("trained", classifier), ("random", random)):
            print(f"{path}: {method}, {network}", file=sys.stderr, flush=True)
            heat[network, method] = explain(who, images, kinds, method)
    rows = []
    for (network, method), each in heat.items():
        areas = area_under(deletion_curves(classifier, images, kinds, each))
        values = [share_inside(each, inside), points_inside(each, inside), areas]
        if network == "trained":
            values.append(correlate_ranks(each, heat["random", method]))
        rows.append(
            {
                "what": f"{method} : {network}",
                "run": path.name,
                "images": len(images),
                "error": float(wrong),
                "samples": {name: value.tolist() for name, value in zip(MEASURES, values, strict=False)},
            }
        )
    return rows


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print means over images and runs: with the standard deviation over runs, or for one run the standard error."""
    print("| heat | share inside | pointing game | deletion area | rank correlation with random |")
    print("| --- | --- | --- | --- | --- |")
    for what in dict.fromkeys(row["what"] for row in rows):
        cells = []
        for name in MEASURES:
            runs = [np.array(row["samples"][name]) for row in rows if row["what"] == what and name in row["samples"]]
            means = [np.nanmean(each) for each in runs]
            spread = (
                np.std(means, ddof=1) if len(runs) > 1 else np.sqrt(np.nanvar(runs[0]) / len(runs[0])) if runs else 0
            )
            cells.append(f"{np.mean(means):.2f} ± {spread:.2f}" if runs else "–")
        print(f"| {what.replace(' : ', ', ')} | {' | '.join(cells)} |")
    for run, error in {row["run"]: row["error"] for row in rows}.items():
        print(f"{run}: error {100 * error:.0f} % on these {rows[0]['images']} scenes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="runs on the drawn scenes, alike but for their seeds")
    parser.add_argument("--per-class", type=int, default=10, help="scenes of each of ten classes")
    parser.add_argument("--threads", type=int, help="threads to compute with")
    parser.add_argument("--out", type=Path, help="folder to write the record into")
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    rows = [row for seed, run in enumerate(arguments.runs) for row in measure_run(run, seed, arguments.per_class)]
    print_table(rows)
    if arguments.out:
        command = f"python benchmarks/heat.py RUNS --per-class {arguments.per_class}"
        print(write_record(arguments.out, "heat", rows, command))


if __name__ == "__main__":
    main()
