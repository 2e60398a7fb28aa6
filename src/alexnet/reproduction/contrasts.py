"""From results of experiments to verdicts: every variant against its baseline, over images and seeds, by one rule.

An error is higher or lower where the p-value of the difference is below 0.05. The p-value is two-sided, over images and
seeds, and corrected by Holm for all contrasts with the same baseline. Everything else is undecided.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.reproduction.experiments import EXPERIMENTS, TABLES, Experiment, Variant
from alexnet.reproduction.image_errors import VariantTests, read_image_errors
from alexnet.reproduction.results import Outcome, pair_errors, read_results
from alexnet.reproduction.tables import describe_table, list_rows
from alexnet.reproduction.uncertainty import (
    Estimate,
    SeedSpread,
    block_spread,
    estimate,
    holm,
    image_variance,
    interval_variance,
    own_spread,
)

SIGNIFICANCE = 0.05
SMALLEST_OF_INTEREST = 0.01
"""A difference in error that is worth knowing: the paper's own are 0.4 to 2 points, most of them above one."""


@dataclass(frozen=True, slots=True)
class Published:
    """The results of one experiment."""

    place: str
    """Name of the folder of the results, after the images that were trained on."""
    document: dict[str, Any]
    outcomes: tuple[Outcome, ...]
    tests: tuple[VariantTests, ...] = ()
    """Errors by image, where they are kept."""

    @property
    def experiment(self) -> Experiment:
        """What was asked."""
        name = self.document["experiment"]
        return EXPERIMENTS.get(name) or describe_table(name, list_rows(name, self.document["seeds"]))

    @property
    def family(self) -> str:
        """Names the experiments that share a baseline: same images, same recipe."""
        recipe = {name: value for name, value in self.document["recipe"].items() if name != "name"}
        return json.dumps([self.document["store"]["fingerprint"], recipe], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Contrast:
    """A variant against the first of its experiment; rates are fractions, differences variant less first."""

    place: str
    experiment: str
    variant: str
    against: str
    seeds: tuple[int, ...]
    """Seeds that both have; all means are over these."""
    epochs: int
    updates: int
    error: float
    baseline: float
    differences: tuple[float, ...]
    """Difference for each seed; of averages for each of them, to the first variant's mean over its seeds."""
    over_images: tuple[float, float] | None
    """95 % interval over images alone."""
    image_variance: float
    spread: SeedSpread
    """Spread of a paired difference over seeds."""
    both: Estimate | None = None
    """The difference with its interval over images and seeds."""
    corrected: float | None = None
    """The p-value of `both` after Holm's correction."""
    lacks: str = ""
    """Why there is no estimate over seeds."""

    @property
    def difference(self) -> float:
        """Mean difference over the seeds."""
        return self.error - self.baseline

    @property
    def verdict(self) -> str:
        """Higher, lower or undecided."""
        if self.both is None or self.corrected is None:
            return f"undecided ({self.lacks})"
        if self.corrected >= SIGNIFICANCE:
            return "undecided"
        return "higher" if self.difference > 0 else "lower"


def read_published(folder: Path) -> list[Published]:
    """Return what lies at FOLDER/PLACE/EXPERIMENT, in the order of the experiments."""
    order = [*EXPERIMENTS, *TABLES]
    found = []
    for path in sorted(folder.glob("*/*/results.json"), key=lambda path: (order.index(path.parent.name), path)):
        document, outcomes, _ = read_results(path.parent)
        tests = tuple(read_image_errors(path.parent) or ())
        found.append(Published(path.parent.parent.name, document, tuple(outcomes), tests))
    return found


def judge(published: Sequence[Published]) -> list[Contrast]:
    """Return every contrast, in order. Those of one family are corrected together and share the spread over seeds."""
    by_family: dict[str, list[Published]] = defaultdict(list)
    for each in published:
        by_family[each.family].append(each)
    spreads = {family: pool_spread(members) for family, members in by_family.items()}
    contrasts = [(each.family, contrast) for each in published for contrast in _contrasts(each, spreads[each.family])]
    corrected: dict[str, list[float]] = {}
    for family in by_family:
        corrected[family] = holm([one.both.p_value for its, one in contrasts if its == family and one.both])
    return [replace(one, corrected=corrected[family].pop(0)) if one.both else one for family, one in contrasts]


def pool_spread(published: Iterable[Published]) -> SeedSpread:
    """Return the spread over seeds that the trainings of one family show together.

    A baseline that several experiments share counts once. Rows that test the same trainings in another way do not
    count, nor do averages and pre-trained networks.
    """
    cells: dict[tuple[str, int], float] = {}
    baselines: list[tuple[str, dict[int, float]]] = []
    for each in published:
        if each.document["experiment"] in TABLES or each.experiment.measure == "epochs":
            continue
        first, variants = each.experiment.variants[0], each.experiment.variants
        for place, (variant, outcome) in enumerate(zip(variants, each.outcomes, strict=True)):
            by_seed = dict(zip(outcome.seeds, outcome.values, strict=True))
            name = variant.name
            if variant == first:
                name = next((known for known, values in baselines if _agree(values, by_seed)), name)
                baselines.append((name, by_seed))
            elif any(_same_training(variant, other) for other in variants[:place]):
                continue
            cells |= {(name, seed): value for seed, value in by_seed.items()}
    return block_spread(cells)


def _agree(values: dict[int, float], others: dict[int, float]) -> bool:
    common = values.keys() & others.keys()
    return bool(common) and all(values[seed] == others[seed] for seed in common)


def _same_training(variant: Variant, other: Variant) -> bool:
    return replace(variant, name=other.name, views=other.views) == other


def _contrasts(each: Published, pooled: SeedSpread) -> list[Contrast]:
    if each.experiment.measure == "epochs":
        return []
    table = each.document["experiment"] in TABLES
    rows = list_rows(each.document["experiment"], each.document["seeds"]) if table else []
    first, baseline = each.experiment.variants[0], each.outcomes[0]
    found = []
    for place, (variant, outcome) in enumerate(zip(each.experiment.variants, each.outcomes, strict=True)):
        if not place or not outcome.values or not baseline.values:
            continue
        theirs = dict(zip(baseline.seeds, baseline.values, strict=True))
        pairs = [
            (value, float(np.mean([theirs[seed] for seed in sorted(set(seeds))])), seeds)
            for value, seeds in zip(outcome.values, outcome.seeds_of_values, strict=True)
            if theirs.keys() >= set(seeds)
        ]
        if not pairs:
            continue
        error = float(np.mean([value for value, _, _ in pairs]))
        differences = tuple(value - theirs for value, theirs, _ in pairs)
        average = bool(rows) and rows[place].averaged > 0
        pretrained = bool(rows) and rows[place].pretrained > 0
        if pretrained:
            spread, lacks = SeedSpread(0.0, 0), "one average" if average else "one pre-training"
        elif average:
            spread, lacks = own_spread(differences), "one average"
        elif table or _same_training(variant, first):
            spread, lacks = own_spread(differences), "one seed"
        else:
            spread, lacks = pooled, "one seed"
        over_images = _image_variance(each, place, outcome)
        epochs, updates = _budget(each, variant)
        found.append(
            Contrast(
                place=each.place,
                experiment=each.document["experiment"],
                variant=outcome.variant,
                against=baseline.variant,
                seeds=tuple(sorted({seed for _, _, seeds in pairs for seed in seeds})),
                epochs=epochs,
                updates=updates,
                error=error,
                baseline=error - float(np.mean(differences)),
                differences=differences,
                over_images=outcome.interval,
                image_variance=over_images,
                spread=spread,
                both=estimate(float(np.mean(differences)), len(differences), spread, over_images),
                lacks=lacks,
            )
        )
    return found


def _image_variance(each: Published, place: int, outcome: Outcome) -> float:
    pairs = pair_errors(each.tests[place], each.tests[0]) if each.tests else []
    if pairs:
        return image_variance(np.array([ours - theirs for ours, theirs in pairs]))
    return interval_variance(outcome.interval) if outcome.interval else 0.0


def _budget(each: Published, variant: Variant) -> tuple[int, int]:
    """Return the epochs and the updates of a variant's training."""
    recipe = each.document["recipe"]
    sizes = [change.partition("=")[2] for change in variant.changes if change.startswith("batches.size=")]
    batch = int(sizes[-1]) if sizes else recipe["batches"]["size"]
    epochs = recipe["optimization"]["total_epochs"]
    return epochs, epochs * math.ceil(each.document["store"]["train"] / batch)
