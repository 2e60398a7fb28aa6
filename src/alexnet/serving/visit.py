"""What one visitor of the page asked about, and what was found out so far; pixels are kept for a while only."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.retrieval.querying import Hit
from alexnet.serving.answers import WHY
from alexnet.serving.examples import Example

MOST_ROWS = 200
"""Pictures in the table of a visitor; of more, the oldest go."""
MOST_KEPT = 2000
"""Pictures that are kept for all visitors together; of more, the pixels of the oldest go."""


@dataclass(slots=True)
class Picture:
    """A picture that somebody asked about, with everything that was found out about it so far."""

    number: int
    name: str
    pixels: NDArray[np.uint8] | None = None
    problem: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    truth: Example | None = None
    """The example that it is, if it is one."""
    chosen: str = ""
    """The class whose reason is shown."""
    method: str = next(iter(WHY))
    heat: NDArray[np.float32] | None = None
    views: NDArray[np.float32] | None = None
    neighbors: list[Hit] | None = None
    layer: str = ""
    activation: NDArray[np.float32] | None = None
    note: str = ""
    """What came of a correction."""


@dataclass(slots=True)
class Visit:
    """What one visitor sees."""

    pictures: list[Picture] = field(default_factory=list)
    count: int = 0
    shown: Picture | None = None

    def add(self, name: str) -> Picture:
        """Return a new picture."""
        self.count += 1
        picture = Picture(self.count, name)
        self.pictures = [*self.pictures, picture][-MOST_ROWS:]
        return picture

    def find(self, number: Any) -> Picture | None:
        """Return a picture by its number."""
        return next((picture for picture in self.pictures if picture.number == number), None)


class Kept:
    """The pictures of all visitors that have pixels, so that memory is bounded."""

    def __init__(self) -> None:
        self._pictures: deque[Picture] = deque()

    def add(self, picture: Picture, pixels: NDArray[np.uint8]) -> None:
        """Give a picture its pixels; where there are too many, the oldest picture loses its own."""
        picture.pixels = pixels
        self._pictures.append(picture)
        if len(self._pictures) > MOST_KEPT:
            oldest = self._pictures.popleft()
            oldest.pixels = oldest.heat = oldest.activation = None
            oldest.problem = f"{oldest.name} is not kept any more. Drop it again."
