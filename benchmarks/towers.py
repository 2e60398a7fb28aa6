"""Do the two towers specialise (section 6.1)? Colour and orientation of conv1's kernels, tower a less tower b.

In the paper's figure 3 the kernels of one GPU are "largely color-agnostic" and those of the other "largely
color-specific". Two numbers for each kernel, both from 0 to 1:

- color: the share of its squared weights that is not the same in R, G and B. 0 is grey; fresh weights have 2/3.
- orientation: how much the spectrum of its grey part lies along one direction, |sum P e^(2i angle)| / sum P. A grating
  has 1, a blob or noise little.

The difference between the towers' means is compared with that of 1,000 random divisions of the same kernels into two
halves: p is the share of divisions whose difference is at least as large. The start of each run, the same seed's fresh
weights, stands beside it: chance alone.

    python benchmarks/towers.py RUN [RUN …] --out benchmarks/records
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alexnet
from alexnet.benchmark.suite import write_record
from alexnet.network.alexnet import build_spec
from alexnet.recipes.named import read_recipe
from alexnet.runs.folder import RECIPE, read_environment

Floats = NDArray[np.float64]
DIVISIONS = 1000


def measure_color(kernels: Floats) -> Floats:
    """The share of squared weights outside the grey axis, (N,) of (N, 3, k, k); 0 of a kernel of zeros."""
    squares = (kernels**2).sum((1, 2, 3))
    gray = 3 * (kernels.mean(1) ** 2).sum((1, 2))
    return 1 - np.divide(gray, squares, out=np.ones_like(gray), where=squares > 0)


def measure_orientation(kernels: Floats) -> Floats:
    """How far the spectrum of the grey parts lies along one direction, (N,) of (N, 3, k, k)."""
    gray = kernels.mean(1)
    power = np.abs(np.fft.fft2(gray - gray.mean((1, 2), keepdims=True))) ** 2
    frequency = np.fft.fftfreq(gray.shape[1])
    angle = np.arctan2(frequency[:, None], frequency[None, :])
    total = power.sum((1, 2))
    along = np.abs((power * np.exp(2j * angle)).sum((1, 2)))
    return np.divide(along, total, out=np.zeros_like(along), where=total > 0)


MEASURES = {"color": measure_color, "orientation": measure_orientation}


def compare_halves(values: Floats, seed: int) -> tuple[float, float, float]:
    """Mean of the first half, of the second, and p of their difference among random divisions."""
    half = len(values) // 2
    difference = values[:half].mean() - values[half:].mean()
    generator = np.random.default_rng(seed)
    shuffled = generator.permuted(np.tile(values, (DIVISIONS, 1)), axis=1)
    others = shuffled[:, :half].mean(1) - shuffled[:, half:].mean(1)
    return values[:half].mean(), values[half:].mean(), float((np.abs(others) >= abs(difference) - 1e-12).mean())


def measure_run(path: Path) -> list[dict[str, Any]]:
    """Rows for a run and for its start."""
    network = alexnet.load(path, device="cpu", precision="float32").network
    seed = int(read_environment(path)["seed"])
    recipe = read_recipe(path / RECIPE)
    start = build_spec(network.spec, seed=seed, initialization=recipe.network.initialization)
    rows = []
    for state, each in (("start", start), ("trained", network)):
        kernels = each.named_layers()[0][1].weight.detach().double().numpy()
        for name, measure in MEASURES.items():
            values = measure(kernels)
            first, second, p = compare_halves(values, seed)
            rows.append(
                {
                    "what": f"{name} : {state}",
                    "run": path.name,
                    "tower_a": first,
                    "tower_b": second,
                    "p": p,
                    "kernels": values.tolist(),
                }
            )
    return rows


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each run, measure and state."""
    print("| run | measure | state | tower a | tower b | p |\n|---|---|---|---|---|---|")
    for row in rows:
        name, state = row["what"].split(" : ")
        print(f"| {row['run']} | {name} | {state} | {row['tower_a']:.3f} | {row['tower_b']:.3f} | {row['p']:.3f} |")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="folder to write the record into")
    options = parser.parse_args()
    rows = [row for run in options.runs for row in measure_run(run)]
    print_table(rows)
    if options.out:
        print(write_record(options.out, "towers", rows, "python benchmarks/towers.py RUNS"))


if __name__ == "__main__":
    main()
