"""Copies to a GPU wait for what they depend on, in the right order; checked with streams that only write down."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from alexnet.batches.loader import TrainingBatches
from alexnet.batches.side_stream import Sent, SideStream
from alexnet.recipes.fields import Batches

GPU = torch.device("cuda:0")


class Streams:
    """A stand-in for torch.cuda: what is asked of streams, events and tensors, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.events = 0
        self.within = "computing"

    def Stream(self, device: torch.device) -> "Stream":  # noqa: N802 - as torch.cuda calls it
        return Stream(self, "copying")

    def current_stream(self, device: torch.device) -> "Stream":
        return Stream(self, "computing")

    def Event(self, *, blocking: bool) -> "Event":  # noqa: N802
        assert blocking
        self.events += 1
        return Event(self, f"event {self.events}")

    @contextmanager
    def stream(self, stream: "Stream") -> Iterator[None]:
        before, self.within = self.within, stream.name
        yield
        self.within = before


class Stream:
    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name

    def wait_event(self, event: "Event") -> None:
        self.streams.said.append(f"{self.name} waits for {event.name}")


class Event:
    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name

    def record(self, stream: Stream) -> None:
        self.streams.said.append(f"{self.name} on {stream.name}")

    def synchronize(self) -> None:
        self.streams.said.append(f"host waits for {self.name}")


class Pinned:
    """A tensor that writes down who copies it and who uses the copy."""

    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name

    def to(self, device: torch.device, *, non_blocking: bool) -> "Pinned":
        assert device == GPU
        assert non_blocking
        self.streams.said.append(f"{self.name} copied on {self.streams.within}")
        return Pinned(self.streams, f"copy of {self.name}")

    def record_stream(self, stream: Stream) -> None:
        self.streams.said.append(f"{self.name} used on {stream.name}")


def test_a_copy_is_followed_by_an_event_that_computing_and_refilling_wait_for() -> None:
    streams = Streams()
    side = SideStream(GPU, 2, streams=streams)
    side.wait_until_left(0)
    sent = side.send(0, (Pinned(streams, "inputs"), Pinned(streams, "labels")))  # type: ignore[arg-type]
    copies: Any = side.receive(sent)
    side.wait_until_left(1)
    side.wait_until_left(0)
    assert [each.name for each in copies] == ["copy of inputs", "copy of labels"]
    assert streams.said == [
        "inputs copied on copying",
        "labels copied on copying",
        "event 1 on copying",
        "computing waits for event 1",
        "copy of inputs used on computing",
        "copy of labels used on computing",
        "host waits for event 1",
    ]


class Slow:
    """A side stream whose copies are made as late as may be: when the host or the computing stream waits for them."""

    def __init__(self, places: int) -> None:
        self.under_way: dict[int, Sent] = {}
        self.places, self.sent = places, 0

    def wait_until_left(self, place: int) -> None:
        if place in self.under_way:
            self._copy(self.under_way.pop(place))

    def send(self, place: int, tensors: tuple[torch.Tensor, ...]) -> Sent:
        assert place not in self.under_way
        assert place == self.sent % self.places
        self.sent += 1
        self.under_way[place] = Sent(tuple(map(torch.empty_like, tensors)), [*tensors])
        return self.under_way[place]

    def receive(self, sent: Sent) -> tuple[torch.Tensor, ...]:
        self._copy(sent)
        return sent.tensors

    def _copy(self, sent: Sent) -> None:
        for copy, tensor in zip(sent.tensors, sent.arrived, strict=True):
            copy.copy_(tensor)
        sent.arrived[:] = sent.tensors  # once


def test_batches_are_the_same_however_late_they_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    images = list(np.random.default_rng(0).integers(0, 256, (47, 16, 16, 3), dtype=np.uint8))

    def make() -> TrainingBatches:
        return TrainingBatches(
            images, np.arange(47) % 5, np.full((16, 16, 3), 100.0, np.float32), Batches(size=3), seed=1, crop_px=12,
            color_axes=np.eye(3), dtype=torch.float32, device=torch.device("cpu"),
        )  # fmt: skip

    expected = [tuple(tensor.clone() for tensor in batch.tensors) for batch in make().epoch(0)]
    late = make()
    late._side = Slow(len(late._buffers))  # type: ignore[assignment]
    found = [batch.tensors for batch in late.epoch(0)]  # kept without a copy: these are the device's own
    assert len(found) == len(expected) == 16
    for one, other in zip(found, expected, strict=True):
        assert all(map(torch.equal, one, other))
