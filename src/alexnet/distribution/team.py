"""The processes of a training as the rest of the program sees them. Here: one alone; `processes` has several."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.share import Share
from alexnet.distribution.axis import Axis
from alexnet.network.alexnet import AlexNet
from alexnet.network.spec import Spec

T = TypeVar("T")


class Team:
    """One process, which leads itself."""

    leads = True
    """Whether this process writes files and speaks to the user."""
    index = 0
    """Number of this process."""
    count = 1
    """Processes in all."""
    data: Axis | None = None
    """Processes with the other shares of every batch."""
    divided: frozenset[str] = frozenset()
    """Parameters of which none of these holds a copy, since they are divided among them."""

    def describe(self) -> dict[str, Any]:
        """Return what a run folder records of the processes."""
        return {}

    def check_spec(self, spec: Spec) -> None:
        """Refuse a network that cannot be divided as it should be."""

    def share(self, most: int | None) -> Share:
        """Return this process's share of every batch, to be computed in parts of at most so many images."""
        return Share(most=most)

    def choose_threads(self, threads: int | None) -> int | None:
        """Return the threads of this process, where the user gives none."""
        return threads

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set in any process."""
        return flags

    def together(self, work: Callable[[], T]) -> T:
        """Do something in every process; if it fails in one with an AlexNetError or OSError, it fails in all."""
        return work()

    def from_leader(self, work: Callable[[], T]) -> T:
        """Do something in the leader and return what it returns, a JSON value; if it fails, it fails in all."""
        return work()

    def collect(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, in their order."""
        return [value]

    def collect_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of all processes, each of which may have another number, one below the other."""
        return np.asarray(rows)

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse processes that disagree about what they are to do."""

    def divide(self, network: AlexNet) -> AlexNet:
        """Return the part of a network that this process computes."""
        return network

    def sum_parts(self, name: str, values: Tensor) -> Tensor:
        """Return values summed over the processes that hold the parts of a parameter."""
        return values

    def whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters, or velocities, by name in one piece, in the leader; in others, anything."""
        return tensors

    def own(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's part of what `whole` returned."""
        return tensors


ALONE = Team()
