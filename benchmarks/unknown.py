"""Which score tells pictures of none of the classes best: AUROC, and false acceptance where 95 % are accepted.

Each RUN was trained on its STORE, of Imagenette or of the demo's drawn scenes; runs differ in their seeds. Foreign are
CIFAR-10's test images, one photograph each of ImageNet's other classes, drawn scenes if they are not the model's own,
noise, and grey cards. Every score is computed from one pass: probabilities, and the features that the last layer reads.
Larger is more foreign.

    .venv/bin/python benchmarks/unknown.py --run RUN STORE --cifar cifar10/test-images.zip \\
        --samples imagenet-samples-300.tar
"""

import argparse
import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import alexnet
from alexnet.benchmark.suite import write_record
from alexnet.data.images.decode import decode_image
from alexnet.data.scenes.scenes import CLASS_NAMES, draw_scene
from alexnet.evaluation.calibrating import choose_references, find_threshold
from alexnet.evaluation.classifier import Classifier
from alexnet.network.confidence import Rejection, unit_rows
from alexnet.text.wording import counted

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
ACCEPTED = 0.95
SPLITS = ("train", "val")
DRAWN, NOISY = 300, 300


def read_cifar(path: Path, count: int, size: int) -> list[Pixels]:
    """The first images of the archive, which are a random choice; enlarged as `alexnet predict` does."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))[: -(-count // 125)]
        strips = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    pictures = []
    for pixels in np.concatenate(strips).reshape(-1, 32, 32, 3)[:count]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        pictures.append(decode_image(file.getvalue(), size=size))
    return pictures


def read_samples(path: Path, known: Sequence[str], size: int) -> list[Pixels]:
    """The photographs of an archive whose WordNet id, the beginning of the name, is none of the known classes."""
    pictures = []
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".JPEG") else None
            if file and Path(member.name).name.split("_")[0] not in known:
                pictures.append(decode_image(file.read(), size=size))
    return pictures


def collect_foreign(cifar: Path, samples: Path, count: int, known: Sequence[str], size: int) -> dict[str, list[Pixels]]:
    """Pictures of none of the known classes, by what they are."""
    generator = np.random.default_rng(0)
    scenes = [draw_scene(CLASS_NAMES[number % 10], number // 10, size=size) for number in range(DRAWN)]
    noise = [generator.integers(0, 256, (size, size, 3), np.uint8) for _ in range(NOISY)]
    cards = [np.full((size, size, 3), level, np.uint8) for level in range(256)]
    return {
        "CIFAR-10": read_cifar(cifar, count, size),
        "other photographs": read_samples(samples, known, size),
        **({} if set(known) & set(CLASS_NAMES) else {"drawn scenes": scenes}),
        "noise": noise,
        "grey cards": cards,
    }


def compute(classifier: Classifier, images: Sequence[Pixels], views: int) -> tuple[Floats, Floats]:
    """Probabilities and features of images."""
    parts = list(classifier.compute_outputs(images, views=views))
    return np.concatenate([each.probabilities for each in parts]), np.concatenate([each.features for each in parts])


def list_scores(
    classifier: Classifier, learned: Floats, labels: NDArray[np.int64]
) -> dict[str, Callable[[Floats, Floats], Floats]]:
    """Scores by name: functions of probabilities (N, K) and features (N, D)."""
    last = classifier.network.named_layers()[-1][1]
    weight, bias = last.weight.detach().float().numpy(), last.bias.detach().float().numpy()
    means = np.stack([learned[labels == label].mean(0) for label in range(len(classifier.class_names))])
    directions = unit_rows(learned)
    few = choose_references(labels, 50 * len(means))

    def energy(p: Floats, x: Floats) -> Floats:
        logits = x @ weight.T + bias
        largest = logits.max(1)
        return -(largest + np.log(np.exp(logits - largest[:, None]).sum(1)))

    def distance(x: Floats, others: Floats, k: int = 1) -> Floats:
        squares = (x**2).sum(1)[:, None] + (others**2).sum(1) - 2 * x @ others.T
        return np.sqrt(np.maximum(np.partition(squares, k - 1, axis=1)[:, k - 1], 0))

    return {
        "largest probability": lambda p, x: 1 - p.max(1),
        "energy": energy,
        "class mean, Euclidean": lambda p, x: distance(x, means),
        "class mean, cosine": lambda p, x: Rejection(means, {}, 1 - ACCEPTED).measure(x),
        "10th nearest training image, unit length": lambda p, x: distance(unit_rows(x), directions, 10),
        "nearest training image, Euclidean": lambda p, x: distance(x, learned),
        "nearest training image, cosine": lambda p, x: Rejection(learned, {}, 1 - ACCEPTED).measure(x),
        "nearest of 50 a class, cosine": lambda p, x: Rejection(learned[few], {}, 1 - ACCEPTED).measure(x),
    }


def measure_auroc(own: Floats, foreign: Floats) -> float:
    """The probability that a foreign picture has the larger score; equal scores count half."""
    ordered = np.sort(own)
    below, upto = np.searchsorted(ordered, foreign, "left"), np.searchsorted(ordered, foreign, "right")
    return float((below + upto).mean() / 2 / len(own))


def measure_run(options: argparse.Namespace, run: Path, store_path: Path) -> list[dict[str, Any]]:
    """A row for each score and kind of foreign picture, and one for the network itself."""
    classifier, store = alexnet.load(run), alexnet.open_store(store_path)
    index = {name: number for number, name in enumerate(classifier.class_names)}
    train, val = (np.array([index[store.class_names[label]] for label in store[split].labels]) for split in SPLITS)
    _, learned = compute(classifier, store["train"].images, 1)
    own = compute(classifier, store["val"].images, options.views)
    pictures = collect_foreign(options.cifar, options.samples, options.images, classifier.class_names, store.size)
    foreign = {name: compute(classifier, images, options.views) for name, images in pictures.items()}
    error = float((own[0].argmax(1) != val).mean())
    rows: list[dict[str, Any]] = [{"what": "network", "run": run.name, "images": len(val), "error": error}]
    for name, score in list_scores(classifier, learned, train).items():
        usual = score(*own)
        threshold = find_threshold(usual, 1 - ACCEPTED)
        for kind, outputs in foreign.items():
            values = score(*outputs)
            accepted = float((values <= threshold).mean())
            measured = {"auroc": measure_auroc(usual, values), "accepted": accepted}
            rows.append({"what": f"{name} : {kind} ({len(values):,})", "run": run.name, **measured})
    return rows


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print means over the runs, with the standard deviation between them where there are several."""

    def show(values: Floats, form: str) -> str:
        spread = f" ({values.std(ddof=1):{form}})" if len(values) > 1 else ""
        return f"{values.mean():{form}}{spread}"

    errors = np.array([row["error"] for row in rows if row["what"] == "network"])
    print(f"error: {show(100 * errors, '.1f')} % of {rows[0]['images']:,} images, {counted(len(errors), 'run')}\n")
    names, kinds = (
        list(dict.fromkeys(row["what"].split(" : ")[place] for row in rows if " : " in row["what"])) for place in (0, 1)
    )
    print("| score | " + " | ".join([*kinds, "mean"]) + " |")
    print("|---|" + "---|" * (len(kinds) + 1))
    for name in names:
        cells = np.array(
            [
                [[row["auroc"], 100 * row["accepted"]] for row in rows if row["what"] == f"{name} : {kind}"]
                for kind in kinds
            ]
        )  # kinds, runs, two measures
        cells = np.concatenate([cells, cells.mean(0, keepdims=True)])
        shown = (f"{show(each[:, 0], '.3f')}, {show(each[:, 1], '.0f')} %" for each in cells)
        print(f"| {name} | " + " | ".join(shown) + " |")


def main() -> None:
    """Compute, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, nargs=2, action="append", required=True, metavar=("RUN", "STORE"), help="once for each seed"
    )
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000, help="of CIFAR-10")
    parser.add_argument("--views", type=int, default=1, choices=(1, 10))
    parser.add_argument("--out", type=Path, help="folder to write the record into")
    parser.add_argument("--name", default="unknown", help="of the record")
    options = parser.parse_args()
    rows = [row for run, store in options.run for row in measure_run(options, run, store)]
    print_table(rows)
    if options.out:
        print(write_record(options.out, options.name, rows, f"python benchmarks/unknown.py --views {options.views}"))


if __name__ == "__main__":
    main()
