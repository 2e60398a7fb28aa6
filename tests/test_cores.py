"""What is said of cores that other programs take."""

import os
from collections.abc import Iterator

import pytest

from alexnet.console import cores
from alexnet.console.cores import CoreWatch


@pytest.mark.parametrize(
    ("used", "own", "threads", "fewer"),
    [
        (20.0, 10.0, 2, 1),  # two cores in use, one of them by others
        (20.0, 15.0, 2, 1),
        (20.0, 19.0, 2, None),  # the little that a desktop does
        (20.0, 10.0, 1, None),  # one thread has the core that is left
        (20.0, 1.0, 2, 1),
    ],
)
def test_fewer_threads_are_advised_where_others_take_cores_that_are_needed(
    used: float, own: float, threads: int, fewer: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: Iterator[tuple[float, float, float]] = iter([(5.0, 100.0, 3.0), (15.0, 100.0 + used, 3.0 + own)])
    monkeypatch.setattr(cores, "_read", lambda: next(readings))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    advice = CoreWatch().advise(threads)
    if fewer is None:
        assert advice is None
    else:
        assert advice
        assert advice.startswith(f"Other programs take {(used - own) / 10:.1f} of the 2 cores")
        assert f"--threads {fewer} may be faster" in advice


def test_a_large_machine_with_cores_to_spare_needs_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    for used, own, threads, said in ((110.0, 80.0, 8, None), (160.0, 130.0, 16, "--threads 13 ")):
        readings = iter([(0.0, 0.0, 0.0), (10.0, used, own)])
        monkeypatch.setattr(cores, "_read", lambda readings=readings: next(readings))
        advice = CoreWatch().advise(threads)
        assert advice is None if said is None else said in str(advice)


def test_what_was_watched_too_shortly_or_cannot_be_read_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for readings in ([(0.0, 0.0, 0.0), (0.5, 1.0, 0.0)], [None, None]):
        remaining = iter(readings)
        monkeypatch.setattr(cores, "_read", lambda remaining=remaining: next(remaining))
        assert CoreWatch().advise(2) is None


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="only Linux has it")
def test_what_this_process_does_is_not_other_programs() -> None:
    before = cores._read()
    assert before
    last = os.times().user + 0.2
    while os.times().user < last:
        pass
    after = cores._read()
    assert after
    seconds, used, own = (late - early for early, late in zip(before, after, strict=True))
    assert seconds > 0
    assert own >= 0.2
    assert used >= own - 0.05  # ticks of ten milliseconds
