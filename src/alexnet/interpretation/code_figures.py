"""How good binary codes are, drawn: recall and class precision of each method and length."""

from alexnet.interpretation.curves import spread_apart
from alexnet.interpretation.drawing import NORMAL, SMALL, WIDTH_IN, Drawing, Value, new_figure, write
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


def draw_codes(comparison: Comparison, theme: ThemeName = "light") -> Drawing:
    """Recall of the nearest after ranking again, and class precision, over the length of codes; a line per method."""
    colors = find_theme(theme)
    figure = new_figure(WIDTH_IN, 3.9, colors)
    results = comparison.results
    methods = list(dict.fromkeys(result.method for result in results if result.bits))
    lengths = sorted({result.bits for result in results if result.bits})
    exact = next(result for result in results if result.method == EXACT)
    rerank = max(r for r in exact.recall if r <= RERANK)
    panels = [(f"Recall of the {K} nearest, best {rerank:,} codes ranked again", "recall", rerank, 0.045)]
    if exact.precision:
        depth = max(k for k in exact.precision if k <= DEPTH)
        panels.append((f"Of the query's class, among the {depth} nearest codes", "precision", depth, 0.55))
    for title, measure, at, left in panels:
        axes = figure.add_axes((left, 0.13, 0.29, 0.70))
        axes.set_facecolor("none")
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.spines["bottom"].set_color(colors.muted)
        axes.set(xlim=(-0.15, max(len(lengths) - 0.85, 0.15)), ylim=(0, 1.0), yticks=[])
        axes.set_xticks(range(len(lengths)), [])
        axes.tick_params(length=3, color=colors.muted)
        write(axes, 0, 1.14, title, colors.ink, NORMAL, weight="bold", transform=axes.transAxes)
        below = axes.get_xaxis_transform()
        for tick, bits in enumerate(lengths):
            write(axes, tick, -0.055, str(bits), colors.muted, SMALL, align="center", transform=below)
        write(axes, 0.5, -0.135, "bits", colors.muted, SMALL, align="center", transform=axes.transAxes)
        beside = axes.get_yaxis_transform()
        for step in (0.0, 0.25, 0.5, 0.75, 1.0):
            axes.axhline(step, color=colors.rule, linewidth=0.8, zorder=0)
            write(axes, -0.02, step, f"{100 * step:.0f} %", colors.muted, SMALL, align="right", transform=beside)
        ends: list[tuple[str, float, str]] = []
        if measure == "precision":
            axes.axhline(exact.precision[at], color=colors.ink, linewidth=1.2, linestyle=(0, (1, 2)))
            ends.append((LABELS[EXACT], exact.precision[at], colors.ink))
        for number, method in enumerate(methods):
            found = {result.bits: getattr(result, measure).get(at) for result in results if result.method == method}
            points = [(lengths.index(bits), value) for bits, value in found.items() if bits and value is not None]
            if points:
                xs, ys = zip(*sorted(points), strict=True)
                hue = colors.runs[number % len(colors.runs)]
                axes.plot(xs, ys, color=hue, linewidth=1.8, marker="o", markersize=3.6, clip_on=False)
                ends.append((LABELS.get(method, method), ys[-1], hue))
        places = spread_apart([y for _, y, _ in ends], 0.065, 0, 1)
        for (label, _, hue), place in zip(ends, places, strict=True):
            write(axes, 1.03, place, label, hue, SMALL, transform=beside)
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
