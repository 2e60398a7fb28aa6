"""Clips through predict, evaluate, features and search: each frame as the image that it is, and all of them together."""

import csv
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.data.video.clip import open_clip, read_frames
from alexnet.errors import ConfigError, ImageError, SourceError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.clips import average_clips, count_pictures, predict_clip, summarize_clip
from alexnet.evaluation.evaluate import images_at_a_time
from alexnet.evaluation.prediction import Prediction
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model
from conftest import write_clip

pytest.importorskip("av", reason="needs PyAV, the extra video")

NAMES = ("dark", "red", "green")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells plain pictures by their color: its last layer was fitted to what it makes of these."""
    torch.manual_seed(0)
    network = build("cifar-80sec", 3)
    model = Model(network, NAMES, ("Dark", "Red", "Green"), Preprocessing(np.zeros((32, 32, 3), np.float32), 1.0), {})
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    pixels = [np.broadcast_to(np.uint8(color), (32, 32, 3)).copy() for color in COLORS.values()]
    inputs = model.preprocessing.make_views(pixels, 32, torch.float32)[:, 0]
    network.eval()
    with torch.no_grad():
        features = network.features(inputs)
        last = network.layers[network.spec.layers[-1].name]
        scale = 6 * torch.linalg.pinv(torch.cat([features, torch.ones(3, 1)], 1))
        last.weight.copy_(scale[:-1].T.reshape(last.weight.shape))  # type: ignore[union-attr, operator]
        last.bias.copy_(scale[-1])  # type: ignore[union-attr, operator]
    save_model(path, model)
    return path


COLORS = {"dark": (10, 10, 10), "red": (220, 20, 20), "green": (20, 200, 20)}


@pytest.fixture(scope="module")
def classifier(model_path: Path) -> Classifier:
    return load(model_path, precision="float32")


def paint(*stretches: tuple[str, int], size: tuple[int, int] = (48, 64)) -> list[NDArray[np.uint8]]:
    """Frames of plain colors: name and number of frames."""
    return [
        np.broadcast_to(np.uint8(COLORS[name]), (*size, 3)).copy() for name, count in stretches for _ in range(count)
    ]


def call(*arguments: Any) -> Result:
    threads = [] if arguments[0] == "prepare" else ["--threads", "1"]
    return CliRunner().invoke(cli, [*map(str, arguments), *threads])


def predictions(*rows: tuple[float, ...]) -> list[Prediction]:
    return [Prediction(f"c@{n}s", NAMES, np.float32(row)) for n, row in enumerate(rows)]


def test_the_frames_of_a_clip_are_predicted_as_the_images_that_they_are(tmp_path: Path, classifier: Classifier) -> None:
    path = write_clip(tmp_path / "a.mkv", paint(("dark", 10), ("red", 20), ("green", 10)))
    found = predict_clip(classifier, path, every_s=0.5, views=10, window_s=0)
    assert found.times_s.tolist() == [n / 2 for n in range(8)]
    assert [frame.top(1)[0][0] for frame in found.frames] == ["dark"] * 2 + ["red"] * 4 + ["green"] * 2
    for n, frame in enumerate(read_frames(path, 0.5)):
        Image.fromarray(frame.pixels).save(tmp_path / f"{n}.png")
    alone = classifier.predict([tmp_path / f"{n}.png" for n in range(8)], views=10)
    for one, other in zip(found.frames, alone, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-5)
    np.testing.assert_allclose(found.mean.probabilities, np.mean([p.probabilities for p in alone], 0), rtol=1e-5)
    assert found.mean.source == str(path)
    assert [(m.start_s, m.end_s, m.name) for m in found.moments] == [(0, 1, "dark"), (1, 3, "red"), (3, 4, "green")]


def test_a_clip_that_is_turned_has_the_classes_of_the_upright_one(tmp_path: Path, classifier: Classifier) -> None:
    """The same frames, stored lying on their side, with the turn in the container."""
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(10)]
    options: dict[str, Any] = {"codec": "png", "pix_fmt": "rgb24"}
    upright = write_clip(tmp_path / "upright.mov", frames, **options)
    for degrees in (90, -90, 180):
        lying = [np.rot90(pixels, -degrees // 90).copy() for pixels in frames]
        turned = write_clip(tmp_path / f"turned{degrees}.mov", lying, turn=(degrees, False, False), **options)
        one, other = (predict_clip(classifier, path, every_s=0.2) for path in (upright, turned))
        np.testing.assert_array_equal([p.probabilities for p in one.frames], [p.probabilities for p in other.frames])
        assert one.moments == other.moments


def test_one_odd_frame_is_no_change_within_the_window() -> None:
    frames = predictions(*[(0.8, 0.2, 0)] * 3, (0.1, 0.9, 0), *[(0.8, 0.2, 0)] * 3)
    each = summarize_clip("c", frames, every_s=1, window_s=0)
    assert [(m.start_s, m.end_s, m.name, round(m.probability, 3)) for m in each.moments] == [
        (0, 3, "dark", 0.8), (3, 4, "red", 0.9), (4, 7, "dark", 0.8)
    ]  # fmt: skip
    smooth = summarize_clip("c", frames, every_s=1, window_s=3)
    assert [(m.start_s, m.end_s, m.name) for m in smooth.moments] == [(0, 7, "dark")]
    assert smooth.mean.top(1) == [("dark", pytest.approx(0.7))]


def test_what_no_class_is_or_none_is_there_has_its_moment() -> None:
    frames = predictions((0.9, 0.1, 0), (0.9, 0.1, 0))
    unknown = [Prediction(f.source, NAMES, f.probabilities, 0.9, True) for f in frames]
    assert [m.name for m in summarize_clip("c", [*frames, *unknown], every_s=1, window_s=0).moments] == [
        "dark",
        "unknown",
    ]
    sets = [Prediction(f.source, NAMES, f.probabilities, thresholds=np.array([0.95, 0.5, 0.5])) for f in frames]
    assert [m.name for m in summarize_clip("c", sets, every_s=1, window_s=0).moments] == ["none"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_s": 0}, "A frame every 0 seconds; accepted are 0.001 and more, for example 0.5."),
        ({"every_s": float("nan")}, "A frame every nan seconds; accepted are 0.001 and more, for example 0.5."),
        ({"every_s": "0.5"}, "A frame every '0.5' seconds; accepted are 0.001 and more, for example 0.5."),
        ({"every_s": True}, "A frame every True seconds; accepted are 0.001 and more, for example 0.5."),
        ({"every_s": 10**400}, "A frame every 1000000"),
        ({"window_s": 10**400}, "window_s is 1000000"),
        ({"window_s": float("nan")}, "window_s is nan; accepted are seconds, 0 for each frame by itself, for example 5."),
        ({"window_s": float("inf")}, "window_s is inf; accepted are seconds, 0 for each"),
        ({"window_s": -1}, "window_s is -1; accepted are seconds, 0 for each"),
        ({"window_s": "5"}, "window_s is '5'; accepted are seconds, 0 for each"),
        ({"views": 0}, "views is 0; accepted are 1 (centre), 9 (three by three places) and 10"),
        ({"views": "10"}, "views is '10'; accepted are 1 (centre), 9 (three by three places) and 10"),
        ({"views": None}, "views is None; accepted are 1 (centre), 9 (three by three places) and 10"),
    ],
)  # fmt: skip
def test_times_and_views_that_are_none_are_refused(
    tmp_path: Path, classifier: Classifier, options: dict[str, Any], message: str
) -> None:
    path = write_clip(tmp_path / "a.mkv", paint(("dark", 10)))
    words = f"^{re.escape(message)}"
    with pytest.raises(ConfigError, match=words):
        predict_clip(classifier, path, **options)
    if "views" in options:
        with pytest.raises(ConfigError, match=words):
            images_at_a_time(options["views"])
        return
    with pytest.raises(ConfigError, match=words):
        summarize_clip("c", predictions((1, 0, 0)), **{"every_s": 0.5, "window_s": 0} | options)
    if "every_s" in options:
        with pytest.raises(ConfigError, match=words):
            count_pictures([path], options["every_s"])


def test_the_last_moment_ends_with_the_clip(tmp_path: Path, model_path: Path, classifier: Classifier) -> None:
    short = write_clip(tmp_path / "a.mkv", paint(("red", 1)), rate=8)
    assert [(m.start_s, m.end_s) for m in predict_clip(classifier, short).moments] == [(0, 0.125)]
    table = call("predict", model_path, short, "--views", 1).stdout.splitlines()
    assert table[-1].split()[:2] == ["0:00.0", "0:00.1"]
    long = write_clip(tmp_path / "b.mkv", paint(("dark", 10), ("red", 7)))
    assert [(m.start_s, m.end_s, m.name) for m in predict_clip(classifier, long, window_s=0).moments] == [
        (0, 1, "dark"), (1, pytest.approx(1.7), "red")
    ]  # fmt: skip


def test_frames_are_averaged_by_clip_whatever_their_order() -> None:
    rows = np.float32([[1, 0], [0, 1], [0.5, 0.5], [0, 1]])
    clips, means = average_clips(["a/1.mp4@0s", "b@1s", "a/1.mp4@0.5s", "b@2s"], rows)
    assert clips == ["a/1.mp4", "b"]
    np.testing.assert_array_equal(means, [[0.75, 0.25], [0, 1]])
    assert average_clips(["a@0s", "a.png"], rows[:2])[0] == []


def test_a_clip_that_cannot_be_read_raises_its_sentence(tmp_path: Path, classifier: Classifier) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x" * 100)
    with pytest.raises(ImageError, match=r"a\.mp4: is no video, or its header is damaged"):
        predict_clip(classifier, tmp_path / "a.mp4")


def test_predict_shows_classes_and_moments_of_clips_beside_images(tmp_path: Path, model_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", paint(("dark", 20), ("red", 40)))
    Image.fromarray(paint(("green", 1))[0]).save(tmp_path / "b.png")
    (tmp_path / "c.mp4").write_bytes(b"x" * 100)
    result = call("predict", model_path, tmp_path, "--views", 1, "--window", 1, "--csv", tmp_path / "f.csv")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"{clip}, 12 frames, one every 0.5 s"
    assert lines[1].split()[-1] == "Red"
    table = [line.split() for line in lines[4:7]]
    assert table[0] == ["from", "to", "best", "class", "probability"]
    assert [row[:3] for row in table[1:]] == [["0:00.0", "0:02.0", "Dark"], ["0:02.0", "0:06.0", "Red"]]
    assert lines[7] == str(tmp_path / "b.png")
    assert f"Left out: {tmp_path / 'c.mp4'}: is no video, or its header is damaged" in result.output
    with (tmp_path / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["time_s"], row["class_1"]) for row in rows[3:5]] == [
        (str(clip), "1.5", "dark"),
        (str(clip), "2", "red"),
    ]
    assert rows[-1]["time_s"] == ""
    assert rows[-1]["class_1"] == "green"
    line = call("predict", model_path, clip, "--one-line").stdout.split("\t")
    assert line[:2] == [str(clip), "Red"]


def test_what_is_odd_about_a_clip_is_told_wherever_it_is_used(tmp_path: Path, model_path: Path) -> None:
    clip = tmp_path / "CLIPS" / "red" / "cut.mkv"
    clip.parent.mkdir(parents=True)
    data = write_clip(clip, paint(("red", 10), ("green", 10))).read_bytes()
    clip.write_bytes(data[: len(data) * 2 // 3])
    opened = open_clip(clip)
    assert len(list(opened.frames(0.5))) > 1
    (oddity,) = opened.oddities
    assert oddity.startswith("frames for 1.")
    for words in (
        ("predict", model_path, clip),
        ("evaluate", model_path, tmp_path / "CLIPS", "--every", 0.5, "--views", 1),
        ("features", model_path, clip, "--every", 0.5, "--out", tmp_path / "f.npz"),
        ("search", "index", model_path, clip, "--every", 0.5, "--batch-size", 1, "--out", tmp_path / "INDEX"),
        ("draw", "timeline", model_path, clip, "--out", tmp_path / "t.png"),
    ):
        result = call(*words)
        assert result.exit_code == 0, (words, result.output)
        assert " ".join(result.stderr.split()).count(f"{clip}: has {oddity}.") == 1, words


def test_where_nothing_could_be_read_no_table_is_written(tmp_path: Path, model_path: Path) -> None:
    table = tmp_path / "f.csv"
    table.write_text("of an earlier call")
    result = call("predict", model_path, tmp_path / "none.mkv", "--csv", table)
    assert result.exit_code == 1
    assert table.read_text() == "of an earlier call"
    said = " ".join(result.stderr.split())
    assert f"{table} was not written: nothing could be read." in said
    (tmp_path / "bad.mkv").write_bytes(bytes(100))
    features = tmp_path / "f.npz"
    refused = call("features", model_path, tmp_path / "bad.mkv", "--every", 0.5, "--out", features)
    assert refused.exit_code == 1
    assert isinstance(refused.exception, SourceError)
    assert str(refused.exception).startswith(
        f"{features}: 1 image, none of which could be read. {tmp_path / 'bad.mkv'}: is no video, or its header is damaged"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.mkv", "f.csv"]


def test_predict_tells_programs_of_clips(tmp_path: Path, model_path: Path) -> None:
    data = write_clip(tmp_path / "a.mkv", paint(("dark", 20), ("red", 40))).read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) * 4 // 5])
    result = call(
        "predict", model_path, tmp_path / "a.mkv", "--json", "--views", 1, "--every", 1, "--window", 0, "--top", 2
    )
    (clip,) = json.loads(result.stdout)["clips"]
    assert clip["every"] == 1
    assert clip["top"][0]["title"] == "Red"
    assert len(clip["top"]) == 2
    assert [(each["start"], each["name"]) for each in clip["moments"]] == [(0, "dark"), (2, "red")]
    assert [frame["time"] for frame in clip["frames"]] == [0, 1, 2, 3, 4]
    assert clip["oddities"][0].startswith("frames for 4.")
    assert "has frames for 4." in result.output


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of each class, one of the green ones half red."""
    root = tmp_path_factory.mktemp("films") / "FILMS"
    for name in NAMES:
        (root / name).mkdir(parents=True)
        for n in range(2):
            mixed = [("red", 4), (name, 6)] if (name, n) == ("green", 1) else [(name, 10)]
            write_clip(root / name / f"{n}.mkv", paint(*mixed))
    return root


def test_evaluate_gives_the_error_of_clips_beside_that_of_frames(
    films: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    out = json.loads(call("evaluate", model_path, films, "--every", 0.1, "--views", 1, "--json").stdout)
    assert (out["images"], out["top1_error"]) == (60, pytest.approx(4 / 60))
    assert (out["clips"]["clips"], out["clips"]["top1_error"]) == (6, 0)
    told = call("evaluate", model_path, films, "--every", 0.1, "--views", 1).stdout
    assert "6 clips, each by the mean of its frames" in told
    assert not list((tmp_path / "temporary").iterdir())
    made = call(
        "prepare", films, "--every", 0.1, "--thin", 0, "--size", 32, "--val-fraction", 0.5, "--out", tmp_path / "S"
    )
    assert made.exit_code == 0, made.output
    store = json.loads(call("evaluate", model_path, tmp_path / "S", "--views", 1, "--json").stdout)
    assert store["clips"]["clips"] == 3
    assert store["images"] == 30


def test_a_folder_of_clips_is_no_folder_of_images(films: Path, model_path: Path) -> None:
    result = call("evaluate", model_path, films)
    assert str(result.exception) == f"{films}: holds no images, but 6 videos. Test their frames: --every 0.5."


def test_features_have_a_row_for_each_frame(films: Path, model_path: Path, tmp_path: Path) -> None:
    (films / "red" / "bad.mp4").write_bytes(b"x" * 50)
    try:
        result = call("features", model_path, films / "red", "--every", 0.5, "--out", tmp_path / "f.npz")
    finally:
        (films / "red" / "bad.mp4").unlink()
    assert result.exit_code == 1
    assert "bad.mp4: is no video" in result.output
    with np.load(tmp_path / "f.npz") as found:
        assert found["paths"].tolist() == [f"{films}/red/{n}.mkv@{t}s" for n in (0, 1) for t in ("0", "0.5")]


def test_an_index_has_an_entry_for_each_frame(films: Path, model_path: Path, tmp_path: Path) -> None:
    made = call("search", "index", model_path, films, "--every", 0.5, "--out", tmp_path / "I")
    assert made.exit_code == 0, made.output
    again = call("search", "index", model_path, films, "--every", 0.5, "--out", tmp_path / "I")
    assert "is already complete" in again.output
    Image.fromarray(paint(("green", 1))[0]).save(tmp_path / "q.png")
    hits = json.loads(call("search", "query", tmp_path / "I", tmp_path / "q.png", "--json").stdout)
    found = {hit["path"] for hit in hits["queries"][0]["neighbours"][:3]}
    assert found == {f"{films}/green/0.mkv@0s", f"{films}/green/0.mkv@0.5s", f"{films}/green/1.mkv@0.5s"}
    page = call("search", "query", tmp_path / "I", tmp_path / "q.png", "--html", tmp_path / "hits.html")
    assert page.exit_code == 0, page.output


def test_a_clip_that_has_changed_since_is_said(model_path: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", paint(("red", 10)))
    call("search", "index", model_path, clip, "--out", tmp_path / "I")
    write_clip(clip, paint(("green", 10)))
    Image.fromarray(paint(("red", 1))[0]).save(tmp_path / "q.png")
    assert "has changed" in call("search", "query", tmp_path / "I", tmp_path / "q.png").output
    clip.unlink()
    assert "is gone" in call("search", "query", tmp_path / "I", tmp_path / "q.png").output
