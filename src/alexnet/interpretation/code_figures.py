"""How good binary codes are, drawn: recall and class precision of each method and length."""

import numpy as np

from alexnet.interpretation.curves import DOTS, plot_values
from alexnet.interpretation.drawing import (
    NORMAL,
    WIDTH_IN,
    Drawing,
    Value,
    label_lines,
    new_figure,
    show_percents,
    styled,
)
from alexnet.pages.themes import ThemeName, find_theme
from alexnet.retrieval.codes.comparison import EXACT, Comparison, K, Result
from alexnet.text.wording import counted

RERANK = 500
DEPTH = 100
LABELS = {
    "autoencoder": "autoencoder",
    "random": "random hyperplanes",
    "pca": "PCA signs",
    "itq": "ITQ",
    "pixels": "autoencoder of pixels",
    EXACT: "exact search",
}


@styled
def draw_codes(comparison: Comparison, theme: ThemeName = "light") -> Drawing:
    """Recall of the nearest after ranking again, and class precision, over the length of codes; a line per method."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 3.9, colors)
    results = comparison.results
    methods = list(dict.fromkeys(result.method for result in results if result.bits))
    lengths = sorted({result.bits for result in results if result.bits})
    exact = next(result for result in results if result.method == EXACT)
    rerank = max(r for r in exact.recall if r <= RERANK)
    panels = [(f"Recall of the {K} nearest, best {rerank:,} codes ranked again", "recall", rerank)]
    if exact.precision:
        depth = max(k for k in exact.precision if k <= DEPTH)
        panels.append((f"Of the query's class, among the {depth} nearest codes", "precision", depth))
    for axes, (title, measure, at) in zip(figure.subplots(1, 2), panels, strict=False):
        axes.set_title(title, fontsize=NORMAL)
        axes.set(xlim=(-0.15, max(len(lengths) - 0.85, 0.15)), ylim=(0, 1), xlabel="bits")
        axes.set_xticks(range(len(lengths)), [str(bits) for bits in lengths])
        axes.set_yticks(np.linspace(0, 1, 5))
        show_percents(axes.yaxis)
        ends: list[tuple[str, tuple[float, float], str]] = []
        if measure == "precision":
            axes.axhline(exact.precision[at], color=colors.ink, linewidth=1.2, linestyle=DOTS)
            ends.append((LABELS[EXACT], (axes.get_xlim()[1], exact.precision[at]), colors.ink))
        for number, method in enumerate(methods):
            found = {result.bits: getattr(result, measure).get(at) for result in results if result.method == method}
            hue = colors.runs[number % len(colors.runs)]
            if end := plot_values(axes, range(len(lengths)), [found.get(bits) for bits in lengths], color=hue):
                ends.append((LABELS.get(method, method), end, hue))
        label_lines(axes, ends)
    if len(panels) == 1:
        figure.axes[1].set_axis_off()
    return Drawing(
        name="codes",
        figure=figure,
        numbers=_columns(results),
        title="Binary codes against exact search",
        caption=(
            f"{counted(comparison.queries, 'query', 'queries')} ({comparison.held_out}) among "
            f"{counted(comparison.database, 'other image')}, the only ones that codes were fitted to. Left: the "
            f"share of the {K} nearest images by exact distance that are among the {rerank:,} nearest codes, and so "
            "are found when these are ranked again. Right: how many of the nearest codes show the query's class; the "
            "dotted line is exact search."
        ),
    )


def _columns(results: list[Result]) -> dict[str, list[Value]]:
    recalls = sorted({r for result in results for r in result.recall})
    depths = sorted({k for result in results for k in result.precision})
    columns: dict[str, list[Value]] = {
        "method": [result.method for result in results],
        "bits": [result.bits for result in results],
    }
    columns |= {f"recall_{r}": [result.recall.get(r) for result in results] for r in recalls}
    columns |= {f"precision_{k}": [result.precision.get(k) for result in results] for k in depths}
    return columns
