"""Estimates of the time left, on clocks that are written down: nothing here is measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from alexnet.console.pace import Pace, seconds_in_turns
from alexnet.recipes.named import find_recipe
from alexnet.reproduction.outlook import Outlook
from alexnet.reproduction.plan import Job, count_passes
from conftest import write_store

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_paces.json").read_text(encoding="utf-8"))
"""Times at which work said how far it was, in seconds of a processor core that did nothing else, so that what the
machine did beside it is not in them. "search compare": seconds and share of the operations, 2,000 images of 2,048
features. Trainings: seconds and passes, 3,000 images of 32 px and 500 for validation, float32; "seconds" is when the
process ended."""
LEARNED, OFF, SLACK_SECONDS = 0.1, 0.3, 1.0
"""After this share of the time an estimate is off by no more than this share of what is left, and a second."""


def is_near(estimate: float | None, left: float) -> bool:
    return estimate is not None and abs(estimate - left) <= OFF * left + SLACK_SECONDS


def test_nothing_is_said_before_anything_is_known() -> None:
    pace = Pace()
    assert pace.seconds_left(0, 10) is None
    pace.observe(5, 0)
    assert pace.rate is None
    pace.observe(5.5, 3)  # too short to tell
    assert pace.seconds_left(5.5, 10) is None
    pace.observe(7, 4)
    assert pace.rate == 2
    assert pace.seconds_left(7, 10) == 3
    assert pace.seconds_left(9, 10) == 1  # it goes on between two words
    assert pace.seconds_left(90, 10) == 0


def test_a_slow_beginning_is_forgotten() -> None:
    pace = Pace()
    pace.observe(0, 0)
    pace.observe(30, 1)
    for done in range(2, 11):
        pace.observe(30 + done - 1, done)
    assert pace.seconds_left(39, 100) == 90


def test_where_less_is_done_than_before_something_else_has_begun() -> None:
    pace = Pace()
    for seconds, done in ((0, 0), (10, 100), (11, 0), (21, 10)):
        pace.observe(seconds, done)
    assert pace.rate == 1


def test_work_that_takes_turns_ends_with_its_last_piece() -> None:
    assert seconds_in_turns([], [], 2) == 0
    assert seconds_in_turns([5], [], 2) == 5
    assert seconds_in_turns([5], [3, 3], 1) == 11
    assert seconds_in_turns([5], [3, 3], 2) == 6
    assert seconds_in_turns([], [4, 4, 4], 2) == 8


def test_the_comparison_of_codes_knows_after_a_tenth_how_long_it_takes() -> None:
    events = RECORDED["search compare"]
    pace, end = Pace(), events[-1][0]
    wrong = []
    for seconds, done in events:
        pace.observe(seconds, done)
        if seconds >= LEARNED * end and not is_near(pace.seconds_left(seconds, 1.0), end - seconds):
            wrong.append((seconds, pace.seconds_left(seconds, 1.0), end - seconds))
    assert not wrong


def recorded_job(name: str, tmp_path: Path) -> Job:
    recorded = RECORDED[name]
    recipe = find_recipe(name, ["optimization.drop_epochs=[]", "optimization.schedule=constant",
                                f"optimization.total_epochs={recorded['epochs']}"])  # fmt: skip
    return Job(name, "", 0, recipe, "float32", tmp_path, tmp_path / name, views=(1, 10), num_train=3000, num_val=500,
               num_classes=3)  # fmt: skip


@pytest.mark.parametrize("beforehand", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("places", [1, 2])
def test_a_reproduction_knows_after_a_tenth_how_long_it_takes(tmp_path: Path, beforehand: float, places: int) -> None:
    """Twelve trainings of two networks, whatever was estimated beforehand."""
    names = ["cifar-80sec", "cifar-18pct"] * 6
    jobs = [recorded_job(name, tmp_path) for name in names]
    assert [job.passes for job in jobs[:2]] == [RECORDED[name]["passes"] for name in names[:2]]
    guesses = {job.folder: beforehand * RECORDED[job.variant]["seconds"] for job in jobs}
    outlook = Outlook(guesses, places)
    starts, free = [], [0.0] * places
    for job in jobs:
        starts.append(min(free))
        free[free.index(min(free))] += RECORDED[job.variant]["seconds"]
    end = max(free)
    happenings = [(begin, number, None) for number, begin in enumerate(starts)]
    for number, (job, begin) in enumerate(zip(jobs, starts, strict=True)):
        happenings += [(begin + seconds, number, passes) for seconds, passes in RECORDED[job.variant]["events"]]
    watches: dict[int, Any] = {}
    wrong = []
    for now, number, passes in sorted(happenings, key=lambda happening: (happening[0], happening[1])):
        if passes is None:
            watches[number] = outlook.watch(jobs[number], now)
            continue
        watches[number].observe(now, passes)
        at_work = [watch for i, watch in watches.items() if now < starts[i] + RECORDED[names[i]]["seconds"]]
        estimate = outlook.seconds_left(at_work, jobs[len(watches) :], now)
        if now >= LEARNED * end and not is_near(estimate, end - now):
            wrong.append((now, estimate, end - now))
    assert not wrong


def test_a_training_without_a_word_yet_takes_as_long_as_one_like_it(tmp_path: Path) -> None:
    job, other = (recorded_job(name, tmp_path) for name in ("cifar-80sec", "cifar-18pct"))
    outlook = Outlook({job.folder: 100.0, other.folder: 60.0}, 1)
    assert outlook.seconds_left([], [job, other], 0) == 160
    watch = outlook.watch(job, 0)
    assert outlook.seconds_left([watch], [], 30) == 70
    watch.observe(10, 0)
    watch.observe(20, job.passes / 2)
    assert outlook.seconds_left([watch], [], 20) == 10
    work = other.passes * other.pass_operations / (job.passes * job.pass_operations)
    assert outlook.seconds(other) == pytest.approx(10 + 20 * work)


def test_passes_count_training_thrice_and_every_view_once() -> None:
    assert count_passes(3, 3, 2, 100, 10, (1, 10)) == 3 * 3 * 100 + 10 * (2 + 11)
    assert count_passes(3, 4, 2, 100, 10, ()) == 3 * 3 * 100 + 10 * 1  # the second validation is after four


def test_jobs_know_the_sizes_of_their_own_store(tmp_path: Path) -> None:
    import numpy as np

    from alexnet.data.store.reader import open_store
    from alexnet.reproduction.plan import make_job

    images, labels = np.zeros((6, 32, 32, 3), np.uint8), np.arange(6) % 2
    write_store(tmp_path / "store", {"train": (images, labels), "val": (images[:4], labels[:4])}, ["a", "b"])
    job = make_job(find_recipe("cifar-80sec"), open_store(tmp_path / "store"), tmp_path, variant="a", seed=0)
    assert (job.num_train, job.num_val, job.num_classes) == (6, 4, 2)
    assert job.passes == 10 * (3 * 6 + 4) + 4
