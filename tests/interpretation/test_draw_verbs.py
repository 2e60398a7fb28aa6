"""`alexnet draw` and `alexnet report` as a user meets them, on a network of one small convolution."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.data.prepare.prepare import prepare
from alexnet.interpretation import drawing, report
from alexnet.interpretation.why import METHODS
from alexnet.network.alexnet import AlexNet
from alexnet.network.model_file import Model, save_model
from conftest import write_pictures

CLASSES = ("ant", "bee", "cat")
TITLES = {"ant": "Ameise", "bee": "Biene", "cat": "猫"}
NAMES = ("filters", "predictions", "neighbours", "activations", "curves", "why")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def message(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code != 0
    return str(result.exception)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("draw")
    write_pictures(root / "pictures" / "train", per_class=6, classes=CLASSES, size=20, seed=1)
    write_pictures(root / "pictures" / "val", per_class=3, classes=CLASSES, size=20, seed=2)
    prepare(root / "pictures", root / "store", size=16)
    return root


@pytest.fixture(scope="module")
def run(folder: Path, make_network: Callable[..., AlexNet]) -> Path:
    """A run of two epochs whose network is untrained."""
    path = folder / "run"
    path.mkdir()
    environment = {"store": str(folder / "store"), "seed": 3, "platform": "somewhere"}
    mean = np.full((16, 16, 3), 128, np.float32)
    provenance = {"recipe": {"name": "small-data"}, "environment": environment}
    model = Model(make_network(classes=3), CLASSES, tuple(TITLES.values()), Preprocessing(mean, 60.0), provenance)
    save_model(path / "model.safetensors", model)
    (path / "environment.json").write_text(json.dumps(environment))
    rows = [{"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1 / epoch, "val_top1_error": 0.5} for epoch in (1, 2)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments_of(name: str, run: Path, store: Path) -> list[object]:
    return ["draw", name, run] if name in ("filters", "curves") else ["draw", name, run, store]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_a_picture_with_its_numbers_beside_it(
    name: str, run: Path, folder: Path, tmp_path: Path
) -> None:
    result = call(*arguments_of(name, run, folder / "store"), "--out", tmp_path / "a.png", "--theme", "dark")
    assert result.exit_code == 0, result.exception
    assert {file.name for file in tmp_path.iterdir()} == {"a.png", "a.csv"}
    with Image.open(tmp_path / "a.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (0x14, 0x17, 0x1B)
    assert read(tmp_path / "a.csv")
    assert str(tmp_path / "a.csv") in result.output


def test_both_formats_and_json(run: Path, tmp_path: Path) -> None:
    result = call("draw", "filters", run, "--out", tmp_path / "a", "--format", "png", "--format", "svg", "--json")
    found = json.loads(result.output)
    assert found["figure"] == "filters"
    assert found["files"] == [str(tmp_path / f"a.{form}") for form in ("png", "svg", "csv")]
    assert all(Path(file).exists() for file in found["files"])


def test_predictions_show_mistakes_the_surest_first(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.svg"
    result = call(
        "draw", "predictions", run, folder / "store", "--only", "errors", "--count", 3, "--views", 1, "--out", out
    )
    assert result.exit_code == 0, result.exception
    rows = [row for row in read(tmp_path / "m.csv") if row["place"] == "1"]
    assert len(rows) == 3
    assert {row["is_label"] for row in rows} == {"0"}
    certainty = [float(row["probability"]) for row in rows]
    assert certainty == sorted(certainty, reverse=True)


def test_the_folder_of_a_file_names_its_class_if_it_is_said_so(run: Path, folder: Path, tmp_path: Path) -> None:
    pictures = folder / "pictures" / "val"
    call("draw", "predictions", run, pictures, "--views", 1, "--out", tmp_path / "plain.png")
    assert {row["label"] for row in read(tmp_path / "plain.csv")} == {""}
    call("draw", "predictions", run, pictures, "--views", 1, "--labelled", "--out", tmp_path / "known.png")
    assert {row["label"] for row in read(tmp_path / "known.csv")} == {"Ameise", "Biene", "猫"}
    assert message("draw", "predictions", run, pictures, "--only", "errors", "--out", tmp_path / "x.png") == (
        "9 image files: which class is correct is not known. Give a store, or --labelled if the folder that holds an image "
        "names its class."
    )


def test_neighbours_come_from_training_images_and_an_indexed_file_finds_itself(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    call("draw", "neighbours", run, folder / "store", "--precision", "float32", "--out", tmp_path / "a.png")
    rows = read(tmp_path / "a.csv")
    assert len({row["query"] for row in rows}) == 5
    assert [row["place"] for row in rows] == list("123456") * 5
    assert all(row["image"].startswith("train/") and row["query"].startswith("val/") for row in rows)
    # The store has no readable names; those of the model stand under the images.
    assert {row["query_class"] for row in rows} == {"Ameise", "Biene", "猫"}
    assert all(TITLES[row["image"].split("/")[1]] == row["class"] for row in rows)
    query = folder / "pictures" / "train" / "bee" / "bee-2.png"
    options = ["--query", query, "--precision", "float32", "--k", 3]
    call("draw", "neighbours", run, folder / "store", *options, "--out", tmp_path / "b.png")
    first, second, _ = read(tmp_path / "b.csv")
    assert (first["image"], float(first["distance"])) == ("train/bee/bee-2.png", pytest.approx(0, abs=1e-4))
    assert float(second["distance"]) > 0
    call("draw", "neighbours", run, folder / "pictures" / "val", "--out", tmp_path / "c.png")
    assert all(row["image"] != row["query"] for row in read(tmp_path / "c.csv"))
    assert message("draw", "neighbours", run, folder / "store", "--limit", 4, "--out", tmp_path / "d.png") == (
        "6 neighbours asked for, with 4 of the 18 train images of store to be searched. Ask for fewer, or search more."
    )


def test_an_image_that_cannot_be_read_is_named_and_left_out(run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(8):
        source = folder / "pictures" / "train" / "ant" / f"ant-{number % 6}.png"
        (tmp_path / "in" / f"{number}.png").write_bytes(source.read_bytes() if number not in (2, 3) else b"no image")
    for name in ("predictions", "neighbours", "why"):
        few = ["--k", 2] if name == "neighbours" else []
        result = call("draw", name, run, tmp_path / "in", *few, "--out", tmp_path / f"{name}.png")
        assert result.exit_code == 1, (name, result.exception)
        assert "Left out" in result.stderr
        assert "3.png: is not an image" in result.stderr
        images = {Path(row["image"]).name for row in read(tmp_path / f"{name}.csv")}
        assert images
        assert not images & {"2.png", "3.png"}


def test_curves_of_several_runs_are_named_by_what_tells_them_apart(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "run"
    other.mkdir(parents=True)
    (other / "environment.json").write_text("{}")
    result = call("draw", "curves", run, other, "--out", tmp_path / "c.png")
    assert result.exit_code == 0, result.exception
    assert {row["run"] for row in read(tmp_path / "c.csv")} == {f"{run.parent.name}/run"}
    (other / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    assert message("draw", "curves", other, "--out", tmp_path / "d.png") == (
        f"{other / 'metrics.jsonl'}: line 2 is damaged. Delete it; an unfinished run writes the file again from its "
        "checkpoint when it continues."
    )
    assert message("draw", "curves", run / "model.safetensors", "--out", tmp_path / "d.png") == (
        f"{run / 'model.safetensors'}: is not a run folder (environment.json is missing or damaged)."
    )


def test_nothing_is_overwritten_unless_asked(run: Path, folder: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes((folder / "pictures" / "val" / "ant" / "ant-0.png").read_bytes())
    before = photo.read_bytes()
    assert message("draw", "why", run, photo, "--out", photo, "--overwrite") == (
        f"--out {photo}: {photo} is one of the inputs. Choose another name."
    )
    (tmp_path / "a.csv").write_text("mine")
    assert message("draw", "filters", run, "--out", tmp_path / "a.png") == (
        f"--out {tmp_path / 'a.png'}: {tmp_path / 'a.csv'} exists. Choose another name, or give --overwrite."
    )
    assert photo.read_bytes() == before
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert call("draw", "filters", run, "--out", tmp_path / "a.png", "--overwrite").exit_code == 0


def test_a_picture_without_its_numbers_is_not_left_in_the_way(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: object) -> str:
        raise OSError(28, "No space left on device", "a.csv")

    (tmp_path / "mine.png").write_text("mine")
    monkeypatch.setattr(drawing, "format_csv", fail)
    for name in ("a.png", "mine.png"):
        assert call("draw", "filters", run, "--out", tmp_path / name, "--overwrite").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "OUT/a.jpg"], "--out OUT/a.jpg: accepted are files that end in .png or .svg; or give --format."),
        (
            ["--out", "OUT/none/a.png"],
            "--out OUT/none/a.png: there is no folder OUT/none. Create it, or choose another place.",
        ),
        (["--index", "99"], "--index 99: 9 images given, numbered from 0 to 8."),
        (
            ["--class", "Bienne"],
            "--class Bienne: the model knows no such class. Did you mean 'Biene'? It knows 3: ant, bee, cat.",
        ),
        (["--split", "test"], "STORE has no split 'test'. It has: train, val."),
    ],
)
def test_what_is_not_accepted_is_named(
    arguments: list[str], expected: str, run: Path, folder: Path, tmp_path: Path
) -> None:
    where = [argument.replace("OUT", str(tmp_path)) for argument in arguments]
    out = [] if "--out" in arguments else ["--out", tmp_path / "x.png"]
    text = message("draw", "why", run, folder / "store", *where, *out)
    assert text == expected.replace("OUT", str(tmp_path)).replace("STORE", str(folder / "store"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("method", "towers"), [("cam", ["tower_a", "tower_b"]), ("occlusion", []), ("gradient", [])])
def test_why_has_every_method_for_any_class_and_the_towers_of_grad_cam(
    method: str, towers: list[str], run: Path, folder: Path, tmp_path: Path
) -> None:
    options = ["--method", method, "--class", "Biene", "--index", 1, "--out", tmp_path / "a.png"]
    result = call("draw", "why", run, folder / "store", *options)
    assert result.exit_code == 0, result.exception
    rows = read(tmp_path / "a.csv")
    assert list(rows[0]) == ["image", "class", "y", "x", "heat", *towers]
    assert len(rows) == 144
    assert {row["class"] for row in rows} == {"Biene"}
    for row in rows if towers else []:
        both = float(row["tower_a"]) + float(row["tower_b"])
        assert float(row["heat"]) == pytest.approx(max(0.0, both), rel=1e-3, abs=1e-5)
    assert METHODS[method].shows in result.stderr.replace("\n", " ")
    assert "'deconvolution' is not one of 'occlusion', 'gradient', 'cam'" in str(
        call("draw", "why", run, folder / "store", "--method", "deconvolution").output
    )


def test_every_command_and_example_of_the_page_of_questions_works(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "run").symlink_to(run)
    (tmp_path / "demo" / "store").symlink_to(folder / "store")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^alexnet draw .*$", page, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        result = call(*shlex.split(command)[1:])
        assert result.exit_code == 0, (command, result.exception)
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "picture.jpg").write_bytes((folder / "pictures" / "val" / "bee" / "bee-0.png").read_bytes())
    (tmp_path / "RUN").symlink_to(run)
    found: dict[str, Any] = {}
    exec(example.replace('"mug"', '"bee"'), found)
    assert found["heat"].shape == (12, 12)


def test_an_unknown_layer_lists_those_there_are_and_a_tower_can_be_drawn_alone(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "a.png"]
    assert message("draw", "activations", run, folder / "store", "--layer", "conv9", *out) == (
        "unknown activation 'conv9'. Known: conv1, conv1.relu, fc2."
    )
    assert call("draw", "activations", run, folder / "store", "--layer", "conv1.relu:b", *out).exit_code == 0
    rows = read(tmp_path / "a.csv")
    assert {row["tower"] for row in rows} == {"b"}
    assert len({row["map"] for row in rows}) == 20


def test_a_report_is_written_again_for_the_store_of_the_run_or_one_that_was_moved(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_save", lambda pair, folder: None)  # tests/interpretation/test_report.py has them
    result = call("report", run)
    assert result.exit_code == 0, result.exception
    assert result.output.splitlines()[-1] == f"Report: {run / 'report.html'}"
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "somewhere" in text
    environment = json.loads((run / "environment.json").read_text())
    changed: dict[str, Any] = {**environment, "store": str(folder / "gone"), "store_fingerprint": "of another"}
    (run / "environment.json").write_text(json.dumps(changed))
    try:
        assert message("report", run) == (
            f"{run}: was trained on {folder / 'gone'}, which is not there. Say where it is: alexnet report {run} STORE"
        )
        result = call("report", run, folder / "store", "--split", "train")
        assert result.exit_code == 0, result.exception
        assert f"{folder / 'store'} is not the store that this run was trained on" in result.stderr
    finally:
        (run / "environment.json").write_text(json.dumps(environment))
