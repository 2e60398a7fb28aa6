"""Finding out about pictures for the page, step by step; what is shown changes only while its picture is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import AlexNetError, ImageError
from alexnet.serving.answers import WHY, join_labels
from alexnet.serving.application import Service
from alexnet.serving.corrections import Corrections
from alexnet.serving.limits import Refusal
from alexnet.serving.markup import VIEWS
from alexnet.serving.visit import Kept, Picture, Visit

NEIGHBORS = 6


class Inspection:
    """What a service is asked about the pictures of all visitors. Nothing is computed twice."""

    def __init__(self, service: Service, corrections: Corrections | None) -> None:
        self._service, self._answers, self._corrections = service, service.answers, corrections
        self._kept = Kept()

    async def classify(
        self, visit: Visit, pictures: Sequence[Picture], decoded: Sequence[NDArray[np.uint8] | ImageError]
    ) -> None:
        """Find the classes of new pictures, or what is wrong with them; the first good one is shown."""
        options = self._service.options
        good = []
        for picture, pixels in zip(pictures, decoded, strict=True):
            if isinstance(pixels, ImageError):
                picture.problem = str(pixels)
            else:
                self._kept.add(picture, pixels)
                good.append(picture)
        try:
            images = [picture.pixels for picture in good]
            found = await self._ask(self._answers.predict, images, options.views) if good else []
            for picture, prediction in zip(good, found, strict=True):
                picture.answer = self._answers.describe(prediction, options.top)
                picture.chosen = picture.answer["class"]
        except Refusal as refusal:
            for picture in good:
                picture.problem = f"{picture.name}: {refusal.sentence}"
        if visit.shown is pictures[0] and pictures[0].problem and good:
            visit.shown = good[0]

    async def complete(self, visit: Visit, picture: Picture) -> AsyncIterator[None]:
        """Find what is not known yet of a picture: after each step, while it still is the one that is shown."""
        if not picture.answer or picture.pixels is None:
            return
        steps = [self._find_why, self._find_views]
        if self._answers.index is not None:
            steps.append(self._find_neighbors)
        for step in steps:
            try:
                await step(picture)
            except Refusal as refusal:
                picture.note = refusal.sentence
            if visit.shown is not picture:
                return
            yield

    def choose_reason(self, picture: Picture, class_name: Any, method: Any) -> None:
        """Let `complete` find where another class is decided, or by another method; either may be unknown."""
        if class_name in self._answers.titles:
            picture.chosen, picture.heat = class_name, None
        if method in WHY:
            picture.method, picture.heat = method, None

    async def find_activation(self, picture: Picture, layer: str) -> None:
        """Find what a layer makes of a picture."""
        try:
            (activation,) = await self._ask(self._answers.activations, [picture.pixels], layer)
            picture.layer, picture.activation = layer, activation
        except Refusal as refusal:
            picture.note = refusal.sentence

    async def correct(self, picture: Picture, said: str) -> None:
        """Write down what a picture really is: a class by its name or title, or a new one."""
        if self._corrections is None or picture.pixels is None or not picture.answer:
            return
        titles = self._answers.titles
        label = said.strip()
        label = next((name for name, title in titles.items() if title == label), label)
        try:
            await asyncio.to_thread(
                self._corrections.add,
                picture.pixels,
                label,
                predicted=join_labels(picture.answer),
                probability=picture.answer["probability"],
                name=picture.name,
            )
            picture.note = f"Noted: it is {titles.get(label, label)}."
        except (AlexNetError, OSError) as problem:
            picture.note = f"Not noted: {getattr(problem, 'strerror', None) or problem}"

    async def _find_why(self, picture: Picture) -> None:
        asked = (picture.method, picture.chosen)
        if picture.heat is None:
            (heat,) = await self._ask(self._answers.why, [picture.pixels], *asked)
            if (picture.method, picture.chosen) == asked:
                picture.heat = heat

    async def _find_views(self, picture: Picture) -> None:
        if picture.views is None:
            (picture.views,) = await self._ask(self._answers.view_probabilities, [picture.pixels], VIEWS)

    async def _find_neighbors(self, picture: Picture) -> None:
        if picture.neighbors is None:
            (picture.neighbors,) = await self._ask(self._answers.neighbors, [picture.pixels], NEIGHBORS)

    async def _ask(self, computation: Any, images: Sequence[Any], *arguments: Any) -> list[Any]:
        return await self._service.batcher.ask(computation, images, *arguments)
