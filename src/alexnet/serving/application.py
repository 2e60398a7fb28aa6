"""The addresses that answer programs; the page is mounted beside them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from alexnet.data.images.decode import decode_image
from alexnet.data.video.clip import Bounds, is_clip_data, open_clip
from alexnet.errors import AlexNetError, ConfigError, ImageError
from alexnet.evaluation.clips import EVERY_S, WINDOW_S, ClipPrediction, summarize_clip, take_pictures
from alexnet.evaluation.given import Picture
from alexnet.retrieval.querying import Hit
from alexnet.serving import metrics as prometheus
from alexnet.serving.answers import Answers
from alexnet.serving.batching import Batcher
from alexnet.serving.gate import Gate
from alexnet.serving.limits import Limits, Refusal
from alexnet.serving.metrics import Metrics
from alexnet.serving.schema import Features, Neighbors, Predictions, describe_upload
from alexnet.serving.uploads import Upload, read_uploads
from alexnet.startup import available_cores
from alexnet.version import __version__

NEIGHBORS_PATH = "/neighbours"
COMPUTING_PATHS = ("/predict", "/features", NEIGHBORS_PATH)
KNOWN_PATHS = (*COMPUTING_PATHS, "/health", "/ready", "/metrics", "/docs", "/openapi.json")
VIEWS = (1, 9, 10)
MOST_NEIGHBORS = 100
MOST_FRAMES = 128
"""Frames of a clip that are computed; the queue must have room for them."""
LEAST_EVERY = 0.1
"""Least time between frames of a clip, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the server answers."""

    views: int = 1
    """Views that are averaged unless a request says otherwise."""
    top: int = 5
    """Classes in an answer unless a request says otherwise."""
    largest_batch: int = 32
    batch_wait_seconds: float = 0.005
    """How long a batch waits for the next picture, where it is smaller than the last."""
    root_path: str = ""
    api_key: str | None = None


class Service:
    """A model that answers: what the addresses and the page call."""

    def __init__(self, answers: Answers, options: Options, limits: Limits) -> None:
        """Start the thread that computes; `close` ends it."""
        self.answers, self.options, self.limits = answers, options, limits
        self.metrics = Metrics()
        self.batcher = Batcher(
            self.metrics,
            largest=options.largest_batch,
            wait_seconds=options.batch_wait_seconds,
            queue=limits.queue,
        )
        self._decoders = ThreadPoolExecutor(available_cores(), thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads; whoever still waits is refused."""
        self.batcher.close()
        self._decoders.shutdown()

    async def warm_up(self) -> None:
        """Compute once, so that the first client does not wait for kernels to be compiled."""
        blank = np.zeros((self.answers.image_px, self.answers.image_px, 3), np.uint8)
        await self.batcher.ask(self.answers.predict, [blank], self.options.views)

    async def decode(self, upload: Upload) -> NDArray[np.uint8] | ImageError:
        """Return the picture of an upload as the model takes it, or why there is none."""
        if upload.problem is not None:
            return ImageError(upload.problem)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, self._decode, upload)

    def _decode(self, upload: Upload) -> NDArray[np.uint8] | ImageError:
        size, framing = self.answers.image_px, self.answers.extractor.framing
        most = self.limits.max_pixels
        try:
            return decode_image(upload.data, size=size, name=upload.name, framing=framing, max_pixels=most)
        except ImageError as problem:
            return problem

    async def predict_clip(self, upload: Upload, views: int, every: float) -> ClipPrediction | ImageError:
        """Return what is in a clip, or why nothing can be said.

        Raises:
            Refusal: the queue is full.
        """
        loop = asyncio.get_running_loop()
        with self.batcher.arriving():
            decoded = await loop.run_in_executor(self._decoders, self._decode_clip, upload, every)
        if isinstance(decoded, ImageError):
            return decoded
        frames, end_s = decoded
        pixels = [frame.pixels for frame in frames if isinstance(frame.pixels, np.ndarray)]
        found = await self.batcher.ask(self.answers.predict, pixels, views)
        named = [replace(each, source=frame.name) for each, frame in zip(found, frames, strict=True)]
        return summarize_clip(upload.name, named, every_s=every, window_s=WINDOW_S, end_s=end_s)

    def _decode_clip(self, upload: Upload, every: float) -> tuple[list[Picture], float | None] | ImageError:
        """Return the frames and where the clip ends."""
        limits = self.limits
        pixels = min(limits.max_pixels, limits.max_clip_pixels)
        bounds = Bounds(min(limits.max_clip_seconds, MOST_FRAMES * every), limits.max_clip_frames, pixels)
        try:
            clip = open_clip(upload.data, name=upload.name, bounds=bounds)
            frames = list(take_pictures(clip, every, self.answers.image_px, self.answers.extractor.framing))
            return frames, clip.end_s
        except ImageError as problem:
            return problem

    async def compute(self, computation: Any, uploads: Sequence[Upload], *arguments: Any) -> list[Any]:
        """Return what a computation of the batcher makes of each upload, an ImageError for those that are no picture.

        Raises:
            Refusal: the queue is full.
        """
        with self.batcher.arriving():
            pictures = await asyncio.gather(*map(self.decode, uploads))
        good = [picture for picture in pictures if not isinstance(picture, ImageError)]
        results = iter(await self.batcher.ask(computation, good, *arguments) if good else [])
        return [picture if isinstance(picture, ImageError) else next(results) for picture in pictures]


def build_application(service: Service) -> tuple[FastAPI, Gate]:
    """Return the application without the page, and the gate before it."""
    answers, options, limits = service.answers, service.options, service.limits
    app = FastAPIOffline(
        title=f"alexnet: {answers.title}",
        version=__version__,
        description='What a trained AlexNet sees in pictures. Errors are `{"error": sentence}`.',
        redoc_url=None,
    )
    gate = Gate(
        app,
        limits=limits,
        metrics=service.metrics,
        batcher=service.batcher,
        computing_paths=COMPUTING_PATHS,
        known_paths=KNOWN_PATHS,
        root_path=options.root_path,
        api_key=options.api_key,
    )

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)

    @app.exception_handler(ConfigError)
    async def misuse(request: Request, problem: ConfigError) -> Response:
        return JSONResponse({"error": str(problem)}, 400)

    @app.exception_handler(AlexNetError)
    async def fail(request: Request, problem: AlexNetError) -> Response:
        return JSONResponse({"error": str(problem)}, 500)

    app.add_exception_handler(HTTPException, explain_paths(has_index=answers.index is not None))

    @app.exception_handler(RequestValidationError)
    async def name_parameter(request: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        return JSONResponse({"error": f"{first['loc'][-1]} is {first['input']!r}: {first['msg']}. See /docs."}, 400)

    @app.exception_handler(ClientDisconnect)
    async def give_up(request: Request, problem: ClientDisconnect) -> Response:
        return Response(status_code=400)  # the client has left

    @app.post("/predict", **describe_upload("Classes of pictures", Predictions))
    async def predict(
        request: Request, views: int = options.views, top: int = options.top, every: float = EVERY_S
    ) -> Response:
        _check_choice("views", views, VIEWS)
        _check_range("top", top)
        if not LEAST_EVERY <= every <= limits.max_clip_seconds:
            raise Refusal(
                400, f"every is {every:g}; accepted is {LEAST_EVERY:g} to {limits.max_clip_seconds:g} seconds."
            )
        uploads = await read_uploads(request, limits)
        are_clips = [is_clip_data(upload.data) for upload in uploads]
        images = [upload for upload, is_clip in zip(uploads, are_clips, strict=True) if not is_clip]
        found = iter(await service.compute(answers.predict, images, views) if images else [])
        described: list[dict[str, Any] | ImageError] = []
        for upload, is_clip in zip(uploads, are_clips, strict=True):
            each = await service.predict_clip(upload, views, every) if is_clip else next(found)
            if isinstance(each, ClipPrediction):
                described.append({**answers.describe(each.mean, top), "moments": answers.describe_moments(each)})
            else:
                described.append(each if isinstance(each, ImageError) else answers.describe(each, top))
        return _answer({"model": answers.title, "views": views}, uploads, described)

    @app.post("/features", **describe_upload("Activations of a layer, flat", Features))
    async def features(request: Request, layer: str | None = None) -> Response:
        layer = layer or answers.extractor.choose_layer()
        shape, _ = answers.extractor.describe(layer)
        uploads = await read_uploads(request, limits)
        found = await service.compute(answers.features, uploads, layer)
        described = [each if isinstance(each, ImageError) else {"features": each.tolist()} for each in found]
        return _answer({"model": answers.title, "layer": layer, "shape": list(shape)}, uploads, described)

    if answers.index is not None:

        @app.post(NEIGHBORS_PATH, **describe_upload("The most alike pictures of the index", Neighbors))
        async def neighbors(request: Request, k: int = 6) -> Response:
            _check_range("k", k, MOST_NEIGHBORS)
            uploads = await read_uploads(request, limits)
            found = await service.compute(answers.neighbors, uploads, k)
            described = [
                each if isinstance(each, ImageError) else {"neighbours": [describe_hit(hit) for hit in each]}
                for each in found
            ]
            return _answer({"model": answers.title}, uploads, described)

    @app.get("/health", summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether a picture sent now would be computed")
    async def ready() -> Response:
        if gate.is_closing or not service.batcher.is_alive:
            raise Refusal(503, "the server ends. Ask again when it is back.", {"Retry-After": "5"})
        service.batcher.check_room()
        return JSONResponse({"status": "ready", "model": answers.title, "classes": len(answers.class_names)})

    @app.get("/metrics", summary="Counters in Prometheus' text format", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.write(), media_type=prometheus.CONTENT_TYPE)

    return app, gate


def explain_paths(*, has_index: bool) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return what answers a request for what is not there with a sentence."""
    known = [path for path in KNOWN_PATHS if has_index or path != NEIGHBORS_PATH]

    async def explain(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        path = request.scope["path"].removeprefix(request.scope["root_path"]) or "/"
        if path in KNOWN_PATHS and path not in known:
            sentence = f"there is no {path}. It needs an index of pictures: start the server with --index INDEX."
            return JSONResponse({"error": sentence}, 404)
        status = problem.status_code
        if status == 404 and path in COMPUTING_PATHS and request.method != "POST":
            status = 405  # the 404 is of the page, which gets all other requests
        sentences = {
            404: f"there is no {path}. Known: / and {', '.join(known)}.",
            405: f"{path} does not answer {request.method}. See /docs.",
        }
        return JSONResponse({"error": sentences.get(status, problem.detail)}, status, problem.headers)

    return explain


def describe_hit(hit: Hit) -> dict[str, Any]:
    """Return a neighbour as programs get it; class and split are null where they are not known."""
    return {
        "path": hit.entry.path,
        "split": hit.entry.split or None,
        "class": hit.entry.label,
        "title": hit.entry.title,
        "distance": hit.distance,
        "problem": hit.problem,
    }


def _answer(
    head: dict[str, Any], uploads: Sequence[Upload], results: Sequence[dict[str, Any] | ImageError]
) -> Response:
    """Answer with what is known of each file; 400 where it is nothing."""
    images = [
        {"name": upload.name, **({"error": str(result)} if isinstance(result, ImageError) else result)}
        for upload, result in zip(uploads, results, strict=True)
    ]
    failed = [image["error"] for image in images if "error" in image]
    if len(failed) == len(images):
        head = {"error": failed[0], **head}
    body = json.dumps({**head, "images": images}, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, 400 if "error" in head else 200, media_type="application/json")


def _check_choice(name: str, value: int, accepted: Sequence[int]) -> None:
    if value not in accepted:
        raise Refusal(400, f"{name} is {value}; accepted are {', '.join(map(str, accepted))}.")


def _check_range(name: str, value: int, most: int | None = None) -> None:
    if value < 1 or (most is not None and value > most):
        accepted = "1 or more" if most is None else f"1 to {most:,}"
        raise Refusal(400, f"{name} is {value}; accepted is {accepted}.")
