"""A name that the processes of one start share, and that those of an earlier one do not have.

torchrun keeps its store when it starts processes again, and with it the addresses of those that are gone. Its count of
restarts differs between machines, so that it cannot tell one start from the next.
"""

import time
import uuid
from typing import Any

POLL_SECONDS = 0.02


def name_start(store: Any, rank: int, world: int, timeout_seconds: float) -> str:
    """Return the name of this start, the same in all processes; each calls this once.

    Every process asks under a name of its own, so that no answer to an earlier one can be taken for its.

    Raises:
        RuntimeError: not all came in time; what a store raises too.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"asks/{rank}", own)
        name: str = store.get(f"answer/{own}").decode()
        store.add(f"came/{name}", 1)
        return name
    end = time.monotonic() + timeout_seconds
    while (came := store.add(f"came/{own}", 0)) < world - 1:
        if time.monotonic() > end:
            raise RuntimeError(f"{came + 1} of {world} processes came")
        for other in range(1, world):
            if store.check([f"asks/{other}"]):
                store.set(f"answer/{store.get(f'asks/{other}').decode()}", own)
        time.sleep(POLL_SECONDS)
    return own
