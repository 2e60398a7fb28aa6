"""Items that are made ahead on a background thread: decoding leaves the interpreter lock to the network."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def produce_ahead(items: Iterable[T], most: int, *, name: str) -> Generator[T, None, None]:
    """Yield items that a thread makes meanwhile; closing the generator ends the thread and waits for it.

    Args:
        most: Items that may wait, ready; one more may be in the making.
        name: Of the thread.
    Raises:
        Whatever the thread met, in place of the item where it met it.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(most)
    stop = threading.Event()

    def hand_over(item: tuple[T] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            if all(hand_over((item,)) for item in items):
                hand_over(None)
        except BaseException as problem:  # handed to the consumer, who raises it
            hand_over(problem)

    producer = threading.Thread(target=produce, name=name, daemon=True)
    producer.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stop.set()
        producer.join()
