"""Copies to a GPU while it computes, ordered by events.

Three parties share a batch. The copying stream reads host memory and writes device memory; the computing stream reads
that; the background thread refills the host memory. Each waits for what it depends on, and for nothing else.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Sent(NamedTuple):
    """Tensors of the device that a copy fills, and the event behind it."""

    tensors: tuple[Tensor, ...]
    arrived: Any


class SideStream:
    """A stream of a CUDA device for copies to it, out of numbered places in pinned host memory."""

    def __init__(self, device: torch.device, places: int, *, streams: Any = torch.cuda) -> None:
        """Make the stream.

        Args:
            places: Pinned buffers that are filled and copied in turn.
            streams: Stream, Event, stream and current_stream, as of torch.cuda.
        """
        self._device, self._streams = device, streams
        self._stream = streams.Stream(device)
        self._left: list[Any] = [None] * places

    def wait_until_left(self, place: int) -> None:
        """Wait until the last copy out of a place has ended, so that it may be filled again."""
        if self._left[place] is not None:
            self._left[place].synchronize()

    def send(self, place: int, tensors: Sequence[Tensor]) -> Sent:
        """Begin to copy pinned tensors, the memory of a place among them."""
        with self._streams.stream(self._stream):
            copies = tuple(each.to(self._device, non_blocking=True) for each in tensors)
            arrived = self._streams.Event(blocking=True)  # a thread that waits does not spin
            arrived.record(self._stream)
        self._left[place] = arrived
        return Sent(copies, arrived)

    def receive(self, sent: Sent) -> tuple[Tensor, ...]:
        """Return the copies to the thread that computes: what it launches from here on waits for them on the device."""
        computing = self._streams.current_stream(self._device)
        computing.wait_event(sent.arrived)
        for each in sent.tensors:  # made on the copying stream: their memory is not given away while this one reads it
            each.record_stream(computing)
        return sent.tensors
