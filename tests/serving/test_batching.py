"""When a batch begins: where a wait would be wrong, it would last a minute."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("gradio", reason="needs the extra web, which make test-extras installs")
from alexnet.serving.batching import Batcher
from alexnet.serving.limits import Refusal
from alexnet.serving.metrics import Metrics

IMAGE = np.zeros((2, 2, 3), np.uint8)
MINUTE = 60.0


def sizes_of(
    use: Callable[[Batcher, Any], Awaitable[Any]], *, wait_seconds: float, largest: int = 8
) -> list[tuple[int, str]]:
    """The batches that are computed: images, and what is asked about them."""
    batches: list[tuple[int, str]] = []

    def compute(images: Sequence[NDArray[np.uint8]], what: str = "") -> list[int]:
        batches.append((len(images), what))
        if what == "broken":
            raise ValueError(what)
        return list(range(len(images)))

    async def run() -> None:
        batcher = Batcher(Metrics(), largest=largest, wait_seconds=wait_seconds, queue=20)
        try:
            async with asyncio.timeout(MINUTE / 2):
                await use(batcher, compute)
        finally:
            batcher.close()

    asyncio.run(run())
    return batches


async def ask_in_turns(batcher: Batcher, compute: Any, *each: Any) -> None:
    """Several clients, one after the other, none of whom waits for an answer of the others."""
    tasks = []
    for arguments in each:
        tasks.append(asyncio.create_task(batcher.ask(compute, [IMAGE], *arguments)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)


def test_one_client_alone_is_computed_at_once() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        for _ in range(3):
            assert await batcher.ask(compute, [IMAGE]) == [0]

    assert sizes_of(use, wait_seconds=MINUTE) == [(1, "")] * 3


def test_as_many_as_the_last_time_are_waited_for() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        assert await batcher.ask(compute, [IMAGE] * 3) == [0, 1, 2]
        await ask_in_turns(batcher, compute, (), (), ())

    assert sizes_of(use, wait_seconds=MINUTE) == [(3, ""), (3, "")]


def test_two_halves_become_a_whole() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        first, second = (asyncio.create_task(batcher.ask(compute, [IMAGE] * 2)) for _ in range(2))
        await first
        await asyncio.gather(second, batcher.ask(compute, [IMAGE] * 2))

    assert sizes_of(use, wait_seconds=MINUTE) == [(2, ""), (4, "")]


def test_those_who_do_not_come_back_are_waited_for_only_once() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        for count in (3, 1, 1):
            await batcher.ask(compute, [IMAGE] * count)

    assert sizes_of(use, wait_seconds=0.01) == [(3, ""), (1, ""), (1, "")]


def test_an_image_waits_for_those_that_are_on_their_way() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        with batcher.arriving():
            first = asyncio.create_task(batcher.ask(compute, [IMAGE]))
            await asyncio.sleep(0.01)
            second = asyncio.create_task(batcher.ask(compute, [IMAGE]))
            await asyncio.sleep(0)
        await asyncio.gather(first, second)

    assert sizes_of(use, wait_seconds=MINUTE) == [(2, "")]


def test_those_who_come_and_ask_nothing_hold_nobody_up() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        await batcher.ask(compute, [IMAGE] * 3)
        waiting = asyncio.create_task(batcher.ask(compute, [IMAGE]))
        while not waiting.done():
            with batcher.arriving():
                await asyncio.sleep(0.001)

    assert sizes_of(use, wait_seconds=0.1) == [(3, ""), (1, "")]


def test_a_batch_is_of_one_kind_and_no_larger_than_it_may_be() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        asks = [batcher.ask(compute, [IMAGE] * count, what) for count, what in ((5, "a"), (1, "b"), (2, "a"))]
        assert await asyncio.gather(*asks) == [[0, 1, 2, 3, 0], [0], [1, 2]]

    assert sizes_of(use, wait_seconds=0.01, largest=4) == [(4, "a"), (3, "a"), (1, "b")]


def test_a_computation_that_fails_tells_those_who_asked_and_the_next_goes_on() -> None:
    async def use(batcher: Batcher, compute: Any) -> None:
        with pytest.raises(ValueError, match="broken"):
            await batcher.ask(compute, [IMAGE] * 2, "broken")
        assert await batcher.ask(compute, [IMAGE], "whole") == [0]
        with pytest.raises(Refusal, match="too many pictures are waiting"):
            await batcher.ask(compute, [IMAGE] * 21)

    assert sizes_of(use, wait_seconds=0.01) == [(2, "broken"), (1, "whole")]
