"""How long trainings take: from operations before any has run, and from what has been seen of them once one runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.benchmark.measure import measure_matrix_rate
from alexnet.console.pace import Pace, seconds_in_turns
from alexnet.reproduction.plan import Job
from alexnet.system import choose_compute

START_SECONDS = 10.0
"""Time from the start of a process to its first batch, before one was measured."""
DENSE_SHARE, SMALL_SHARE = 0.9, 0.15
"""Share of the matrix-product rate that the paper's network reaches, and one for CIFAR; assumed."""
SMALL_OPERATIONS = 3e8
"""Operations of a pass below which a network counts as small."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a training should take, and where the number comes from."""

    seconds: float
    source: str


def estimate_jobs(jobs: Sequence[Job], device: str = "auto") -> list[Estimate]:
    """Return how long each training should take with its tests, alone on the machine.

    Its operations are divided by the rate of finished trainings in the same precision, or without any by a share of
    this machine's matrix-product rate, which is measured here.
    """
    known: dict[str, float] = {}  # operations per second of finished jobs, by precision
    for job in jobs:
        if job.done and (seconds := job.read_result().get("seconds_with_tests")):
            known[job.precision] = job.read_result()["passes"] * job.pass_operations / seconds
    measured: dict[str, float] = {}
    result = []
    for job in jobs:
        if job.precision in known:
            rate, source = known[job.precision], "from finished runs"
        else:
            if job.precision not in measured:
                compute = choose_compute(device, job.precision)
                measured[job.precision] = measure_matrix_rate(compute.dtype, compute.device, size=2048, rounds=2)
            share = DENSE_SHARE if job.pass_operations > SMALL_OPERATIONS else SMALL_SHARE
            rate, source = measured[job.precision] * share, "from operations"
        result.append(Estimate(START_SECONDS + job.passes * job.pass_operations / rate, source))
    return result


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

    def __init__(self, estimates: Mapping[Path, float], devices: Sequence[str]) -> None:
        """Begin with what is known beforehand.

        Args:
            estimates: Folder of a job -> seconds that it should take alone on its device.
            devices: One for each training at a time; those on one device share it.
        """
        self._sharing = max(Counter(devices).values())
        self._places = len(devices)
        self._estimates = estimates
        self._seen: list[Watch] = []

    def watch(self, job: Job, now: float) -> Watch:
        """Begin to watch a training whose process starts now."""
        self._seen.append(Watch(job, now))
        return self._seen[-1]

    def seconds(self, job: Job) -> float:
        """Return how long a training takes that has not begun."""
        rates = [each for each in reversed(self._seen) if each.seconds_per_operation is not None]
        same = [each for each in rates if each.job.precision == job.precision]
        alike = [each for each in same if each.job.recipe.network.dialect == job.recipe.network.dialect]
        for each in [*alike, *same]:
            starts = [seen.start_seconds for seen in self._seen if seen.start_seconds is not None]
            per_operation = each.seconds_per_operation or 0.0
            return sum(starts) / len(starts) + job.passes * job.pass_operations * per_operation
        return self._estimates[job.folder] * self._sharing

    def seconds_left(self, at_work: Sequence[Watch], waiting: Sequence[Job], now: float) -> float:
        """Return how long all take that are at work or wait, from now."""

        def left(watch: Watch) -> float:
            known = watch.pace.seconds_left(now, watch.job.passes)
            return max(0.0, self.seconds(watch.job) - (now - watch.began)) if known is None else known

        return seconds_in_turns(map(left, at_work), map(self.seconds, waiting), self._places)
