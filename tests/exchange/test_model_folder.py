"""A model as a folder for others: what is in it is the model's own, and what its card says was measured."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from alexnet import load
from alexnet.cli import cli
from alexnet.errors import ConfigError
from alexnet.evaluation.evaluate import measure_errors
from alexnet.evaluation.record import digest_weights, write_errors
from alexnet.exchange.onnx_graph import IMAGES
from alexnet.network.model_file import Model, save_model
from alexnet.runs.card import read_history, write_card
from alexnet.runs.folder import ENVIRONMENT, METRICS, MODEL
from alexnet.runs.model_folder import export_folder
from conftest import write_store
from exchange.miniature import CLASSES

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

HOSTILE = "<b>|*x*\n# y"


def make_run(folder: Path, model: Model, *, tested_on: str = "val") -> Path:
    """A finished run of this model: a store of 12 + 6 + 8 + 60 training images, and a test of 20 images, 5 wrong."""
    generator = np.random.default_rng(0)
    train, val = np.repeat(range(4), (12, 6, 8, 60)), np.arange(20) % 4
    pictures = {split: generator.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
                for split, labels in (("train", train), ("val", val))}  # fmt: skip
    store = write_store(folder / "store", {"train": (pictures["train"], train), "val": (pictures["val"], val)}, CLASSES)
    run = folder / "run"
    run.mkdir()
    environment = {"store": "../store", "store_absolute": str(folder / "store"), "alexnet": "0.2.0", "torch": "2.13.0",
                   "store_fingerprint": store.fingerprint, "seed": 7, "precision": "float32", "device": "cpu"}  # fmt: skip
    (run / ENVIRONMENT).write_text(json.dumps(environment))
    (run / METRICS).write_text('{"epoch": 0}\n{"epoch": 1}\n')
    provenance = {"recipe": {"name": "small-data"}, "environment": environment}
    save_model(run / MODEL, replace(model, provenance=provenance))
    answers = torch.full((20, 4), 0.1)
    for number, label in enumerate(val):
        answers[number, (label + (number < 5)) % 4] = 0.7
    tests = [measure_errors(answers, val, class_names=CLASSES, num_views=views) for views in (1, 10)]
    write_errors(run, tests, weights=digest_weights(run / MODEL), split=tested_on, store_fingerprint=store.fingerprint)
    return run


@pytest.fixture
def run_folder(small: Model, tmp_path: Path) -> Path:
    return make_run(tmp_path, small)


def export(run: Path, out: Path, *more: str) -> str:
    result = CliRunner().invoke(cli, ["export", str(run), "--to", "folder", "--out", str(out), *more])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_every_file_holds_the_model(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "given"
    said = export(run_folder, out)
    assert f"What it is, and how to use it without alexnet: {out}/README.md" in said
    assert f"To use it: alexnet predict {out} picture.jpg" in said
    assert "The graph has the operator LRN. For a program that lacks it, export with --plain-norm." in said
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "classes.json", "model.onnx", "model.safetensors", "preprocessing.json", "use.py",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    model = load(out / "model.safetensors", precision="float32")
    assert str(tmp_path) not in (out / "model.safetensors").read_bytes().decode("latin-1")
    assert json.loads((out / "classes.json").read_text()) == [
        {"index": index, "name": name, "title": name} for index, name in enumerate(CLASSES)
    ]
    told = CliRunner().invoke(cli, ["info", str(out)])
    assert told.output.splitlines()[0] == str(out / "model.safetensors")
    feeding = json.loads((out / "preprocessing.json").read_text())
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    top, left, px = (feeding["crop"][name] for name in ("top", "left", "px"))
    inputs = (image - model.model.preprocessing.mean_image)[top : top + px, left : left + px] / np.float32(
        feeding["divisor"]
    )
    np.testing.assert_allclose(feeding["mean_rgb"], model.model.preprocessing.mean_image.mean((0, 1)), atol=1e-3)
    with torch.inference_mode():
        ours = model.model.network(torch.from_numpy(inputs.transpose(2, 0, 1)[None].copy())).numpy()
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {IMAGES: image[None]})
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)
    assert (feeding["channels"], feeding["image_px"], feeding["framing"]) == ("RGB", 32, "square")


def test_its_program_names_what_the_model_names(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "given"
    export(run_folder, out)
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(out / "picture.png")
    (out / "picture.png").rename(out / "picture.jpg")  # its content tells what it is
    printed = subprocess.run([sys.executable, "use.py"], cwd=out, capture_output=True, text=True, check=True).stdout
    (prediction,) = load(run_folder, precision="float32").predict([out / "picture.jpg"], views=1)
    assert printed.splitlines()[0].split() == [f"{100 * prediction.top(1)[0][1]:.1f}", "%", prediction.top(1)[0][0]]


def test_the_card_tells_images_errors_and_limits(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "given"
    export(run_folder, out, "--plain-norm")
    card = (out / "README.md").read_text()
    assert "# A classifier of 4 classes: ant, bee, cat, dog\n" in card
    assert (
        "| class | train | val |\n| --- | --- | --- |\n| ant | 12 | 5 |\n| bee | 6 | 5 |\n| cat | 8 | 5 |\n| dog | 60 | 5 |\n"
        in card
    )
    assert "by onnxruntime alone:\n\n```sh\npip install onnxruntime numpy pillow\npython use.py\n```\n" in card
    imported = re.findall(r"^(?:import|from) (\w+)", (out / "use.py").read_text(), re.MULTILINE)
    assert set(imported) == {"json", "numpy", "onnxruntime", "PIL"}
    assert "Of 20 images of split val, with intervals of 95 %." in card
    assert "| its centre view alone | top-1 | 25.00 % | 11.19 % to 46.87 % |" in card
    assert "- recipe: small-data\n- epochs: 2\n- seed: 7\n- computed in: float32 on cpu\n" in card
    assert "- The images of the test also served to choose during training;" in card
    assert "- The error is known from 20 images, so its interval is 36 points wide.\n" in card
    assert "- Fewer than 30 training images have: ant, bee, cat.\n" in card
    assert "- Classes are unequal: dog has 60 training images, bee 6.\n" in card
    assert "- A picture of anything else is called one of these 4 classes too.\n" in card
    assert "- Its probabilities were not calibrated: they may be too sure of themselves.\n" in card


def test_a_test_on_the_third_split_is_not_doubted(small: Model, tmp_path: Path) -> None:
    run = make_run(tmp_path, small, tested_on="test")
    card = write_card(small, read_history(run), {})
    assert "Of 20 images of split test" in card
    assert "also served" not in card


def test_what_is_not_known_is_said(small: Model, run_folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "alone.safetensors", small)
    alone = write_card(small, read_history(tmp_path / "alone.safetensors"), {})
    for sentence in (
        "Unknown: the store of its training was not found when this card was written.",
        "Unknown: no test of these weights was found when this card was written.",
        "Unknown: the model comes without the folder of a run.",
    ):
        assert sentence in alone
    (run_folder.parent / "store").rename(tmp_path / "away")
    save_model(run_folder / MODEL, replace(small, provenance={"other": "weights"}))
    assert (read_history(run_folder).counts, read_history(run_folder).tests) == ({}, ())


def test_names_are_shown_as_they_are(small: Model) -> None:
    named = replace(small, class_titles=(HOSTILE, "b", "c", "d"))
    card = write_card(named, read_history(Path("nothing")), {})
    assert "# A classifier of 4 classes: \\<b\\>\\|\\*x\\*\\\\x0a\\# y, b, c, d" in card


def test_nothing_is_left_where_it_fails(
    run_folder: Path, small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError) as problem:
        export_folder(run_folder, small, tmp_path / "there")
    assert str(problem.value) == f"--out {tmp_path}/there: exists. Choose another, or delete it."

    def fail(*arguments: object) -> str:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("alexnet.runs.model_folder.write_card", fail)
    with pytest.raises(OSError, match=f"{tmp_path}/new"):
        export_folder(run_folder, small, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "store", "there"]
