"""The pages about results: docs/results.md, docs/results/README.md, and the tables of speed from benchmarks/records."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from results_questions import question_rows
from scaling_tables import read_record

from alexnet.recipes.named import Recipe, find_recipe, scale_epochs
from alexnet.reproduction.contrasts import SMALLEST_OF_INTEREST, Contrast, Published, judge, read_published
from alexnet.reproduction.experiments import EXPERIMENTS, TABLES
from alexnet.reproduction.results import Curve, read_results
from alexnet.reproduction.tabulation import (
    compare_epochs,
    show_error,
    show_interval,
    show_points,
    tabulate,
    tabulate_recorded,
    tabulate_verdicts,
)
from alexnet.reproduction.uncertainty import own_spread, seeds_to_resolve

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
"""From a head and rows to the lines of a table."""

RESULTS = Path(__file__).parent / "results"
_PLACES = ("imagenette", "imagenette-half", "imagenette-halved", "cifar-10")


def experiments_page(table: Table) -> str:
    """Return docs/results/README.md: the table of every experiment whose results are there, and what is missing."""
    published = read_published(RESULTS)
    contrasts = judge(published)
    sections = [_EXPERIMENTS]
    for name, title in {**{each.name: each.title for each in EXPERIMENTS.values()}, **TABLES}.items():
        sections.append(f"## {title}\n")
        found = [each for each in published if each.document["experiment"] == name]
        if not found:
            sections.append(f"`alexnet reproduce {name}`: not run.\n")
        for each in found:
            its = [one for one in contrasts if (one.place, one.experiment) == (each.place, name)]
            sections += [*_describe(each, title), table(*tabulate(each.experiment, each.outcomes, its))]
            if each.experiment.measure == "epochs":
                sections.append(f"\n{compare_epochs(each.outcomes) or ''}")
            elif each.experiment.references:
                sections += ["", table(*tabulate_recorded(each.experiment))]
            sections.append("")
    return "\n".join(sections)


def _describe(each: Published, title: str) -> list[str]:
    document, name = each.document, each.document["experiment"]
    recipe, folder = document["recipe"], f"{each.place}/{name}"
    kept = f"[errors by image]({folder}/errors.json)" if each.tests else "errors by image were not kept"
    return [
        f"{document['question']} {_name_recipe(recipe)}, at most {recipe['optimization']['total_epochs']} epochs, "
        f"{document['store']['train']:,} training and {document['store']['val']:,} validation images "
        f"({each.place}); {_train_seconds(each) / 60:.0f} minutes of training. "
        f"[CSV]({folder}/results.csv), [JSON]({folder}/results.json), {kept}.\n",
        f"![{title}](../images/{each.place}-{name}.png)\n",
    ]


def _train_seconds(each: Published) -> float:
    """Return the seconds of its trainings; rows that test or average the same ones again do not count again."""
    if each.document["experiment"] in TABLES:
        return max(one.seconds for one in each.outcomes)  # the last row has all of them
    trained = {
        (variant.changes, variant.modifiers, variant.precision): outcome.seconds
        for variant, outcome in zip(each.experiment.variants, each.outcomes, strict=True)
    }
    return sum(trained.values())


def _name_recipe(recorded: dict[str, Any]) -> str:
    """Return a recipe's name, and its fields that are not, or not any more, those of the recipe of that name."""
    then = Recipe.model_validate(recorded)
    now = find_recipe(then.name, scale_epochs(find_recipe(then.name), then.optimization.total_epochs))
    changed = [
        f"`{group}.{field}={json.dumps(value)}`"
        for group, fields in then.model_dump(mode="json", exclude={"name"}).items()
        for field, value in fields.items()
        if value != now.model_dump(mode="json")[group][field]
    ]
    return f"Recipe `{then.name}`{' with ' * bool(changed)}{', '.join(changed)}"


def answers_page(table: Table) -> str:
    """Return docs/results.md; every number in it is computed here."""
    published = read_published(RESULTS)
    contrasts = sorted(judge(published), key=lambda one: _PLACES.index(one.place))
    on = [one for one in contrasts if one.place == "imagenette"]
    pooled = [one for one in on if one.spread.freedom > 2 and one.experiment not in TABLES]
    paper = [one for one in pooled if len(one.seeds) > 1]
    spread = pooled[0].spread
    naive = [own_spread(one.differences) for one in paper]
    squares = sum(each.variance * each.freedom for each in naive) / sum(each.freedom for each in naive)
    clear = [one for one in paper if one.both and one.both.interval[0] * one.both.interval[1] > 0]
    (low_two, high_two), (low_three, high_three) = (_widths(paper, seeds) for seeds in (2, 3))
    enough = [seeds_to_resolve(SMALLEST_OF_INTEREST, one.spread, one.image_variance) for one in paper]
    without_images = seeds_to_resolve(SMALLEST_OF_INTEREST, spread, 0.0)
    _, outcomes, curves = read_results(RESULTS / "cifar-10" / "figure1")
    facts = {
        "clear": len(clear),
        "all": len(paper),
        "decided": sum(one.verdict in ("higher", "lower") for one in paper),
        "family": sum(one.corrected is not None for one in on),
        "naive": f"{100 * squares**0.5:.1f}",
        "spread": f"{100 * spread.deviation:.1f}",
        "freedom": spread.freedom,
        "two": f"{low_two:.1f} to {high_two:.1f}",
        "three": f"{low_three:.1f} to {high_three:.1f}",
        "interest": f"{100 * SMALLEST_OF_INTEREST:g}",
        "seeds_needed": without_images,
        "hopeless": sum(each is None for each in enough),
        "without": sum(not each.tests for each in published),
        "published": len(published),
        "epochs": paper[0].epochs,
        "updates": paper[0].updates,
        "one_seed": f"{_widths(pooled, 1)[0]:.1f}",
        "figure1": compare_epochs(outcomes),
        "relu": f"{outcomes[0].mean:.1f}",
        "relu_rate": outcomes[0].choice,
        **_tanh(curves),
        **_chosen(contrasts),
        **_norm(),
        "table": table(*_verdicts(contrasts)),
        "questions": table(["question", "data", "measured", "mean (deviation over the seeds)"], question_rows()),
        "minutes": f"{sum(map(_train_seconds, published)) / 60:,.0f}",
    }
    return (RESULTS.parent / "results.template").read_text(encoding="utf-8").format(**facts)


def _widths(contrasts: Sequence[Contrast], seeds: int) -> tuple[float, float]:
    """Return the narrowest and the widest half of an interval with so many seeds, in points."""
    halves = [
        50 * (one.both.interval[1] - one.both.interval[0]) for one in contrasts if one.both and len(one.seeds) == seeds
    ]
    return min(halves), max(halves)


def _tanh(curves: Sequence[Curve]) -> dict[str, str]:
    best = next(each for each in curves if (each.variant, each.choice) == ("tanh", "0.01"))
    fall = (best.errors[-11] - best.errors[-1]) / 10
    return {
        "tanh_epochs": str(len(best.errors)),
        "tanh_last": show_error(best.errors[-1]),
        "tanh_fall": f"{100 * fall:.1f}",
    }


def _find(contrasts: Sequence[Contrast], place: str, experiment: str, variant: str) -> Contrast:
    return next(
        each for each in contrasts if (each.place, each.experiment, each.variant) == (place, experiment, variant)
    )


def _chosen(contrasts: Sequence[Contrast]) -> dict[str, str]:
    named = {
        "ten_cifar": ("cifar-10", "table1", "1 net, ten views"),
        "crop": ("imagenette", "views", "the central crop"),
        "dropout": ("imagenette", "dropout", "no dropout"),
        "fc": ("imagenette", "depth", "without fc6 or fc7"),
        "pool": ("imagenette", "pooling", "pools of 2, maps kept at 13 and 6"),
        "lrn": ("imagenette", "normalisation", "no normalisation"),
        "tanh_net": ("imagenette", "activation", "tanh"),
        "weights": ("imagenette", "initial-weights", "the paper's: 0.01, biases 1"),
        "pretrained": ("imagenette-half", "table2", "1 net, pre-trained"),
        "five": ("cifar-10", "averages", "5 nets averaged"),
    }
    facts = {}
    for name, key in named.items():
        one = _find(contrasts, *key)
        interval = f" ({show_interval(one.both.interval)})" if one.both else ""
        facts[name] = f"{show_points(one.difference)} points{interval}"
    fives = _find(contrasts, *named["five"])
    facts["five_verdict"], facts["five_one"] = fives.verdict, show_error(fives.baseline)
    facts["five_count"] = str(len(fives.differences))
    facts["five_each"] = ", ".join(map(show_points, fives.differences))
    return facts


def _norm() -> dict[str, str]:
    """How CIFAR-10's 11 % network without normalisation, and its 13 % network, differ from the first, by views."""
    _, outcomes, _ = read_results(RESULTS / "cifar-10" / "normalisation-cifar")
    base, *others = outcomes[:3]
    facts = {"eleven_ten": f"{100 * base.values[0]:.1f}", "eleven_one": f"{100 * (base.one_view or 0):.1f}"}
    for name, other in zip(("bare", "thirteen"), others, strict=True):
        facts[f"{name}_ten"] = show_points(other.values[0] - base.values[0])
        facts[f"{name}_one"] = show_points((other.one_view or 0) - (base.one_view or 0))
    return facts


def _verdicts(contrasts: Sequence[Contrast]) -> tuple[list[str], list[list[str]]]:
    """The table of verdicts without the column of the first variant, which stands in the page of experiments."""
    head, rows = tabulate_verdicts(contrasts)
    titles = [each.experiment for each in contrasts]
    return ["experiment", "variant", *head[1:]], [
        [title, one.variant, *row[1:]] for title, one, row in zip(titles, contrasts, rows, strict=True)
    ]


def filled_page(path: Path, tables: dict[str, str]) -> str:
    """Return a page with its generated tables as they should be now; the rest is written by hand."""
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by make docs -->", "<!-- until here -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def speed_page(table: Table) -> str:
    """Return docs/results/speed.md."""
    tables = {
        "speed": _speed_table(table, _SPEED, "amd-epyc|amd-epyc-avx512-bf16"),
        "speed-amx": _speed_table(table, _SPEED_AMX, "intel-xeon-amx|intel-xeon-processor-amx"),
        "speed-avx2": _speed_table(table, _SPEED_AVX2, "amd-epyc-avx2"),
        "speed-float32": _speed_table(table, _SPEED_FLOAT32, "intel-xeon-processor|intel-xeon-processor-avx512-bf16"),
    }
    return filled_page(RESULTS / "speed.md", tables)


def retrieval_page(table: Table) -> str:
    """Return docs/results/retrieval.md."""
    return filled_page(RESULTS / "retrieval.md", {"search": _speed_table(table, _SEARCH, "*")})


def _speed_table(table: Table, names: dict[tuple[str, str], str], processor: str) -> str:
    benchmarks = {what for what, _ in names}
    records = {what: {row["what"]: row for row in read_record(what, processor)[1]} for what in benchmarks}
    rows = []
    for (what, name), title in names.items():
        row = records[what][name]
        cells = [_number(row[field]) for field in ("ours", "theirs", "ratio", "ceiling")]
        reached = "–" if row["fraction"] is None else f"{row['fraction']:.0%}".replace("%", " %")
        rows.append([title, *cells, reached, row["unit"], str(row["n"])])
    return table(["what : other side", "ours", "theirs", "ratio", "ceiling", "of it", "unit", "rounds"], rows)


def _number(value: float | None) -> str:
    """Return three digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 0.99 or value >= 1 else f"{value:.3f}"


_SPEED = {
    ("step", "stock-float32"): "step : stock modules, float32, default layout",
    ("step", "stock-bfloat16"): "step : stock modules, bfloat16 autocast, channels_last",
    ("step", "torchvision-float32"): "step : torchvision's AlexNet, float32",
    ("step", "torchvision-bfloat16"): "step : the same, bfloat16, channels_last",
    ("step", "float32 : stock-float32"): "step in float32 : stock modules, float32",
    ("step", "peak memory : stock-float32"): "peak memory of the step : stock modules, float32",
    ("kernels", "update"): "update of weights : PyTorch's fused SGD",
    ("loader", "epoch with data : bare step"): "epoch with data : bare step",
    ("evaluate", "inference : stock-bfloat16"): "one view : stock modules, bfloat16",
    ("evaluate", "ten views : stock-bfloat16"): "ten views : ten stock passes, bfloat16",
    ("loader", "loader : image folder"): "batches from a store : image folder",
}
_SPEED_FLOAT32 = {
    ("step", "stock-float32"): "step : stock modules, float32, default layout",
    ("step", "torchvision-float32"): "step : torchvision's AlexNet, float32, default layout",
    ("step", "torchvision-channels-last"): "step : the same, channels_last",
    ("step", "peak memory : stock-float32"): "peak memory of the step : stock modules, float32",
    ("kernels", "update"): "update of weights : PyTorch's fused SGD",
    ("loader", "epoch with data : bare step"): "epoch with data : bare step",
    ("loader", "epoch from JPEG : bare step"): "epoch from JPEG files : bare step",
    ("evaluate", "inference : stock-float32"): "one view : stock modules, float32",
    ("evaluate", "ten views : stock-float32"): "ten views : ten stock passes, float32",
    ("loader", "loader : image folder"): "batches from a store : image folder",
    ("step-cifar-11pct", "cifar-11pct : plain PyTorch"): "step of `cifar-11pct` : PyTorch's own operations",
    ("step-cifar-13pct", "cifar-13pct : plain PyTorch"): "step of `cifar-13pct` : PyTorch's own operations",
    ("step-cifar-80sec", "cifar-80sec : plain PyTorch"): "step of `cifar-80sec` : PyTorch's own operations",
}
_SPEED_AMX = {key: title for key, title in _SPEED.items() if key[0] == "step"} | {
    key: title for key, title in _SPEED_FLOAT32.items() if key[0].startswith("step-")
}
_SPEED_AVX2 = {key: title for key, title in _SPEED_FLOAT32.items() if key[0] != "loader"} | {
    ("kernels", f"gradients of conv{layer}'s weights and biases"): f"gradients of conv{layer}'s weights : PyTorch's"
    for layer in (1, 2, 3)
}
_SEARCH = {
    ("search", "1 query : cdist"): "exact, one query, float32, larger than the cache : `torch.cdist`",
    ("search", "128 queries : cdist"): "exact, 128 queries : `torch.cdist`",
    ("search", "128-bit codes : exact"): "1,280,000 codes of 128 bits : exact search of as many",
    ("search", "128-bit codes, 500 again : exact"): "the same, 500 ranked again : the same",
    ("search", "features : inference"): "features of stored images, bfloat16 : bare forward pass",
}

_EXPERIMENTS = """# What the experiments gave

Generated by `make docs` from the files beside it, which `alexnet reproduce` wrote; [results](../results.md) has the
verdicts, the rule behind them and what they cannot say. Differences are to the first row, in percentage points, over
the seeds that both have; the first row's error over these seeds stands beside them. "95 %, images" resamples images
alone and knows nothing of seeds. "95 %, images and seeds" counts both; where it is a dash, the spread over seeds is not
known. A dash elsewhere was not run. The disk and the memory of the machine were not recorded in these runs.
"""
