"""How long the rest takes: the one estimate behind every "left" that is shown.

Work is counted in any unit whose pieces take about the same time. The rate is that of the later half of the work so
far: a slow beginning, such as compiling, is soon forgotten, and a single slow piece does not count much.
"""

import heapq
from collections import deque
from collections.abc import Iterable

LEAST_SECONDS = 1.0
"""Work is watched this long before a rate is told."""


class Pace:
    """Learns from `observe` how fast work is done."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()
        self._first: tuple[float, float] | None = None

    def observe(self, seconds: float, done: float) -> None:
        """Take how much is done at a time, in seconds on any clock. If less is done than before, begin anew."""
        if self._first is None or done < self._seen[-1][1]:
            self._seen.clear()
            self._first = seconds, done
        self._seen.append((seconds, done))
        middle = (self._first[1] + done) / 2
        while len(self._seen) > 2 and self._seen[1][1] <= middle and seconds - self._seen[1][0] >= LEAST_SECONDS:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Work per second, or None as long as nothing is known."""
        if not self._seen:
            return None
        (begun, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - begun) if done > before and now - begun >= LEAST_SECONDS else None

    def seconds_left(self, seconds: float, total: float) -> float | None:
        """Return how long the rest of `total` takes from a time on the same clock; None as long as nothing is known."""
        rate = self.rate
        if rate is None:
            return None
        last, done = self._seen[-1]
        return max(0.0, (total - done) / rate - (seconds - last))


def seconds_in_turns(at_work: Iterable[float], waiting: Iterable[float], places: int) -> float:
    """Return when the last of several pieces of work ends that take turns at some places.

    Args:
        at_work: Seconds that each piece at work still takes; at most one a place.
        waiting: Seconds that each of the others takes, in the order in which they begin.
    """
    ends = sorted(at_work)
    ends += [0.0] * (places - len(ends))
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heappush(ends, heapq.heappop(ends) + seconds)
    return max(ends, default=0.0)
