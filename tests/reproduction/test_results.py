"""What an experiment says: plans, intervals, epochs to a mark, tables."""

import json
from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError, RecipeError
from alexnet.evaluation.metrics import find_errors
from alexnet.network.dialects import find_dialect
from alexnet.recipes.named import find_recipe
from alexnet.reproduction.contrasts import Published, judge
from alexnet.reproduction.experiments import EXPERIMENTS, find_experiment
from alexnet.reproduction.figure import draw_outcomes, draw_training_errors
from alexnet.reproduction.image_errors import write_errors
from alexnet.reproduction.outlook import estimate_jobs
from alexnet.reproduction.plan import PROBABILITIES, Job, make_job, plan_jobs
from alexnet.reproduction.results import (
    Curve,
    collect,
    collect_curves,
    count_epochs,
    read_results,
    write_results,
)
from alexnet.reproduction.tables import (
    PLAIN,
    collect_table,
    collect_table_tests,
    describe_table,
    list_rows,
    plan_table,
)
from alexnet.reproduction.tabulation import compare_epochs, tabulate, tabulate_verdicts
from alexnet.reproduction.uncertainty import estimate
from conftest import write_store

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    splits = {"train": (images, np.arange(12) % 3), "val": (images[:10], LABELS)}
    return write_store(tmp_path / "store", splits, ["ant", "bee", "cat"])


def pretend(job: Job, wrong: list[int], *, seconds: float = 60.0, train_errors: tuple[float, ...] = (0.5,)) -> None:
    """Write what a worker would: probabilities that are wrong on these images."""
    job.folder.mkdir(parents=True, exist_ok=True)
    guess = np.where(np.isin(np.arange(len(LABELS)), wrong), (LABELS + 1) % 3, LABELS)
    probabilities = np.full((len(LABELS), 3), 0.2, np.float32)
    probabilities[np.arange(len(LABELS)), guess] = 0.6
    error = len(wrong) / len(LABELS)
    views = {}
    for number in (1, 10):
        np.save(job.folder / PROBABILITIES.format(views=number), probabilities)
        views[str(number)] = {"views": number, "top1_error": error, "top2_error": error / 2}
    result = {"views": views, "epochs": len(train_errors), "seconds": seconds, "train_top1_errors": list(train_errors)}
    (job.folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize("recipe", [None, "modern"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_of_every_experiment_is_a_recipe_with_a_network(
    name: str, recipe: str | None, store: Store, tmp_path: Path
) -> None:
    experiment = EXPERIMENTS[name]
    jobs = plan_jobs(experiment, store, tmp_path, recipe=recipe, assignments=[], seeds=1)
    for job in jobs:
        find_dialect(job.recipe.network.dialect, 10)
    how = [(variant.changes, variant.modifiers, variant.precision) for variant in experiment.variants]
    repeated = len(how) - len(set(how))  # rows that test a training again, with other views
    if recipe is None:  # modern warms up by itself, as some variants do
        assert len({job.folder for job in jobs}) == len(jobs) - repeated
    for reference in experiment.references:
        assert set(reference.figures) <= {variant.name for variant in experiment.variants}


def test_all_variants_with_the_first_seed_come_first(store: Store, tmp_path: Path) -> None:
    jobs = plan_jobs(EXPERIMENTS["dropout"], store, tmp_path, recipe=None, assignments=[], seeds=2)
    assert [(job.variant, job.seed) for job in jobs] == [
        ("the paper's network", 0), ("no dropout", 0), ("the paper's network", 1), ("no dropout", 1),
    ]  # fmt: skip


def test_experiments_share_the_trainings_that_they_have_in_common(store: Store, tmp_path: Path) -> None:
    def folders(name: str, **options: object) -> set[Path]:
        found = plan_jobs(
            EXPERIMENTS[name],
            store,
            tmp_path,
            recipe=None,
            assignments=options.get("assignments", []),
            seeds=1,  # type: ignore[arg-type]
        )
        return {job.folder for job in found}

    assert len(folders("dropout") & folders("pooling")) == 1
    assert not folders("dropout") & folders("dropout", assignments=["optimization.total_epochs=3"])


def test_figure_1_trains_without_regularisation_at_several_constant_rates(store: Store, tmp_path: Path) -> None:
    jobs = plan_jobs(EXPERIMENTS["figure1"], store, tmp_path, recipe=None, assignments=[], seeds=1)
    assert [job.choice for job in jobs if job.variant == "tanh"] == ["0.0003", "0.001", "0.003", "0.01", "0.03"]
    for job in jobs:
        optimization = job.recipe.optimization
        assert (optimization.weight_decay, optimization.weight_decays, optimization.schedule) == (0, {}, "constant")
        assert optimization.bias_learning_rate == 2 * optimization.learning_rate
        assert not job.recipe.batches.random_crops
    assert "activation=tanh" in jobs[-1].recipe.network.dialect


def test_the_normalisation_experiment_suits_the_images() -> None:
    assert find_experiment("normalisation", 32).name == "normalisation-cifar"
    assert find_experiment("normalisation", 256).name == "normalisation"
    with pytest.raises(
        ConfigError, match=r"unknown experiment 'drop'. Known: figure1, normalisation, .*, table2, averages\."
    ):
        find_experiment("drop", 256)


def test_a_field_that_there_is_not_is_refused_before_anything_trains(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown field batches\.siz"):
        plan_jobs(EXPERIMENTS["dropout"], store, tmp_path, recipe=None, assignments=["batches.siz=3"], seeds=1)


def test_epochs_to_a_mark_are_interpolated_between_the_middles_of_epochs() -> None:
    assert count_epochs([0.5, 0.3, 0.2], 0.25) == pytest.approx(2.0)
    assert count_epochs([0.2], 0.25) == pytest.approx(0.5 * 0.75 / 0.8)
    assert count_epochs([0.5, 0.3], 0.25) is None
    assert count_epochs([], 0.25) is None


def test_outcomes_tell_means_spreads_and_what_is_missing(store: Store, tmp_path: Path) -> None:
    experiment = EXPERIMENTS["dropout"]
    jobs = plan_jobs(experiment, store, tmp_path, recipe=None, assignments=[], seeds=3)
    for job, wrong in zip(jobs, ([0], [0, 1, 2], [0, 1], [0, 1, 2, 4, 5]), strict=False):
        pretend(job, wrong)
    failed = jobs[5]
    failed.folder.with_suffix(".failed.txt").write_text("DivergedError: the loss is nan.\n")
    first, second = collect(experiment, jobs)
    assert (first.seeds, first.values, first.mean) == ((0, 1), (0.1, 0.2), pytest.approx(0.15))
    assert first.deviation == pytest.approx(0.0707, abs=1e-4)
    assert first.difference is None
    assert second.difference == pytest.approx(0.25)
    assert second.differences == pytest.approx((0.2, 0.3))
    document = {"experiment": "dropout", "seeds": 3, "store": {"fingerprint": "", "train": 12},
                "recipe": jobs[0].recipe.model_dump(mode="json")}  # fmt: skip
    contrasts = judge([Published("here", document, (first, second))])
    head, rows = tabulate(experiment, [first, second], contrasts)
    assert (head[-1], rows[0][-1], rows[1][-1]) == ("by seed", "–", "+20.0, +30.0")
    assert rows[1][5:7] == ["15.00 %", "+25.0"]
    assert (second.planned, second.failed) == (3, ("DivergedError: the loss is nan.",))
    assert (second.k, second.topk) == (2, pytest.approx(0.2))  # half of the errors: the label ties for the second place
    write_results(tmp_path / "results", experiment, [first, second], {"seeds": 3})
    lines = (tmp_path / "results" / "results.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("no dropout,0 1,3,0.3 0.5,0.4,")
    document = json.loads((tmp_path / "results" / "results.json").read_text())
    assert document["outcomes"][1]["mean"] == pytest.approx(0.4)
    assert document["references"][0]["by"] == "paper, 4.2"


def test_the_fastest_rate_of_each_variant_counts_in_figure_1(store: Store, tmp_path: Path) -> None:
    experiment = EXPERIMENTS["figure1"]
    jobs = plan_jobs(experiment, store, tmp_path, recipe=None, assignments=[], seeds=1)
    for job in jobs:
        speed = {"0.0003": 3, "0.001": 1, "0.003": 2}.get(job.choice, 9) * (2 if job.variant == "tanh" else 1)
        pretend(job, [], train_errors=tuple([0.5] * speed + [0.2]) if float(job.choice) < 0.01 else (0.9,))
    relu, tanh = collect(experiment, jobs)
    assert (relu.choice, tanh.choice) == ("0.001", "0.001")
    assert (relu.mean, tanh.mean) == (pytest.approx(1 - 1 / 6 + 0.5), pytest.approx(2 - 1 / 6 + 0.5))


def test_a_variant_that_never_gets_there_is_said_to_take_longer(store: Store, tmp_path: Path) -> None:
    experiment = EXPERIMENTS["figure1"]
    jobs = plan_jobs(experiment, store, tmp_path, recipe=None, assignments=[], seeds=1)
    for job in jobs:
        pretend(job, [], train_errors=(0.5, 0.2) if job.variant == "ReLU" else (0.5,) * 12)
    outcomes = collect(experiment, jobs)
    curves = collect_curves(jobs)
    assert [each.beyond for each in outcomes] == [None, 12]
    assert compare_epochs(outcomes) == "tanh takes more than 9.0 times as many epochs."
    assert [row[2] for row in tabulate(experiment, outcomes)[1]] == ["1.3", "> 12"]
    write_results(tmp_path / "results", experiment, outcomes, {"seeds": 1}, curves)
    document, read, read_curves = read_results(tmp_path / "results")
    assert document["experiment"] == "figure1"
    assert tabulate(experiment, read) == tabulate(experiment, outcomes)
    assert [tuple(curve.errors) for curve in read_curves] == [(0.5, 0.2)] * 5 + [(0.5,) * 12] * 5


def test_table_2_averages_probabilities_and_leaves_rows_empty_that_were_not_run(store: Store, tmp_path: Path) -> None:
    jobs = plan_table("table2", store, tmp_path, recipe="cifar-80sec", assignments=[], seeds=3, larger=None)
    assert [job.variant for job in jobs] == [PLAIN] * 3
    for job, wrong in zip(jobs, ([0, 1], [0, 2], [0, 3]), strict=True):
        pretend(job, wrong)
    single, averaged, tuned, everything = collect_table(list_rows("table2", 3), jobs)
    assert (single.mean, single.deviation, averaged.mean) == (pytest.approx(0.2), pytest.approx(0), 0.1)
    assert (len(single.values), averaged.seeds, averaged.deviation) == (3, (0, 1, 2), None)
    assert averaged.difference == pytest.approx(-0.1)
    assert (tuned.mean, tuned.seeds, everything.mean, everything.planned) == (None, (), None, 5)
    drawn = draw_outcomes(describe_table("table2", list_rows("table2", 3)), [single, averaged, tuned, everything])
    assert drawn.numbers["variant"] == ["1 net"] * 3 + ["3 nets averaged"]
    assert drawn.numbers["seed"] == ["0", "1", "2", "0 1 2"]
    assert drawn.render("csv").count(b"\n") == 5


def test_averages_of_five_have_no_network_in_common_and_each_has_its_gain(store: Store, tmp_path: Path) -> None:
    jobs = plan_table("averages", store, tmp_path, recipe="cifar-80sec", assignments=[], seeds=16, larger=None)
    assert len({job.folder for job in jobs}) == 16
    wrong = {seed: [0, 1 + seed] for seed in range(5)}  # alike on one image, so that their average errs there, too
    wrong |= {seed: [seed % 5, 5 + seed % 5] for seed in range(5, 10)} | {seed: [seed % 5] for seed in range(10, 15)}
    for job in jobs:  # the last is in no average
        pretend(job, wrong.get(job.seed, list(range(9))))
    rows = list_rows("averages", 16)
    outcomes = collect_table(rows, jobs)
    single, averaged = outcomes
    assert (len(single.values), single.mean) == (16, pytest.approx(3.4 / 16))
    assert averaged.values == (0.1, 0, 0)
    assert (averaged.planned, averaged.seeds) == (15, tuple(range(15)))
    assert averaged.seeds_of_values == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (10, 11, 12, 13, 14)]
    assert averaged.differences == pytest.approx((-0.1, -0.2, -0.1))  # each to its own five
    document = {
        "experiment": "averages",
        "seeds": 16,
        "recipe": find_recipe("cifar-80sec").model_dump(mode="json"),
        "store": {"fingerprint": store.fingerprint, "train": 12, "val": 10},
    }
    tests = tuple(collect_table_tests(rows, jobs))
    (contrast,) = judge([Published("cifar", document, tuple(outcomes), tests)])
    assert contrast.differences == pytest.approx(averaged.differences)
    assert contrast.baseline == pytest.approx(0.5 / 3)
    assert tabulate_verdicts([contrast])[1][0][3] == "15 (3 averages)"
    assert (contrast.seeds, contrast.spread.freedom) == (tuple(range(15)), 2)
    assert contrast.spread.variance == pytest.approx(0.1**2 / 3)
    assert contrast.both == estimate(contrast.difference, 3, contrast.spread, contrast.image_variance)
    experiment = describe_table("averages", rows)
    write_results(tmp_path / "results", experiment, outcomes, {"seeds": 16})
    write_errors(tmp_path / "results", tests, store.fingerprint)
    assert read_results(tmp_path / "results")[1] == outcomes
    drawn = draw_outcomes(experiment, outcomes, contrasts=[contrast])
    assert drawn.numbers["seed"][-3:] == ["0 1 2 3 4", "5 6 7 8 9", "10 11 12 13 14"]
    (tmp_path / jobs[7].folder / "result.json").unlink()
    assert collect_table(rows, jobs)[1].values == (0.1, 0)


def test_too_few_networks_for_an_average_of_five_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"averages: no average of 5 networks can be made of 4. Take --seeds 15"):
        plan_table("averages", store, tmp_path, recipe="cifar-80sec", assignments=[], seeds=4, larger=None)


def test_table_1_is_the_mean_of_all_networks(store: Store, tmp_path: Path) -> None:
    jobs = plan_table("table1", store, tmp_path, recipe="cifar-80sec", assignments=[], seeds=2, larger=None)
    for job, wrong in zip(jobs, ([0], [0, 1, 2]), strict=True):
        pretend(job, wrong)
    crop, ten = collect_table(list_rows("table1", 2), jobs)
    assert (crop.values, crop.mean, ten.difference) == ((0.1, pytest.approx(0.3)), pytest.approx(0.2), 0)
    assert crop.deviation == pytest.approx(0.1414, abs=1e-4)


def test_a_pretrained_row_waits_for_the_training_it_starts_from(store: Store, tmp_path: Path) -> None:
    jobs = plan_table("table2", store, tmp_path, recipe="small-data", assignments=[], seeds=2, larger=store)
    assert [job.recipe.network.dialect for job in jobs] == ["paper", "paper", *["paper+conv6"] * 3]
    assert {job.recipe.batches.size for job in jobs} == {jobs[0].recipe.batches.size}
    assert all(each.seconds > 0 for each in estimate_jobs(jobs))
    assert [job.start for job in jobs] == [None, None, None, jobs[2].folder, jobs[2].folder]
    assert find_errors(np.eye(3, dtype=np.float32), np.array([0, 2, 2])).tolist() == [0, 1, 0]


def test_what_decides_a_training_decides_its_folder(store: Store, tmp_path: Path) -> None:
    recipe = find_recipe("cifar-80sec")
    one = make_job(recipe, store, tmp_path, variant="a", seed=0)
    assert make_job(recipe, store, tmp_path, variant="b", seed=0).folder == one.folder
    assert make_job(recipe, store, tmp_path, variant="a", seed=1).folder != one.folder
    assert make_job(recipe, store, tmp_path, variant="a", seed=0, precision="float32").folder != one.folder
    assert alexnet.open_store(store.path).fingerprint == store.fingerprint


def test_names_of_curves_that_end_together_do_not_lie_over_each_other() -> None:
    curves = [Curve("tanh", str(number), (0.6, 0.3 + 0.001 * number)) for number in range(5)]
    drawn = draw_training_errors(EXPERIMENTS["figure1"], curves)
    heights = sorted(
        text.get_position()[1] for text in drawn.figure.axes[0].texts if text.get_text().startswith("tanh")
    )
    assert len(heights) == 5
    assert min(np.diff(heights)) > 0.03
