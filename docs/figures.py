"""Draws the pictures of docs/gallery.md and docs/questions.md by the commands there, and those of docs/results.

Pictures are made smaller for the page: a file that it calls .png keeps its size and gets a palette, one that it calls
.webp is halved. Commands about runs that are not here are passed over.
"""

import math
import re
import shlex
import sys
import tempfile
from pathlib import Path

from matplotlib.ticker import FuncFormatter
from PIL import Image
from scaling_tables import read_full_size

from alexnet.cli import cli
from alexnet.interpretation.drawing import (
    NORMAL,
    SMALL,
    WIDTH_IN,
    Drawing,
    columns_of,
    new_figure,
    save_drawing,
    styled,
)
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.reproduction.contrasts import judge, read_published
from alexnet.reproduction.experiments import EXPERIMENTS, TABLES
from alexnet.reproduction.figure import draw_contrasts, draw_outcomes, draw_training_errors
from alexnet.reproduction.results import read_results
from alexnet.reproduction.tables import describe_table, list_rows

DOCS = Path(__file__).parent
PAGES = ("gallery.md", "questions.md")
LARGEST_BYTES = 150_000
HIDDEN_STAGES = ("describe", "train again")
"""Stages of benchmarks/full_size.py that say nothing of their own in its figure."""
VERDICTS_TITLE = "Imagenette, 4 epochs: every variant against the same baseline"
_FIGURE = re.compile(r"!\[[^\]]*\]\((images/[^)]+)\)\n\n```sh\n(alexnet draw [^\n]+)\n```")


def draw_figures(folder: Path = DOCS) -> list[Path]:
    """Run every command below a picture in the current folder, and return the pictures that were written.

    Raises:
        SystemExit: a picture is too large for the page.
    """
    written = []
    pages = [(folder / name).read_text(encoding="utf-8") for name in PAGES]
    for target, command in [found for page in pages for found in _FIGURE.findall(page)]:
        words = shlex.split(command)[1:]
        inputs = [Path(word) for word in words[2 : words.index("--out")] if not word.startswith("--")]
        if not inputs[0].exists():
            print(f"passed over, since {inputs[0]} is not here: {command}")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            drawn = Path(temporary) / words[words.index("--out") + 1]
            words[words.index("--out") + 1] = str(drawn)
            cli(words, standalone_mode=False)
            path = folder / target
            shrink(drawn, path)
        if path.stat().st_size > LARGEST_BYTES:
            sys.exit(f"{path}: {path.stat().st_size:,} bytes; at most {LARGEST_BYTES:,} are wanted.")
        written.append(path)
    return written


def draw_results(folder: Path = DOCS) -> list[Path]:
    """Draw the figure of every experiment whose results are kept, and return the pictures."""
    written = []
    contrasts = judge(read_published(folder / "results"))
    for path in sorted((folder / "results").glob("*/*/results.json")):
        document, outcomes, curves = read_results(path.parent)
        name = document["experiment"]
        experiment = EXPERIMENTS.get(name) or describe_table(name, list_rows(name, document["seeds"]))
        place = path.parent.parent.name
        its = [each for each in contrasts if (each.place, each.experiment) == (place, name)]
        drawn = (
            draw_training_errors(experiment, curves) if curves else draw_outcomes(experiment, outcomes, contrasts=its)
        )
        target = folder / "images" / f"{place}-{name}.png"
        with tempfile.TemporaryDirectory() as temporary:
            save_drawing(drawn, Path(temporary) / "figure")
            shrink(Path(temporary) / "figure.png", target)
        written.append(target)
    chosen = [each for each in contrasts if each.place == "imagenette" and each.experiment not in TABLES]
    with tempfile.TemporaryDirectory() as temporary:
        drawn = draw_contrasts([each for each in chosen if each.experiment != "initial-weights"], VERDICTS_TITLE)
        save_drawing(drawn, Path(temporary) / "figure")
        shrink(Path(temporary) / "figure.png", folder / "images" / "verdicts.png")
    return [*written, folder / "images" / "verdicts.png"]


@styled
def plot_full_size(theme: ThemeName = "light") -> Drawing:
    """Processor time and peak memory of every stage over the number of images, both axes logarithmic."""
    colors = find_theme(theme)
    rows = read_full_size()
    figure = new_figure(WIDTH_IN, 4.4, colors)
    stages = [stage for stage in dict.fromkeys(stage for stage, _ in rows) if stage not in HIDDEN_STAGES]
    titles = {"cpu_seconds": "Processor seconds", "peak_mib": "Peak memory, MiB"}
    for axes, (measure, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for number, stage in enumerate(stages):
            points = sorted((images, row[measure]) for (name, images), row in rows.items() if name == stage)
            hue, line = colors.runs[number % len(colors.runs)], "-" if number < len(colors.runs) else "--"
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=hue, linestyle=line, label=stage)
        axes.set(xscale="log", yscale="log", xlabel="training images")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_title(title, fontsize=NORMAL)
    start, stop = min(images for _, images in rows), max(images for _, images in rows)
    bound = [
        figure.axes[0].get_ylim()[0],
        figure.axes[0].get_ylim()[0] * stop * math.log(stop) / (start * math.log(start)),
    ]
    figure.axes[0].plot([start, stop], bound, color=colors.muted, linewidth=1, linestyle=":", label="n log n")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=6,
        handlelength=3.5,
        fontsize=SMALL,
    )
    numbers = [(stage, images, row["cpu_seconds"], row["peak_mib"]) for (stage, images), row in rows.items()]
    return Drawing(
        name="full-size",
        figure=figure,
        numbers=columns_of(("stage", "images", "cpu_seconds", "peak_mib"), numbers),
        title="Every stage at ImageNet's size",
        caption="A stage that is steeper than the dotted line grows faster than n log n.",
    )


def draw_full_size(folder: Path = DOCS) -> Path:
    """Draw the figure of docs/scaling.md from the newest record of benchmarks/full_size.py."""
    target = folder / "images" / "full-size.png"
    with tempfile.TemporaryDirectory() as temporary:
        save_drawing(plot_full_size(), Path(temporary) / "figure")
        shrink(Path(temporary) / "figure.png", target)
    return target


def shrink(source: Path, target: Path) -> None:
    """Write a picture as the page shows it."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    if target.suffix == ".png":
        picture.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    else:
        half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
        half.save(target, quality=80, method=6)


if __name__ == "__main__":
    for path in [*draw_figures(), *draw_results(), draw_full_size()]:
        print(f"{path}: {path.stat().st_size:,} bytes")
