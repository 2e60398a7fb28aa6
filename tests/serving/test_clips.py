"""Short clips over HTTP: their classes and moments; what is too long or too large is refused before it takes the time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.evaluation.clips import predict_clip
from conftest import write_clip

pytest.importorskip("fastapi", reason="needs the extra web")
pytest.importorskip("av", reason="needs PyAV, the extra video")

import alexnet
from serving.conftest import ask, form, picture, serving


def write(path: Path, frames: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (frames, 4, 5, 3), np.uint8).repeat(10, 1).repeat(10, 2)
    return write_clip(path, list(noise)).read_bytes()


@pytest.fixture(scope="module")
def model(model_path: Path) -> Any:
    return alexnet.load(model_path)


def test_a_clip_is_answered_like_predict_beside_pictures(tmp_path: Path, model: Any) -> None:
    data = write(tmp_path / "a.mkv", 20)
    with serving(model) as server:
        body, kind = form(("a.png", picture()), ("a.mkv", data), ("b.mp4", b"\0\0\0\x18ftypmp42" + bytes(50)))
        answer = ask(server.address, "POST", "/predict?every=0.25&top=2", body, Content_Type=kind)
    assert answer.status == 200
    image, clip, bad = answer.json["images"]
    assert "moments" not in image
    direct = predict_clip(model, data, every_s=0.25)
    assert clip["class"] == direct.mean.top(1)[0][0]
    assert clip["probability"] == pytest.approx(direct.mean.top(1)[0][1], abs=1e-5)
    assert [(each["start"], each["end"], each["class"]) for each in clip["moments"]] == [
        (each.start_s, each.end_s, each.name) for each in direct.moments
    ]
    assert bad["error"].startswith("b.mp4: is no video, or its header is damaged")


def test_long_large_and_dense_clips_are_refused_with_a_sentence(tmp_path: Path, model: Any) -> None:
    from alexnet.serving.limits import Limits

    data = write(tmp_path / "a.mkv", 20)
    for limits, said in (
        (Limits(max_clip_seconds=1), "the picture: is longer than 1 s. Send a part of it."),
        (Limits(max_clip_frames=10), "the picture: has more than 10 frames. Send a part of it."),
        (Limits(max_clip_pixels=1000), "the picture: has more than 1,000 pixels. Save a smaller copy of it."),
    ):
        with serving(model, limits=limits) as server:
            answer = ask(server.address, "POST", "/predict", data)
        assert (answer.status, answer.json["error"]) == (400, said)
    with serving(model) as server:
        assert (
            ask(server.address, "POST", "/predict?every=0.001", data)
            .json["error"]
            .startswith("every is 0.001; accepted is 0.1 to 30")
        )
        assert json.loads(ask(server.address, "POST", "/predict", data).body)["images"][0]["moments"]
