"""Pictures with any number of classes, from a table to answers: trained, tested, reported, averaged, exported."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from evaluation.test_set_metrics import precision_written_out

import alexnet
from alexnet.cli import cli
from alexnet.data.scenes.several import draw_several, write_several
from alexnet.errors import AlexNetError, ConfigError, RecipeError, WeightsError
from alexnet.evaluation.calibrating import calibrate
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.exchange.exporting import export_model
from alexnet.interpretation import report
from alexnet.network.independent import Independent
from alexnet.network.model_file import load_model, save_model
from alexnet.recipes.named import find_recipe
from alexnet.runs.train import train
from alexnet.training.loop import Silent

SMALL = ["batches.size=16", "optimization.total_epochs=3", "optimization.drop_epochs=[2]"]


def run(*words: object, refused: bool = False) -> str:
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert bool(result.exit_code) is refused, (result.output, result.exception)
    return str(result.exception) if refused else result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SCENES, STORE and a run, RUN, on it."""
    root = tmp_path_factory.mktemp("sets")
    write_several(root / "SCENES", train=48, val=24, test=16, size=40)
    run("prepare", root / "SCENES" / "labels.csv", "--labels", "several", "--size", 32, "--out", root / "STORE")
    (root / "small.yaml").write_text(find_recipe("cifar-80sec", SMALL).to_yaml())
    recipe = ["--recipe", root / "small.yaml", "--precision", "float32"]
    with pytest.MonkeyPatch.context() as patch:  # without figures, which take longer than everything else here
        patch.setattr(report, "in_both_themes", lambda *arguments, **options: None)
        patch.setattr(report, "_show_images", lambda *arguments: [])
        patch.setattr(report, "_save", lambda *arguments: None)
        write = report.write_report
        patch.setattr(report, "write_report", lambda path, **content: write(path, **{**content, "drawings": []}))
        run("train", root / "STORE", *recipe, "--out", root / "RUN")
    run("train", root / "STORE", *recipe, "--out", root / "OTHER", "--seed", 1, "--no-report")
    return root


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def load(path: Path) -> Classifier:
    return alexnet.load(path, precision="float32")


def test_scenes_hold_what_their_table_says(folder: Path) -> None:
    rows = read_table(folder / "SCENES" / "labels.csv")
    assert [row["split"] for row in rows].count("val") == 24
    for row in rows[:20]:
        picture, classes = draw_several(int(Path(row["path"]).stem), size=40)
        assert row["labels"] == "|".join(classes)
        assert picture.shape == (40, 40, 3)
    assert {len(row["labels"].split("|")) if row["labels"] else 0 for row in rows} == {0, 1, 2}
    again, _ = draw_several(3, size=40)
    assert np.array_equal(again, draw_several(3, size=40)[0])
    with pytest.raises(ConfigError):
        draw_several(-1)


def test_training_is_judged_by_mean_average_precision(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "RUN" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert "val_top1_error" not in rows[0]
    model, store = load(folder / "RUN"), alexnet.open_store(folder / "STORE")
    split = store["val"]
    found = np.stack([each.probabilities for each in model.predict([np.asarray(i) for i in split.images[:]])])
    precisions = [
        precision_written_out(found[:, k].tolist(), split.label_sets[:, k].tolist())
        for k in range(10)
        if split.label_sets[:, k].any()
    ]
    assert rows[-1]["val_mean_average_precision"] == pytest.approx(np.mean(precisions), rel=1e-5)
    assert rows[-1]["val_set_error"] == ((found > 0.5) != split.label_sets).any(1).mean()
    own = np.where(split.label_sets, found, 1 - found.astype(np.float64))
    assert rows[-1]["val_loss"] == pytest.approx(-np.log(own).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("views", [1, 10])
def test_thresholds_have_the_best_f1_on_the_validation_images(folder: Path, views: int) -> None:
    model, split = load(folder / "RUN"), alexnet.open_store(folder / "STORE")["val"]
    predictions = model.predict([np.asarray(image) for image in split.images[:]], views=views)
    found = np.stack([each.probabilities for each in predictions])
    for k, threshold in enumerate(model.thresholds(views)):
        there, scores = split.label_sets[:, k], found[:, k]
        if not there.any():
            assert threshold == 0.5
            continue
        every = [2 * ((scores >= t) & there).sum() / ((scores >= t).sum() + there.sum()) for t in (threshold, *scores)]
        assert every[0] == max(every)
    first = predictions[0]
    assert first.found == [
        each for each in first.top(10) if each[1] >= model.thresholds(views)[model.class_names.index(each[0])]
    ]


def test_evaluate_tells_each_class_and_writes_what_it_saw(folder: Path) -> None:
    predictions, html = folder / "p.csv", folder / "t.html"
    options = ["--precision", "float32", "--views", 1]
    text = run(
        "evaluate", folder / "RUN", folder / "STORE", *options, "--predictions", predictions, "--html", html, "--json"
    )
    told = json.loads(text)
    rows = read_table(predictions)
    assert told["images"] == len(rows) == 16
    for each in told["classes"]:
        scores = [float(row[f"p:{each['name']}"]) for row in rows]
        there = [each["name"] in row["labels"].split("|") for row in rows]
        said = [each["name"] in row["said"].split("|") for row in rows]
        assert sum(there) == each["images"]
        counts = [sum(t and s for t, s in zip(there, said, strict=True)),
                  sum(s and not t for t, s in zip(there, said, strict=True)),
                  sum(t and not s for t, s in zip(there, said, strict=True))]  # fmt: skip
        assert [each["right"], each["false"], each["missed"]] == counts
        if sum(there):
            assert each["average_precision"] == pytest.approx(precision_written_out(scores, there), abs=1e-3)
    page = html.read_text(encoding="utf-8")
    assert "Mean AP" in page
    assert "What was missed, and what was false" in page
    shown = run("evaluate", folder / "RUN", folder / "STORE", *options)
    assert "mean AP" in shown
    doubted = json.loads(run("evaluate", folder / "RUN", folder / "STORE", "--split", "val", "--json", *options))[
        "doubts"
    ]
    assert doubted == [
        f"The thresholds of {folder / 'RUN'} were found on these very images: F1 scores look better than on others."
    ]
    assert "Average precision and F1 by class" in page
    whole = (folder / "RUN" / "report.html").read_text(encoding="utf-8")
    assert "Mean average precision" in whole
    assert "The set error counts images" in whole
    assert "any number of classes in a picture" in run("info", folder / "RUN")
    assert "any number of classes in a picture" in run("info", folder / "STORE")


def test_predict_lists_what_is_there_or_none(folder: Path, tmp_path: Path) -> None:
    picture = folder / "SCENES" / "test" / "75000.jpg"
    model = load_model(folder / "RUN" / "model.safetensors")
    for name, threshold in (("ALL", 0.001), ("NOTHING", 0.999)):
        every = (threshold,) * 10
        save_model(tmp_path / name, replace(model, independent=Independent({1: every, 10: every})))
    assert run("predict", tmp_path / "NOTHING", picture, "--one-line").strip() == f"{picture}\tnone"
    assert "none of the classes is at or above its threshold" in run("predict", tmp_path / "NOTHING", picture)
    assert len(run("predict", tmp_path / "ALL", picture, "--one-line").split("\t")) == 21
    told = json.loads(run("predict", tmp_path / "ALL", picture, "--json"))["images"][0]
    assert len(told["labels"]) == 10
    assert len(told["top"]) == 5
    assert told["labels"][:5] == told["top"]


def test_an_ensemble_has_the_mean_of_probabilities_and_thresholds(folder: Path, small_store_path: Path) -> None:
    one, other = load(folder / "RUN"), load(folder / "OTHER")
    both = Ensemble([one, other], [1, 3])
    assert both.thresholds(10) == pytest.approx(0.25 * one.thresholds(10) + 0.75 * other.thresholds(10))
    image = folder / "SCENES" / "test" / "75001.jpg"
    means = [
        0.25 * a + 0.75 * b
        for a, b in zip(*(m.predict(image, views=10)[0].probabilities for m in (one, other)), strict=True)
    ]
    assert both.predict(image, views=10)[0].probabilities == pytest.approx(means)
    saved = folder / "both.json"
    run("evaluate", folder / "RUN", folder / "OTHER", folder / "STORE", "--average", "--save-ensemble", saved)
    assert alexnet.load_ensemble(saved).independent is not None
    alone = replace(one.model, independent=None)
    with pytest.raises(WeightsError) as caught:
        Ensemble([one, Classifier(alone, Path("ALONE"))])
    assert str(caught.value) == (
        f"ALONE names one class for a picture, {one.path} any number of them, so they cannot be compared or averaged. "
        "Test models of one kind together, or one at a time."
    )


def test_an_interrupted_training_gives_the_same_weights_and_thresholds(folder: Path, tmp_path: Path) -> None:
    class Stops(Silent):
        def epoch_done(self, row: dict[str, Any]) -> None:
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    store, recipe = alexnet.open_store(folder / "STORE"), find_recipe(str(folder / "small.yaml"))
    with pytest.raises(AlexNetError):
        train(store, recipe, tmp_path / "R", listener=Stops(), precision="float32", checkpoint_minutes=1e-9)
    train(store, recipe, tmp_path / "R", listener=Silent(), precision="float32")
    again, whole = load_model(tmp_path / "R" / "model.safetensors"), load_model(folder / "RUN" / "model.safetensors")
    assert again.independent == whole.independent
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])


def test_the_best_epoch_is_that_of_the_highest_mean_average_precision(folder: Path, tmp_path: Path) -> None:
    store = alexnet.open_store(folder / "STORE")
    recipe = find_recipe(
        "cifar-80sec", [*SMALL, "stop.keep=best", "stop.patience_epochs=1", "optimization.learning_rate=0"]
    )
    said: list[str] = []

    class Listens(Silent):
        def notice(self, sentence: str) -> None:
            said.append(sentence)

    outcome = train(store, recipe, tmp_path / "R", listener=Listens(), precision="float32")
    precision = outcome.history[0]["val_mean_average_precision"]
    assert said[-1] == (
        f"Training ended after epoch 2: no improvement on the best error (1 - mean average precision) "
        f"{1 - precision:.4g} in epoch 1 for 1 epoch."
    )
    for name in ("model.safetensors", "last.safetensors"):
        found = load_model(tmp_path / "R" / name)
        assert found.independent is not None
        assert set(found.independent.thresholds) == {1, 10}


def test_models_of_one_class_are_written_as_before(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder / "RUN" / "model.safetensors")
    for kept, version in ((model, 3), (replace(model, independent=None), 2)):
        save_model(tmp_path / "m.safetensors", kept)
        assert f'\\"format\\": {version},'.encode() in (tmp_path / "m.safetensors").read_bytes()[:4000]
        assert load_model(tmp_path / "m.safetensors").independent == kept.independent


@pytest.mark.parametrize("ten_views", [False, True])
def test_onnx_ends_in_the_logistic_of_each_class(folder: Path, tmp_path: Path, ten_views: bool) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model, out = load(folder / "RUN"), tmp_path / "m.onnx"
    made = export_model(model.model, "onnx", out, ten_views=ten_views)
    image = np.asarray(alexnet.open_store(folder / "STORE")["test"].images[0])
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"images": image[None]})
    views = 10 if ten_views else 1
    assert found[0] == pytest.approx(model.predict(image, views=views)[0].probabilities, abs=1e-5)
    assert {node.op_type for node in onnx.load(out).graph.node} & {"Softmax", "Sigmoid"} == {"Sigmoid"}
    props = session.get_modelmeta().custom_metadata_map
    assert props["outputs"] == "independent"
    assert json.loads(props["thresholds"])[str(views)] == model.thresholds(views).tolist()
    assert made.program is not None
    assert f'["thresholds"])["{views}"]' in made.program
    program = export_model(model.model, "program", tmp_path / "m.pt2")
    assert program.notes == (
        "Classes are independent: the probability of each is the logistic of its logit, not a softmax over all.",
    )


def test_an_index_of_a_store_names_all_classes(folder: Path, tmp_path: Path) -> None:
    run("search", "index", folder / "RUN", folder / "STORE", "--out", tmp_path / "INDEX", "--precision", "float32")
    told = json.loads(run("search", "query", tmp_path / "INDEX", folder / "SCENES" / "test" / "75000.jpg", "--json"))
    assert "|" in json.dumps(told)


def test_what_has_no_meaning_is_refused_in_a_sentence(folder: Path, small_store_path: Path, tmp_path: Path) -> None:
    store, model = alexnet.open_store(folder / "STORE"), load(folder / "RUN")
    for field in ("batches.balance=classes", "stop.metric=balanced_error"):
        recipe = find_recipe("cifar-80sec", [*SMALL, field, "stop.keep=best"])
        with pytest.raises(RecipeError) as refused:
            train(store, recipe, tmp_path / "R", listener=Silent())
        assert str(refused.value).startswith(field.partition("=")[0])
    for options, beginning in (
        (["--top", 3], "--top asks whether"),
        (["--calibrated"], "--calibrated scales"),
        (["--fit-weights", "val", "--split", "test"], "--fit-weights lowers"),
    ):
        assert run("evaluate", folder / "RUN", folder / "OTHER", folder / "STORE", *options, refused=True).startswith(
            beginning
        )
    small = ["--recipe", folder / "small.yaml"]
    said = run("train", folder / "STORE", *small, "--folds", 3, "--out", tmp_path / "F", refused=True)
    assert said == (
        f"--folds 3: divides images of one class each, and those of {folder / 'STORE'} have any number. Train without "
        "it; a third split tells the error on new images: prepare with --test-fraction."
    )
    said = run("train", folder / "STORE", *small, "--reject", 0.05, "--out", tmp_path / "F", refused=True)
    assert said.startswith("--reject 0.05: a picture of")
    with pytest.raises(ConfigError) as caught:
        calibrate(model, store)
    assert str(caught.value).startswith(f"{folder / 'RUN'}: a picture may have any number of its classes, or none.")
    with pytest.raises(ConfigError):
        model.predict(folder / "SCENES" / "test" / "75000.jpg", calibrated=True)
    said = run("reproduce", "normalisation-cifar", "--store", store.path, "--out", tmp_path / "X", refused=True)
    assert said == (
        f"{store.path}: holds any number of labels for an image; the experiments are about images of one class each. "
        "Prepare such a store."
    )
    with pytest.raises(WeightsError) as one:
        model.evaluate_sets(alexnet.open_store(small_store_path))
    assert str(one.value) == (
        f"{folder / 'RUN'} learned pictures with any number of classes; {small_store_path} has one label for each. Test it "
        "on a store of such pictures: prepare a table with --labels several."
    )
    alone = Classifier(replace(model.model, independent=None), Path("ALONE"))
    with pytest.raises(WeightsError) as several:
        alone.evaluate(store)
    assert str(several.value) == (
        f"ALONE names one class for a picture; {store.path} has any number of labels for each. Test a model that was "
        "trained on such a store."
    )
    assert not (tmp_path / "R").exists()
    assert not (tmp_path / "F").exists()


def test_parts_of_batches_give_the_same_losses(folder: Path, tmp_path: Path) -> None:
    store, recipe = alexnet.open_store(folder / "STORE"), find_recipe(str(folder / "small.yaml"))
    parts = train(store, recipe, tmp_path / "R", listener=Silent(), precision="float32", local_batch=5)
    whole = [json.loads(line) for line in (folder / "RUN" / "metrics.jsonl").read_text().splitlines()]
    for own, other in zip(parts.history, whole, strict=True):
        assert own["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert own["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)
