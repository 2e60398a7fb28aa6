"""The page for people: Gradio keeps the visits and carries the events.

Nothing on the page comes from elsewhere, and no picture is written to the disk unless somebody corrects it.
"""

import asyncio
import base64
import binascii
import functools
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from alexnet.errors import ImageError
from alexnet.serving.application import Service, explain_paths
from alexnet.serving.corrections import Corrections
from alexnet.serving.examples import Example
from alexnet.serving.inspection import Inspection
from alexnet.serving.markup import Markup, read_asset
from alexnet.serving.uploads import Upload
from alexnet.serving.visit import Picture, Visit

VISIT_SECONDS = 3600
_IDLE_SECONDS = 0.02
"""How often Gradio looks for events of the page. Its own millisecond takes a twentieth of a core, from the network."""


class Page:
    """The page of a service: its parts, and what happens on an event."""

    def __init__(
        self, service: Service, *, examples: Sequence[Example] = (), corrections: Corrections | None = None
    ) -> None:
        self._service, self._examples = service, examples
        self._inspection = Inspection(service, corrections)
        self._markup = Markup(service.answers, takes_corrections=corrections is not None)

    def build(self) -> gradio.Blocks:
        """Return the page for Gradio to serve."""
        limits, markup = self._service.limits, self._markup
        html = functools.partial(gradio.HTML, apply_default_css=False)
        with gradio.Blocks(title=self._service.answers.title, analytics_enabled=False, fill_width=True) as blocks:
            visit = gradio.State(Visit(), time_to_live=VISIT_SECONDS)
            html(markup.write_head(self._service.options.views), js_on_load=None)
            with gradio.Row(elem_id="columns"):
                with gradio.Column(scale=2, min_width=300):
                    most_bytes = limits.max_bytes * 3 // 4 - 2**16  # base64 takes 4 bytes for 3
                    drop = html(
                        markup.write_drop(limits.max_files),
                        js_on_load=read_asset("drop.js").replace("MAX_BYTES", str(most_bytes)),
                        elem_id="drop",
                    )
                    table = html("", js_on_load=read_asset("table.js"), elem_id="table")
                    examples = markup.write_examples(self._examples)
                    offered = html(examples, js_on_load=read_asset("table.js"), elem_id="examples")
                with gradio.Column(scale=3, min_width=300):
                    result = html(markup.write_result(None), js_on_load=read_asset("result.js"), elem_id="result")
            for event, handler, outputs in (
                (drop.pictures, self.receive, [table, result]),
                (offered.choose, self.try_example, [table, result]),
                (table.choose, self.choose, [table, result]),
                (result.explain, self.explain, [result]),
                (result.layer, self.show_layer, [result]),
                (result.correct, self.correct, [result]),
            ):
                event(
                    handler,
                    inputs=visit,
                    outputs=outputs,
                    show_progress="hidden",
                    trigger_mode="multiple",
                    concurrency_limit=None,
                    api_visibility="private",
                )
        page: gradio.Blocks = blocks.queue(max_size=limits.queue)
        page._queue.sleep_when_free = _IDLE_SECONDS
        return page

    async def receive(self, visit: Visit, event: gradio.EventData) -> AsyncIterator[tuple[Any, Any]]:
        """Look at the pictures that were dropped, chosen, pasted or photographed."""
        given = event._data.get("files", [])[: self._service.limits.max_files]
        uploads = [_decode_upload(each) for each in given]
        if not uploads:
            return
        pictures = [visit.add(upload.name) for upload in uploads]
        visit.shown = pictures[0]
        yield gradio.skip(), self._markup.write_busy(pictures)
        decoded = await asyncio.gather(*map(self._service.decode, uploads))
        async for update in self._look(visit, pictures, decoded):
            yield update

    async def try_example(self, visit: Visit, event: gradio.EventData) -> AsyncIterator[tuple[Any, Any]]:
        """Look at an example."""
        example = self._examples[int(event._data["number"]) % len(self._examples)]
        picture = visit.add(example.name)
        picture.truth = example
        visit.shown = picture
        async for update in self._look(visit, [picture], [example.pixels]):
            yield update

    async def _look(
        self, visit: Visit, pictures: Sequence[Picture], decoded: Sequence[NDArray[np.uint8] | ImageError]
    ) -> AsyncIterator[tuple[Any, Any]]:
        await self._inspection.classify(visit, pictures, decoded)
        shown = visit.shown
        yield self._markup.write_table(visit), self._markup.write_result(shown)
        if shown is not None and shown in pictures:
            async for _ in self._inspection.complete(visit, shown):
                yield self._markup.write_table(visit), self._markup.write_result(shown)

    async def choose(self, visit: Visit, event: gradio.EventData) -> AsyncIterator[tuple[Any, Any]]:
        """Show a picture of the table."""
        picture = visit.find(event._data.get("number"))
        if picture is None:
            return
        visit.shown = picture
        yield self._markup.write_table(visit), self._markup.write_result(picture)
        async for _ in self._inspection.complete(visit, picture):
            yield gradio.skip(), self._markup.write_result(picture)

    async def explain(self, visit: Visit, event: gradio.EventData) -> AsyncIterator[Any]:
        """Show where a class is decided, in the picture that is shown."""
        picture = visit.find(event._data.get("number"))
        if picture is None or not picture.answer or picture.pixels is None or picture is not visit.shown:
            return
        self._inspection.choose_reason(picture, event._data.get("class"), event._data.get("method"))
        yield self._markup.write_result(picture)
        async for _ in self._inspection.complete(visit, picture):
            yield self._markup.write_result(picture)

    async def show_layer(self, visit: Visit, event: gradio.EventData) -> AsyncIterator[Any]:
        """Show what a layer makes of the picture that is shown."""
        picture, layer = visit.find(event._data.get("number")), event._data.get("layer")
        if picture is None or picture.pixels is None or layer not in self._service.answers.layers:
            return
        await self._inspection.find_activation(picture, layer)
        if visit.shown is picture:
            yield self._markup.write_result(picture)

    async def correct(self, visit: Visit, event: gradio.EventData) -> AsyncIterator[Any]:
        """Write down what a picture really is."""
        picture = visit.find(event._data.get("number"))
        if picture is None:
            return
        await self._inspection.correct(picture, str(event._data.get("label", "")))
        if visit.shown is picture:
            yield self._markup.write_result(picture)


def _decode_upload(given: Any) -> Upload:
    name = str(given.get("name", ""))[:200] or "the picture"
    name = "".join(letter for letter in name if letter.isprintable())
    try:
        return Upload(name, base64.b64decode(given.get("base64", ""), validate=True))
    except (binascii.Error, ValueError):
        return Upload(name, b"", f"{name}: did not arrive whole. Send it again.")


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
        css=read_asset("page.css"),
    )
    mounted = application.routes[-1]
    assert isinstance(mounted, Mount)
    assert isinstance(mounted.app, FastAPI)
    mounted.app.add_exception_handler(HTTPException, explain_paths(has_index=service.answers.index is not None))
