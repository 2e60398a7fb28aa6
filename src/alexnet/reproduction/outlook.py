"""How long trainings take: from operations before any has run, and from what has been seen of them once one runs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.benchmark.measure import measure_matrix_rate
from alexnet.console.pace import Pace, seconds_in_turns
from alexnet.reproduction.plan import Job, count_validations
from alexnet.system import choose_compute

START_SECONDS = 10.0
"""Time from the start of a process to its first batch, where none was measured."""
DENSE_SHARE, SMALL_SHARE = 0.9, 0.15
"""Share of the matrix-product rate that the paper's network reaches, and one for CIFAR; assumed."""
SMALL_OPERATIONS = 3e8
"""Operations of a pass below which a network counts as small."""


MEASURED, FINISHED, COMPUTED = "a few steps and tests of each network", "finished trainings", "operations"
"""Where an estimate comes from."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a training should take, and where the number comes from."""

    seconds: float
    source: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs, in seconds; see `probe.probe`."""

    start: float
    image: float
    views: Mapping[int, float]

    def seconds(self, job: Job) -> float:
        """Return what is left of a training, from its epochs that are over to its tests."""
        total, every, done = job.recipe.optimization.total_epochs, job.recipe.evaluation.every_epochs, job.epochs_done
        validations = count_validations(total, total, every) - count_validations(done, total, every)
        tests = validations * self.views[1] + sum(self.views[views] for views in job.views)
        return self.start + (total - done) * job.num_train * self.image + job.num_val * tests


def estimate_jobs(
    jobs: Sequence[Job], devices: Sequence[str] = ("auto",), measure: Callable[[Job], Cost | None] | None = None
) -> list[Estimate]:
    """Return how long each training should still take with its tests, beside as many others as there are devices.

    Known are those of which one alike was done: the same network on images of the same store, in batches of the same
    kind. Of the others one of each kind is measured. Where that cannot be, operations are divided by a share of this
    machine's matrix-product rate.

    Args:
        devices: One for each training at a time; those on one device share it.
        measure: What a job costs, or None; it is asked once of each kind that is not known.
    """
    known: dict[str, float] = {}  # seconds of a pass in finished jobs
    for job in jobs:
        if job.done and (seconds := job.read_result().get("seconds_with_tests")):
            known[_kind(job)] = seconds / job.read_result()["passes"]
    costs: dict[str, Cost | None] = {}
    rates: dict[str, float] = {}
    result = []
    for job in jobs:
        kind = _kind(job)
        if kind not in known and kind not in costs:
            costs[kind] = None if measure is None or job.start else measure(job)
        cost = costs.get(kind)
        if kind in known:
            estimate = Estimate(START_SECONDS + job.passes_left * known[kind], FINISHED)
        elif cost is not None:
            estimate = Estimate(cost.seconds(job), MEASURED)
        else:
            if job.precision not in rates:
                compute = choose_compute(devices[0], job.precision)
                rates[job.precision] = measure_matrix_rate(compute.dtype, compute.device, size=2048, rounds=2)
            share = DENSE_SHARE if job.pass_operations > SMALL_OPERATIONS else SMALL_SHARE
            alone = START_SECONDS + job.passes_left * job.pass_operations / (rates[job.precision] * share)
            estimate = Estimate(alone * max(Counter(devices).values()), COMPUTED)
        result.append(estimate)
    return result


def _kind(job: Job) -> str:
    """Return what decides the time of a step: trainings of one kind differ in length, rates and seeds alone."""
    recipe = job.recipe
    return f"{recipe.network.dialect} {recipe.batches.model_dump_json()} {job.precision} {job.store} {job.views}"


class Watch:
    """What is seen of one training at work: the times at which it said how far it was."""

    def __init__(self, job: Job, began: float) -> None:
        self.job = job
        self.began = began
        self.pace = Pace()
        self.start_seconds: float | None = None
        """Time from the start of its process to its first message."""

    def observe(self, now: float, passes: float) -> None:
        """Take a message of it."""
        if self.start_seconds is None:
            self.start_seconds = now - self.began
        self.pace.observe(now, passes)

    @property
    def seconds_per_operation(self) -> float | None:
        """Seconds per operation in its later half; None until it is known."""
        return 1 / (self.pace.rate * self.job.pass_operations) if self.pace.rate else None


class Outlook:
    """How long each training and all together still take.

    A training that waits is expected to compute at the rate of one of the same network that was seen, else of any in
    the same precision, else as estimated beforehand.
    """

    def __init__(self, estimates: Mapping[Path, float], places: int) -> None:
        """Begin with what is known beforehand.

        Args:
            estimates: Folder of a job -> seconds that it should take beside others.
            places: Trainings at a time.
        """
        self.places = places
        self._estimates = estimates
        self._seen: list[Watch] = []

    def watch(self, job: Job, now: float) -> Watch:
        """Begin to watch a training whose process starts now."""
        self._seen.append(Watch(job, now))
        return self._seen[-1]

    def seconds(self, job: Job) -> float:
        """Return how long a training still takes that is not at work."""
        rates = [each for each in reversed(self._seen) if each.seconds_per_operation is not None]
        same = [each for each in rates if each.job.precision == job.precision]
        alike = [each for each in same if each.job.recipe.network.dialect == job.recipe.network.dialect]
        for each in [*alike, *same]:
            starts = [seen.start_seconds for seen in self._seen if seen.start_seconds is not None]
            per_operation = each.seconds_per_operation or 0.0
            return sum(starts) / len(starts) + job.passes_left * job.pass_operations * per_operation
        return self._estimates[job.folder]

    def seconds_left(self, at_work: Sequence[Watch], waiting: Sequence[Job], now: float) -> float:
        """Return how long all take that are at work or wait, from now."""

        def left(watch: Watch) -> float:
            known = watch.pace.seconds_left(now, watch.job.passes)
            return max(0.0, self.seconds(watch.job) - (now - watch.began)) if known is None else known

        return seconds_in_turns(map(left, at_work), map(self.seconds, waiting), self.places)
