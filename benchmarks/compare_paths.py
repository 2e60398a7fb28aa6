"""Training curves of the fast path beside those of a float32 reference, on scenes that the package draws.

Fast: bfloat16 working copy and Numba kernels. Reference: float32 and the plain PyTorch formulations. Both over the same
seeds; they should agree as well as two seeds of one path do.

    python benchmarks/compare_paths.py --out docs/images/fast-and-reference --per-class 100 --epochs 4
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from alexnet import kernels
from alexnet.data.prepare.prepare import prepare
from alexnet.data.scenes.scenes import write_scenes
from alexnet.data.store.reader import open_store
from alexnet.recipes.named import find_recipe
from alexnet.runs.train import train

PATHS: tuple[tuple[str, str, Literal["numba", "plain"]], ...] = (
    ("fast", "bfloat16", "numba"),
    ("reference", "float32", "plain"),
)
"""Name of a path, its precision, and its version of the kernels."""


class Losses:
    """Listens to a run and keeps the loss of every batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def batch_done(self, progress: Any, num_batches: int, loss: float) -> None:
        self.losses.append(loss)

    def epoch_done(self, row: dict[str, Any]) -> None:
        print(row["epoch"], f"{row['train_loss']:.4f} {row['images_per_second']:.1f} images/s", flush=True)

    def notice(self, sentence: str) -> None:
        print(sentence, flush=True)


def smooth(losses: list[float], width: int = 8) -> list[float]:
    """Return the mean of each run of `width` batches."""
    return [sum(losses[i : i + width]) / len(losses[i : i + width]) for i in range(0, len(losses), width)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="picture and table to write, without suffix")
    parser.add_argument("--per-class", type=int, default=100, help="training scenes of each of ten classes")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each path")
    arguments = parser.parse_args()
    recipe = find_recipe("demo", [f"optimization.total_epochs={arguments.epochs}"])
    curves: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_scenes(folder / "pictures", train_per_class=arguments.per_class, val_per_class=2)
        store = open_store(prepare(folder / "pictures", folder / "store").store)
        for seed in range(arguments.seeds):
            for path, precision, version in PATHS:
                listener = Losses()
                with kernels.using(version):
                    train(store, recipe, folder / f"{path}-{seed}", listener=listener, seed=seed, precision=precision)
                curves[f"{path} seed {seed}"] = listener.losses
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, losses in curves.items():
        color = "#c0392b" if name.startswith("reference") else "#2c6fbb"
        axes.plot(smooth(losses), label=name, color=color, lw=1.4, ls=("-", "--", ":")[int(name[-1]) % 3])
    axes.set_xlabel("updates, in means of eight")
    axes.set_ylabel("training loss, nats")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(arguments.out.with_suffix(".png"))
    rows = zip(*curves.values(), strict=True)
    table = [",".join(["update", *curves]), *(",".join(map(str, (i, *row))) for i, row in enumerate(rows, start=1))]
    arguments.out.with_suffix(".csv").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
