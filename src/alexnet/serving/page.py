"""The page for people: Gradio keeps the sessions and carries the events, the HTML is in assets/.

An answer is one piece of HTML with its picture in it, so it stands under no other, whatever arrives when. Nothing on
the page comes from elsewhere, and no picture is written to the disk.
"""

import asyncio
import base64
import binascii
import csv
import functools
import io
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio
import jinja2
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from alexnet.errors import AlexNetError, ImageError
from alexnet.interpretation.maps import find_scale
from alexnet.retrieval.querying import Hit
from alexnet.serving.answers import WHY
from alexnet.serving.application import Service, explain_path
from alexnet.serving.corrections import Corrections
from alexnet.serving.examples import Example
from alexnet.serving.limits import Refusal
from alexnet.serving.pictures import crop, describe_places, embed, paint_heat, paint_maps, shrink
from alexnet.serving.uploads import Upload
from alexnet.text.wording import counted, say_views

NEIGHBORS = 6
VIEWS = 10
MOST_ROWS = 200
"""Pictures in the table of a visitor; of more, the oldest go."""
MOST_KEPT = 2000
"""Pictures that are kept for all visitors together; of more, the pixels of the oldest go."""
THUMBNAIL_PX = 96
SESSION_SECONDS = 3600
_IDLE_SECONDS = 0.02
"""How often Gradio looks for events of the page. Its own millisecond takes a twentieth of a core, from the network."""


@dataclass(slots=True)
class Picture:
    """A picture that somebody asked about, with everything that was found out about it so far."""

    number: int
    name: str
    pixels: NDArray[np.uint8] | None = None
    problem: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    truth: Example | None = None
    """The example that it is."""
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
class Session:
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


class Page:
    """The page of a service."""

    def __init__(
        self, service: Service, *, examples: Sequence[Example] = (), corrections: Corrections | None = None
    ) -> None:
        self._service, self._answers = service, service.answers
        self._examples, self._corrections = examples, corrections
        self._kept: deque[Picture] = deque()
        names, titles = self._answers.class_names, self._answers.class_titles
        self._titles = dict(zip(names, titles, strict=True))
        self._names = {title: name for name, title in reversed(self._titles.items())}
        templates = jinja2.FileSystemLoader(str(resources.files("alexnet.serving") / "assets"))
        self._templates = jinja2.Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        self._templates.filters["percent"] = lambda rate: f"{100 * rate:.1f} %"

    def build(self) -> gradio.Blocks:
        """Return the page for Gradio to serve."""
        limits = self._service.limits
        html = functools.partial(gradio.HTML, apply_default_css=False)
        with gradio.Blocks(title=self._answers.title, analytics_enabled=False, fill_width=True) as blocks:
            session = gradio.State(Session(), time_to_live=SESSION_SECONDS)
            html(self._write_head(), js_on_load=None)
            with gradio.Row(elem_id="columns"):
                with gradio.Column(scale=2, min_width=300):
                    drop = html(
                        self._render("drop.html", most=limits.max_files),
                        js_on_load=_read("drop.js").replace("MAX_BYTES", str(limits.max_bytes * 3 // 4 - 2**16)),
                        elem_id="drop",
                    )
                    table = html("", js_on_load=_read("table.js"), elem_id="table")
                    offered = html(self._write_examples(), js_on_load=_read("table.js"), elem_id="examples")
                with gradio.Column(scale=3, min_width=300):
                    result = html(self._render("empty.html"), js_on_load=_read("result.js"), elem_id="result")
            shared: dict[str, Any] = {
                "inputs": session,
                "show_progress": "hidden",
                "trigger_mode": "multiple",
                "concurrency_limit": None,
                "api_visibility": "private",
            }
            drop.pictures(self.receive, outputs=[table, result], **shared)
            offered.choose(self.try_example, outputs=[table, result], **shared)
            table.choose(self.choose, outputs=[table, result], **shared)
            for event, handler in (
                (result.explain, self.explain),
                (result.layer, self.show_layer),
                (result.correct, self.correct),
            ):
                event(handler, outputs=[result], **shared)
        page: gradio.Blocks = blocks.queue(max_size=limits.queue)
        page._queue.sleep_when_free = _IDLE_SECONDS
        return page

    async def receive(self, session: Session, event: gradio.EventData) -> AsyncIterator[tuple[Any, Any]]:
        """Look at the pictures that were dropped, chosen, pasted or photographed."""
        given = event._data.get("files", [])[: self._service.limits.max_files]
        uploads = [_decode_upload(each) for each in given]
        if not uploads:
            return
        pictures = [session.add(upload.name) for upload in uploads]
        session.shown = pictures[0]
        yield gradio.skip(), self._render("busy.html", names=[picture.name for picture in pictures])
        decoded = await asyncio.gather(*map(self._service.decode, uploads))
        async for update in self._look(session, pictures, decoded):
            yield update

    async def try_example(self, session: Session, event: gradio.EventData) -> AsyncIterator[tuple[Any, Any]]:
        """Look at an example."""
        example = self._examples[int(event._data["number"]) % len(self._examples)]
        picture = session.add(example.name)
        picture.truth = example
        session.shown = picture
        async for update in self._look(session, [picture], [example.pixels]):
            yield update

    async def _look(
        self, session: Session, pictures: Sequence[Picture], decoded: Sequence[NDArray[np.uint8] | ImageError]
    ) -> AsyncIterator[tuple[Any, Any]]:
        options = self._service.options
        good = []
        for picture, pixels in zip(pictures, decoded, strict=True):
            if isinstance(pixels, ImageError):
                picture.problem = str(pixels)
            else:
                self._keep(picture, pixels)
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
        if session.shown is pictures[0] and pictures[0].problem and good:
            session.shown = good[0]
        shown = session.shown
        yield self._write_table(session), self._write_result(shown)
        if shown is not None and shown in pictures:
            async for text in self._find_out(session, shown):
                yield self._write_table(session), text

    def _keep(self, picture: Picture, pixels: NDArray[np.uint8]) -> None:
        picture.pixels = pixels
        self._kept.append(picture)
        if len(self._kept) > MOST_KEPT:
            oldest = self._kept.popleft()
            oldest.pixels = oldest.heat = oldest.activation = None
            oldest.problem = f"{oldest.name} is not kept any more. Drop it again."

    async def choose(self, session: Session, event: gradio.EventData) -> AsyncIterator[tuple[Any, Any]]:
        """Show a picture of the table."""
        picture = session.find(event._data.get("number"))
        if picture is None:
            return
        session.shown = picture
        yield self._write_table(session), self._write_result(picture)
        async for text in self._find_out(session, picture):
            yield gradio.skip(), text

    async def _find_out(self, session: Session, picture: Picture) -> AsyncIterator[str]:
        """Compute what is not known yet of a picture; each step is shown only while the picture still is."""
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
            if session.shown is not picture:
                return
            yield self._write_result(picture)

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

    async def explain(self, session: Session, event: gradio.EventData) -> AsyncIterator[Any]:
        """Show where a class is decided, in the picture that is shown."""
        picture = session.find(event._data.get("number"))
        chosen, method = event._data.get("class"), event._data.get("method")
        if picture is None or not picture.answer or picture.pixels is None or picture is not session.shown:
            return
        if chosen in self._titles:
            picture.chosen, picture.heat = chosen, None
        if method in WHY:
            picture.method, picture.heat = method, None
        yield self._write_result(picture)
        async for text in self._find_out(session, picture):
            yield text

    async def show_layer(self, session: Session, event: gradio.EventData) -> AsyncIterator[Any]:
        """Show what a layer makes of the picture that is shown."""
        picture, layer = session.find(event._data.get("number")), str(event._data.get("layer"))
        if picture is None or picture.pixels is None or layer not in self._layers():
            return
        try:
            (activation,) = await self._ask(self._answers.activations, [picture.pixels], layer)
            picture.layer, picture.activation = layer, activation
        except Refusal as refusal:
            picture.note = refusal.sentence
        if session.shown is picture:
            yield self._write_result(picture)

    async def correct(self, session: Session, event: gradio.EventData) -> AsyncIterator[Any]:
        """Write down what a picture really is."""
        picture, said = session.find(event._data.get("number")), str(event._data.get("label", ""))
        if self._corrections is None or picture is None or picture.pixels is None or not picture.answer:
            return
        label = said.strip()
        label = self._names.get(label, label)
        add = self._corrections.add
        answer = picture.answer
        try:
            await asyncio.to_thread(
                add,
                picture.pixels,
                label,
                predicted=answer["class"],
                probability=answer["probability"],
                name=picture.name,
            )
            picture.note = f"Noted: it is {self._titles.get(label, label)}."
        except (AlexNetError, OSError) as problem:
            picture.note = f"Not noted: {getattr(problem, 'strerror', None) or problem}"
        if session.shown is picture:
            yield self._write_result(picture)

    async def _ask(self, computation: Any, images: Sequence[Any], *arguments: Any) -> list[Any]:
        return await self._service.batcher.ask(computation, images, *arguments)

    def _layers(self) -> tuple[str, ...]:
        return self._answers.shown.network.activation_names()

    def _write_head(self) -> str:
        answers = self._answers
        classes = counted(len(answers.class_names), "class", "classes")
        network = answers.shown.network.spec.dialect
        return self._render(
            "head.html",
            title=answers.title,
            classes=classes,
            views=say_views(self._service.options.views),
            network=network,
        )

    def _write_examples(self) -> str:
        shown = [
            {"number": number, "title": example.title, "image": embed(shrink(example.pixels, THUMBNAIL_PX))}
            for number, example in enumerate(self._examples)
        ]
        return self._render("examples.html", examples=shown)

    def _write_table(self, session: Session) -> str:
        done = [picture for picture in session.pictures if picture.answer or picture.problem]
        if len(done) < 2:
            return ""
        rows = [
            {
                "picture": picture,
                "image": embed(shrink(picture.pixels, THUMBNAIL_PX)) if picture.pixels is not None else "",
            }
            for picture in reversed(done)
        ]
        return self._render("table.html", rows=rows, shown=session.shown, csv=_write_csv(done))

    def _write_result(self, picture: Picture | None) -> str:
        if picture is None:
            return self._render("empty.html")
        if not picture.answer or picture.pixels is None:
            return self._render("problem.html", picture=picture)
        answers = self._answers
        center = crop(picture.pixels, answers.places(1)[0], answers.crop_px)
        return self._render(
            "result.html",
            picture=picture,
            image=embed(picture.pixels),
            image_px=answers.image_px,
            crop_px=answers.crop_px,
            center=embed(center),
            heat=embed(paint_heat(center, picture.heat)) if picture.heat is not None else "",
            chosen=self._titles[picture.chosen],
            bright=WHY[picture.method].bright,
            methods=list(WHY),
            views=self._describe_views(picture),
            has_index=answers.index is not None,
            neighbors=self._describe_neighbors(picture),
            layers=self._layers(),
            plates=self._describe_activation(picture),
            towers=answers.shown.network.spec.towers,
            member=answers.shown.path if answers.shown is not answers.model else "",
            takes_corrections=self._corrections is not None,
            titles=list(self._names),
        )

    def _describe_views(self, picture: Picture) -> dict[str, Any] | None:
        if picture.views is None or picture.pixels is None:
            return None
        answers = self._answers
        titles, places = answers.shown.class_titles, answers.places(VIEWS)
        best, overall = picture.views.argmax(1), int(picture.views.mean(0).argmax())
        each = [
            {
                "place": words,
                "image": embed(crop(picture.pixels, place, answers.crop_px)),
                "title": titles[int(label)],
                "probability": float(row[label]),
                "differs": int(label) != overall,
            }
            for words, place, label, row in zip(describe_places(places), places, best, picture.views, strict=True)
        ]
        agreeing = int((best == overall).sum())
        return {
            "each": each,
            "title": titles[overall],
            "probability": float(picture.views.mean(0)[overall]),
            "agreeing": agreeing,
            "all": len(each),
        }

    def _describe_neighbors(self, picture: Picture) -> list[dict[str, Any]] | None:
        if picture.neighbors is None:
            return None
        described = []
        for hit in picture.neighbors:
            pixels = self._answers.read_neighbor(hit)
            described.append(
                {
                    "image": embed(shrink(pixels, 2 * THUMBNAIL_PX)) if pixels is not None else "",
                    "title": hit.entry.title or "no class",
                    "differs": hit.entry.label is not None and hit.entry.label != picture.answer["class"],
                    "distance": f"{hit.distance:#.3g}".rstrip("."),
                    "path": hit.entry.path.replace("\\", "/").rpartition("/")[2],
                }
            )
        return described

    def _describe_activation(self, picture: Picture) -> dict[str, Any] | None:
        if picture.activation is None:
            return None
        values = picture.activation
        towers = self._answers.shown.network.spec.towers
        if picture.layer.partition(".")[0] == self._answers.shown.network.spec.layers[-1].name:
            towers = 1
        silent = int((values.reshape(len(values), -1) == 0).all(1).sum())
        return {
            "shape": " × ".join(map(str, values.shape)),
            "what": "units" if values.ndim == 1 else "maps",
            "silent": silent,
            "count": len(values),
            "end": f"{find_scale(values)[0]:.3g}",
            "plates": [
                {"tower": "abcdefgh"[number] if towers > 1 else "", "image": embed(plate, lossless=True)}
                for number, plate in enumerate(paint_maps(values, towers))
            ],
        }

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(values)


def _decode_upload(given: Any) -> Upload:
    name = str(given.get("name", ""))[:200] or "the picture"
    name = "".join(letter for letter in name if letter.isprintable())
    try:
        return Upload(name, base64.b64decode(given.get("base64", ""), validate=True))
    except (binascii.Error, ValueError):
        return Upload(name, b"", f"{name}: did not arrive whole. Send it again.")


def _write_csv(pictures: Sequence[Picture]) -> str:
    text = io.StringIO()
    most = max((len(picture.answer.get("top", ())) for picture in pictures), default=0)
    head = [
        "name",
        "error",
        *(f"{what}_{place}" for place in range(1, most + 1) for what in ("class", "title", "probability")),
    ]
    measured = ("unknown", "distance") if any("distance" in picture.answer for picture in pictures) else ()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head[:2], *measured, *head[2:]])
    for picture in pictures:
        cells = [
            cell
            for row in picture.answer.get("top", ())
            for cell in (row["name"], row["title"], f"{row['probability']:.6f}")
        ]
        writer.writerow([picture.name, picture.problem, *(picture.answer.get(name, "") for name in measured), *cells])
    return "data:text/csv;base64," + base64.b64encode(text.getvalue().encode()).decode("ascii")


def _read(asset: str) -> str:
    return (resources.files("alexnet.serving") / "assets" / asset).read_text(encoding="utf-8")


def mount_page(
    application: FastAPI,
    service: Service,
    *,
    examples: Sequence[Example] = (),
    corrections: Corrections | None = None,
) -> None:
    """Add the page at / to an application."""
    os.environ.setdefault("GRADIO_TEMP_DIR", tempfile.gettempdir())
    page = Page(service, examples=examples, corrections=corrections)
    gradio.mount_gradio_app(
        application,
        page.build(),
        path="/",
        root_path=service.options.root_path or None,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        max_file_size=service.limits.max_bytes,
        theme=gradio.themes.Base(font="system-ui", font_mono="ui-monospace"),
        css=_read("page.css"),
    )
    mounted = application.routes[-1]
    assert isinstance(mounted, Mount)
    assert isinstance(mounted.app, FastAPI)
    mounted.app.add_exception_handler(HTTPException, explain_path)
