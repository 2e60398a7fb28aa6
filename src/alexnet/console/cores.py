"""How many cores of this machine other programs take."""

import os
import time
from pathlib import Path

ENOUGH = 0.5
"""Cores in use by others from which a training is told to use fewer."""

SHORTEST = 1.0
"""Seconds below which the system's clock ticks, of 10 ms, say too little."""


class CoreWatch:
    """Tells what other programs used of the processor since it was made; nothing where there is no /proc/stat."""

    def __init__(self) -> None:
        self._start = _read()

    def advise(self, threads: int) -> str | None:
        """Return a sentence for who computes with so many threads while others want the same cores; None for others.

        Every step waits for its slowest thread. Where images are small and the processor has AMX, two threads on one
        core were 20 times slower than one (docs/notebook.md).
        """
        now, cores = _read(), os.cpu_count() or 1
        if self._start is None or now is None or threads < 2:
            return None
        seconds, used, own = (after - before for before, after in zip(self._start, now, strict=True))
        taken = (used - own) / max(seconds, SHORTEST)
        if taken < ENOUGH or taken + threads < cores + ENOUGH or seconds < SHORTEST:
            return None
        fewer = max(1, min(threads - 1, cores - round(taken)))
        return (
            f"Other programs take {taken:.1f} of the {cores} cores, and a step waits for its slowest thread: --threads "
            f"{fewer} may be faster. Of trainings side by side, give each its own share of the cores."
        )


def _read() -> tuple[float, float, float] | None:
    """Return the time, the seconds that all cores together were used, and those for this process; None if unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        ticks = [int(field) for field in fields[1:9]]  # the rest, guests, are in the first two
    except (OSError, ValueError):
        return None
    idle, waiting = ticks[3:5]
    own = os.times()
    return time.monotonic(), (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK"), own.user + own.system
