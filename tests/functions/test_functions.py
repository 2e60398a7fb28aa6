"""What a verb does, a function of the package does too, with the same values; it says nothing unless asked."""

import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import alexnet
from alexnet.cli import cli
from alexnet.data.scenes.motion import draw_clip, encode_webp
from alexnet.errors import AlexNetError, ConfigError, RunError
from alexnet.runs.folder import MODEL, read_metrics
from conftest import write_pictures

CLASSES = ("ant", "bee", "cat")
RECIPE = "cifar-80sec"
SMALL = ("optimization.drop_epochs=[]", "optimization.schedule=constant", "optimization.total_epochs=2",
         "batches.size=8", "optimization.learning_rate=0.01")  # fmt: skip
TYPED = [word for each in SMALL for word in ("--set", each)]
ALIKE: dict[str, Any] = {"device": "cpu", "precision": "float32", "threads": 1}
ALIKE_TYPED = [word for name, value in ALIKE.items() for word in (f"--{name}", value)]


def call(*words: object) -> str:
    """Carry out a command; return what it printed on standard output."""
    result = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a store and a run that the functions made."""
    root = tmp_path_factory.mktemp("functions")
    for split, count in (("train", 6), ("val", 3)):
        write_pictures(root / "pictures" / split, per_class=count, classes=CLASSES, seed=count)
    alexnet.prepare(root / "pictures", root / "store", size=32)
    alexnet.train(root / "store", root / "run", recipe=RECIPE, assignments=SMALL, seed=3, report=False, **ALIKE)
    alexnet.index(root / "run", root / "pictures", root / "index", **ALIKE)
    return root


def test_every_public_function_has_a_contract() -> None:
    functions = [getattr(alexnet, name) for name in alexnet.__all__]
    functions += [getattr(alexnet.draw, name) for name in alexnet.draw.__all__]
    functions = [each for each in functions if inspect.isfunction(each)]
    assert len(functions) > 20
    for function in functions:
        document = inspect.getdoc(function) or ""
        assert document, function.__name__
        shared = inspect.getdoc(alexnet.draw) or "" if function.__module__ == "alexnet.functions.draw" else ""
        for name in inspect.signature(function).parameters:
            assert re.search(rf"\b{name}\b", document + shared), (function.__name__, name)


def test_prepare_is_the_verb_prepare(place: Path, tmp_path: Path) -> None:
    call("prepare", place / "pictures", "--out", tmp_path / "store", "--size", 32)
    assert alexnet.open_store(tmp_path / "store").fingerprint == alexnet.open_store(place / "store").fingerprint


def test_train_is_the_verb_train(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--recipe", RECIPE, *TYPED, "--seed", 3, "--no-report", *ALIKE_TYPED]
    call("train", place / "store", "--out", out, *words)
    ours, theirs = (alexnet.load(each, precision="float32").network.state_dict() for each in (place / "run", out))
    assert all((ours[name] == theirs[name]).all() for name in ours | theirs)
    assert [row["train_loss"] for row in read_metrics(out)] == [
        row["train_loss"] for row in read_metrics(place / "run")
    ]


def test_report_is_the_verb_report(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    done = alexnet.report(tmp_path / "run", place / "store", **ALIKE)
    errors = json.loads((tmp_path / "run" / "errors.json").read_text())
    assert done.report == tmp_path / "run" / "report.html"
    assert done.report.exists()
    assert [test.num_views for test in done.tests] == [1, 10]
    assert done.history == read_metrics(place / "run")
    assert call("report", tmp_path / "run", place / "store", *ALIKE_TYPED) == f"Report: {done.report}\n"
    assert json.loads((tmp_path / "run" / "errors.json").read_text()) == errors


def test_a_training_returns_what_it_found(place: Path, tmp_path: Path) -> None:
    recipe = alexnet.find_recipe(RECIPE, SMALL)
    done = alexnet.train(str(place / "store"), str(tmp_path / "run"), recipe=recipe, epochs=1, report=False, **ALIKE)
    assert done.folder == tmp_path / "run"
    assert [row["epoch"] for row in done.history] == [1]
    longer = alexnet.train_longer(done.folder, tmp_path / "longer", 2, report=False, **ALIKE)
    assert len(longer.history) == 2
    assert (longer.tests, longer.report) == ([], None)
    assert alexnet.load(longer.folder).class_names == CLASSES


def test_folds_are_those_of_the_verb(place: Path, tmp_path: Path) -> None:
    found = alexnet.cross_validate(
        place / "store", tmp_path / "a", folds=2, recipe=RECIPE, assignments=SMALL, epochs=1, **ALIKE
    )
    assert found is not None
    call("train", place / "store", "--folds", 2, "--recipe", RECIPE, *TYPED, "--epochs", 1, "--out", tmp_path / "b",
         *ALIKE_TYPED)  # fmt: skip
    ours, theirs = (json.loads((tmp_path / each / "folds.json").read_text())["errors"] for each in "ab")
    assert ours == theirs
    assert ours["top1_error"] == found.whole.top1_error


def test_evaluate_is_the_verb_evaluate(place: Path, tmp_path: Path) -> None:
    found = alexnet.evaluate(place / "run", place / "store", html=tmp_path / "a.html", **ALIKE)
    printed = json.loads(call("evaluate", place / "run", place / "store", "--json", *ALIKE_TYPED))
    assert json.loads(json.dumps(found.to_json())) == printed
    assert found.results[0].evaluation.images == 9
    assert "AlexNet test" in (tmp_path / "a.html").read_text()
    two = alexnet.evaluate([place / "run", place / "run"], place / "pictures", views=1, average=True, **ALIKE)
    assert [result.name for result in two.results][-1] == "average of 2"
    assert two.results[0].evaluation.top1_error == two.results[2].evaluation.top1_error


def test_calibrate_is_the_verb_calibrate(place: Path, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes((place / "run" / MODEL).read_bytes())
    file, found = alexnet.calibrate(tmp_path / "m.safetensors", place / "store", reject=0.2, **ALIKE)
    printed = json.loads(call("calibrate", file, place / "store", "--reject", 0.2, "--json", *ALIKE_TYPED))
    assert printed == json.loads(json.dumps({"file": str(file), **found.to_json()}))


def test_features_are_those_of_the_verb_and_of_a_loaded_model(place: Path, tmp_path: Path) -> None:
    layers = ["conv1", alexnet.load(place / "run").network.features_name()]
    report = alexnet.features(place / "run", place / "pictures" / "val", tmp_path / "a.npz", layers=layers, **ALIKE)
    assert report.rows == 9
    call("features", place / "run", place / "pictures" / "val", "--layers", ",".join(layers), "--out",
         tmp_path / "b.npz", *ALIKE_TYPED)  # fmt: skip
    with np.load(tmp_path / "a.npz") as ours, np.load(tmp_path / "b.npz") as theirs:
        paths = ours["paths"].tolist()
        for name in layers:
            assert (ours[name] == theirs[name]).all()
        memory = alexnet.load(place / "run", device="cpu", precision="float32").activations(paths, layers)
        assert all(np.allclose(memory[name], ours[name], atol=1e-5) for name in layers)


def test_index_and_search_are_the_verbs(place: Path, tmp_path: Path) -> None:
    call("search", "index", place / "run", place / "pictures", "--out", tmp_path / "index", *ALIKE_TYPED)
    ours, theirs = (alexnet.open_index(each) for each in (place / "index", tmp_path / "index"))
    assert (ours.gather(ours.rows()) == theirs.gather(theirs.rows())).all()
    asked = place / "pictures" / "val" / "bee"
    found = alexnet.search(place / "index", asked, k=4, threads=1)
    printed = json.loads(call("search", "query", tmp_path / "index", asked, "--k", 4, "--json", "--threads", 1))
    assert [[(hit.entry.path, hit.distance) for hit in each.hits] for each in found.answers] == [
        [(hit["path"], hit["distance"]) for hit in each["neighbours"]] for each in printed["queries"]
    ]
    assert found.answers[0].hits[0].distance == 0
    assert found.left_out == []
    assert alexnet.search(ours, asked / "bee-0.png", threads=1).answers[0].hits[:4] == found.answers[0].hits
    with pytest.raises(ConfigError, match=r"^bits and faiss are two ways of searching\. Give one of them\.$"):
        alexnet.search(ours, asked, bits=16, faiss="Flat")


def test_every_figure_is_that_of_its_verb(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, run = place / "store", place / "run"
    draw: Any = alexnet.draw
    calls: dict[str, tuple[Callable[..., Any], tuple[Path, ...], dict[str, Any], list[object]]] = {
        "filters": (draw.filters, (run,), {}, []),
        "predictions": (draw.predictions, (run, store), {"count": 3, **ALIKE}, ["--count", 3, *ALIKE_TYPED]),
        "neighbours": (draw.neighbors, (run, store), {"k": 2, **ALIKE}, ["--k", 2, *ALIKE_TYPED]),
        "activations": (draw.activations, (run, store), {"index": 4, **ALIKE}, ["--index", 4, *ALIKE_TYPED]),
        "curves": (draw.curves, (run,), {}, []),
        "why": (draw.why, (run, store), {"method": "cam", "class_name": "bee", **ALIKE},
                ["--method", "cam", "--class", "bee", *ALIKE_TYPED]),
        "timeline": (draw.timeline, (run, tmp_path / "clip.webp"), {"every": 0.125, **ALIKE}, ["--every", 0.125, *ALIKE_TYPED]),
    }  # fmt: skip
    (tmp_path / "clip.webp").write_bytes(encode_webp(draw_clip("rises", 0, size=32, frames=3)))
    group: Any = cli.commands["draw"]
    assert set(calls) == set(group.commands)
    for name, (function, given, options, words) in calls.items():
        drawn = function(*given, **options)
        printed = json.loads(call("draw", name, *given, *words, "--out", f"typed-{name}.png", "--json"))
        assert drawn.files == [Path(f"{name}.png"), Path(f"{name}.csv")]
        assert (drawn.figure, drawn.title, drawn.caption) == tuple(
            printed[each] for each in ("figure", "title", "caption")
        )
        for file in drawn.files:
            assert file.read_bytes() == file.with_name(f"typed-{file.name}").read_bytes(), name


def test_export_is_the_verb_export(place: Path, tmp_path: Path) -> None:
    done = alexnet.export(place / "run", "onnx", tmp_path / "a.onnx", ten_views=True)
    printed = json.loads(
        call("export", place / "run", "--to", "onnx", "--ten-views", "--out", tmp_path / "b.onnx", "--json")
    )
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (done.dialect, done.members, done.bytes) == ("cifar-80sec", 1, printed["bytes"])


def test_functions_say_nothing_unless_asked(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"recipe": RECIPE, "assignments": SMALL, "epochs": 1, "report": False, **ALIKE}
    alexnet.train(place / "store", tmp_path / "quiet", **options)
    alexnet.evaluate(tmp_path / "quiet", place / "store", views=1, **ALIKE)
    alexnet.index(tmp_path / "quiet", place / "pictures", tmp_path / "index", **ALIKE)
    assert capfd.readouterr() == ("", "")
    alexnet.train(place / "store", tmp_path / "loud", show=True, **options)
    told = capfd.readouterr()
    assert told.err
    assert "1/1" in told.out + told.err or "epoch" in told.out + told.err


def test_what_cannot_be_done_is_refused_in_the_same_words(place: Path, tmp_path: Path) -> None:
    def typed(*words: object) -> str:
        return str(CliRunner().invoke(cli, list(map(str, words))).exception)

    with pytest.raises(RunError) as finished:
        alexnet.train(place / "store", place / "run", recipe=RECIPE, assignments=["batches.size=9"], **ALIKE)
    assert str(finished.value) == typed(
        "train", place / "store", "--out", place / "run", "--recipe", RECIPE, "--set", "batches.size=9", *ALIKE_TYPED
    )
    with pytest.raises(AlexNetError) as nothing:
        alexnet.evaluate(tmp_path, place / "store")
    assert str(nothing.value) == typed("evaluate", tmp_path, place / "store")
    with pytest.raises(ConfigError, match=r"^method 'guess': accepted are occlusion, gradient, cam\.$"):
        alexnet.draw.why(place / "run", place / "store", method="guess")
    with pytest.raises(ConfigError, match=r"^format 'gif': accepted are png and svg\.$"):
        alexnet.draw.filters(place / "run", out=tmp_path / "a", formats=["gif"])


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3"])
def test_epochs_that_are_no_number_of_epochs_are_refused(place: Path, tmp_path: Path, epochs: Any) -> None:
    message = re.escape(f"epochs is {epochs!r}; accepted is a whole number from 1 to 1,000,000.")
    for train, start, more in (
        (alexnet.train, "store", {"recipe": "cifar-18pct"}),
        (alexnet.cross_validate, "store", {"recipe": "cifar-18pct", "folds": 2}),
        (alexnet.train_longer, "run", {}),
    ):
        with pytest.raises(ConfigError, match=f"^{message}$"):
            train(place / start, tmp_path / "out", epochs=epochs, **more, **ALIKE)  # type: ignore[operator]
    assert not (tmp_path / "out").exists()
