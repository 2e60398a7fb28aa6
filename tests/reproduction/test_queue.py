"""Several experiments as one queue: what comes first, what fits into the hours, and what it costs."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.recipes.named import find_recipe
from alexnet.reproduction import carry_out, probe, queue
from alexnet.reproduction.experiments import EXPERIMENTS
from alexnet.reproduction.outlook import (
    COMPUTED,
    FINISHED,
    MEASURED,
    START_SECONDS,
    Cost,
    Outlook,
    estimate_jobs,
)
from alexnet.reproduction.plan import Job, count_validations
from alexnet.reproduction.queue import Planned, Round, fit_rounds, order_rounds, share_tests

SMALL = ["optimization.drop_epochs=[]", "optimization.schedule=constant", "optimization.total_epochs=10"]


def make(name: str, seed: int = 0, start: Path | None = None) -> Job:
    recipe = find_recipe("cifar-80sec", SMALL)
    return Job(name, "", seed, recipe, "float32", Path("STORE"), Path(f"{name}-{seed}"), start, (1, 10), 100, 50, 3)


def plan(name: str, *jobs: Job) -> Planned:
    return Planned(EXPERIMENTS[name], (), jobs)


PLANS = (
    plan("depth", *(make(name, seed) for seed in (0, 1) for name in ("paper", "shallow"))),
    plan("dropout", *(make(name, seed) for seed in (0, 1) for name in ("paper", "without"))),
)
SECONDS = {Path(f"{name}-{seed}"): 60.0 for name in ("paper", "shallow", "without") for seed in (0, 1)}


def test_first_seeds_of_all_come_before_second_ones_and_a_priority_before_all() -> None:
    named = lambda rounds: [(each.experiment, each.seed) for each in rounds]  # noqa: E731
    assert named(order_rounds(PLANS, [])) == [("depth", 0), ("dropout", 0), ("depth", 1), ("dropout", 1)]
    assert named(order_rounds(PLANS, ["dropout"])) == [("dropout", 0), ("dropout", 1), ("depth", 0), ("depth", 1)]


def test_a_training_that_several_need_is_tested_as_each_of_them_asks() -> None:
    nine = plan("views", replace(make("paper"), views=(1, 9)))
    assert [plan.jobs[0].views for plan in share_tests([*PLANS, nine])] == [(1, 9, 10), (1, 9, 10), (1, 9, 10)]


def test_a_training_comes_with_the_one_that_it_starts_from() -> None:
    first, tuned = make("first"), make("tuned", 1, start=Path("first-0"))
    assert order_rounds([plan("depth", first, tuned)], [])[1].jobs == [first, tuned]


@pytest.mark.parametrize(
    ("minutes", "places", "fit"), [(6, 1, 4), (5, 1, 3), (3, 1, 2), (2, 1, 1), (1, 1, 0), (3, 2, 4), (1, 2, 1)]
)
def test_rounds_fit_whole_or_not_at_all_and_what_several_share_counts_once(
    minutes: float, places: int, fit: int
) -> None:
    """A round has two trainings of a minute, and each seed a training that both experiments need."""
    fitting, others = fit_rounds(order_rounds(PLANS, []), SECONDS, places, 60 * minutes)
    assert len(fitting) == fit
    assert len(others) == 4 - fit
    if minutes == 2:
        assert [(each.experiment, each.seed, seconds) for each, seconds in others] == [
            ("dropout", 0, 60.0),
            ("depth", 1, 120.0),
            ("dropout", 1, 120.0),
        ]


def test_a_short_round_behind_one_that_is_too_long_still_fits() -> None:
    rounds = [Round("long", 0, [make("long")]), Round("short", 0, [make("short")])]
    fitting, others = fit_rounds(rounds, {Path("long-0"): 100.0, Path("short-0"): 10.0}, 1, 50)
    assert [each.experiment for each in fitting] == ["short"]
    assert [each.experiment for each, _ in others] == ["long"]


def test_a_training_costs_its_start_its_epochs_its_validations_and_its_tests(tmp_path: Path) -> None:
    cost = Cost(start=5.0, image=0.01, views={1: 0.004, 10: 0.03})
    assert cost.seconds(make("paper")) == pytest.approx(5 + 10 * 100 * 0.01 + 50 * (10 * 0.004 + 0.004 + 0.03))
    trained = replace(make("paper"), folder=tmp_path)
    (tmp_path / "model.safetensors").touch()  # only a test is missing, as of views that were not asked for before
    assert cost.seconds(trained) == pytest.approx(5 + 50 * (0.004 + 0.03))


def test_of_a_training_that_was_interrupted_what_is_left_is_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost, begun = Cost(start=5.0, image=0.01, views={1: 0.004, 10: 0.03}), replace(make("paper"), folder=tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}\n" * 6)
    assert begun.epochs_done == 6
    assert cost.seconds(begun) == pytest.approx(5 + 4 * 100 * 0.01 + 50 * (4 * 0.004 + 0.004 + 0.03))
    assert begun.passes_left == make("paper").passes - 6 * (3 * 100 + 50)
    recipe = find_recipe("cifar-80sec", [*SMALL, "evaluation.every_epochs=4"])  # after 4 and 8, and at the end
    seldom = replace(begun, recipe=recipe)
    assert cost.seconds(seldom) == pytest.approx(5 + 4 * 100 * 0.01 + 50 * (3 * 0.004 + 0.03))
    assert seldom.passes_left == 4 * 3 * 100 + 50 * (2 + 1 + 10)
    assert count_validations(10, 10, 4) == 3
    monkeypatch.setattr("alexnet.reproduction.outlook.measure_matrix_rate", lambda *what, **how: 1e11)
    left = begun.passes_left / begun.passes
    whole, rest = (each.seconds - START_SECONDS for each in estimate_jobs([make("paper"), begun], ["cpu"]))
    assert rest == pytest.approx(left * whole)
    outlook = Outlook({begun.folder: 1.0}, 1)
    watch = outlook.watch(make("paper"), 0.0)
    for passes in range(0, 1000, 100):
        watch.observe(passes / 100, passes)
    begin = outlook.seconds(make("paper")) - outlook.seconds(begun)
    assert begin == pytest.approx((make("paper").passes - begun.passes_left) / 100)
    monkeypatch.setattr(Job, "done", property(lambda job: job.variant == "done"))
    monkeypatch.setattr(Job, "read_result", lambda job: {"seconds_with_tests": 33.0, "passes": job.passes})
    found = estimate_jobs([make("done"), begun], ["cpu"])[1]
    assert (found.source, found.seconds) == (FINISHED, pytest.approx(START_SECONDS + 33 * left))


def test_one_of_each_kind_is_measured_and_what_is_finished_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measure(job: Job) -> Cost:
        asked.append(job.variant)
        return Cost(0.0, 0.01, {1: 0.0, 10: 0.0})

    jobs = [make("paper", 0), make("paper", 1), make("other", 0)]
    assert [each.source for each in estimate_jobs(jobs, ["cpu"], measure)] == [MEASURED] * 3
    assert asked == ["paper"]
    assert [each.seconds for each in estimate_jobs(jobs, ["cpu"], measure)] == [10.0] * 3
    monkeypatch.setattr("alexnet.reproduction.outlook.measure_matrix_rate", lambda *what, **how: 1e11)
    found = estimate_jobs(jobs, ["cpu", "cpu"], lambda job: None)
    assert {each.source for each in found} == {COMPUTED}
    alone = estimate_jobs(jobs, ["cpu"])
    assert found[0].seconds == 2 * alone[0].seconds  # two share the processor
    monkeypatch.setattr(Job, "done", property(lambda job: job.seed == 1))
    monkeypatch.setattr(Job, "read_result", lambda job: {"seconds_with_tests": 33.0, "passes": job.passes})
    found = estimate_jobs(jobs, ["cpu"], measure)
    assert [(each.source, round(each.seconds)) for each in found] == [(FINISHED, 43)] * 3


def test_what_does_not_fit_is_named(tmp_path: Path, small_store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry_out, "measure_cost", lambda *what: Cost(3600.0, 0.0, {1: 0.0, 9: 0.0, 10: 0.0}))
    words: list[Any] = ["reproduce", "activation", "dropout", "--store", small_store_path, "--out", tmp_path / "out"]
    words += ["--recipe", "cifar-80sec", "--epochs", 1, "--seeds", 2, "--dry-run", "--set", "batches.size=4"]
    result = CliRunner().invoke(cli, [*map(str, words), "--hours", "3.5"])
    assert result.exit_code == 0, result.output
    assert "3 trainings, about 3 h 00 min to go (from a few steps and tests of each network)." in result.output
    assert "Does not fit: activation, seed 1: 2 trainings, 2 h 00 min more." in result.output
    said = CliRunner().invoke(cli, [*map(str, words), "--priority", "depth"])
    assert str(said.exception) == (
        "--priority depth: is none of the experiments named: activation, dropout. Name it among them, too."
    )


@pytest.mark.slow
def test_steps_and_tests_are_measured_in_a_process_like_the_one_that_will_train(
    tmp_path: Path, small_store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.1)
    small = find_recipe("cifar-80sec", [*SMALL, "batches.size=4"])
    job = Job("a", "", 0, small, "float32", small_store_path, tmp_path / "a", None, (1, 10), 20, 4, 3)
    begun = time.monotonic()
    cost = queue.measure_cost(job, ["cpu"], 1, None)
    assert cost is not None
    assert 0 < cost.start < time.monotonic() - begun
    assert 0 < cost.image < 1
    assert 0 < cost.views[1] < cost.views[10]
    assert list(tmp_path.iterdir()) == []
    json.dumps(cost.views)
