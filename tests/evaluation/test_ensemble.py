"""Several models in one test: averages, weights, comparisons, calibration, and what makes a test unfair."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import alexnet
from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.ensemble import Ensemble, FittedOn, fit_weights, load_ensemble, save_ensemble
from alexnet.evaluation.metrics import compare_errors, find_errors, mcnemar_p_value, measure_calibration
from alexnet.evaluation.prediction_files import write_submission
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model
from alexnet.text.names import unescape_name
from conftest import write_oddly_named

CLASSES = ("ant", "bee", "cat")


def write_model(
    path: Path,
    *,
    seed: int,
    classes: tuple[str, ...] = CLASSES,
    titles: tuple[str, ...] | None = None,
    size: int = 256,
    mean: float = 120,
    **environment: Any,
) -> Path:
    mean_image = np.full((size, size, 3), mean, np.float32)
    network = build("cifar-80sec", len(classes), seed=seed, initialization="he")
    provenance = {"environment": environment}
    save_model(path, Model(network, classes, titles or classes, Preprocessing(mean_image, 60.0), provenance))
    return path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--threads", "1"])
    return result.exit_code, result.output + (str(result.exception) if result.exception else "")


def test_classes_are_listed_by_their_readable_names(small_store_path: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "titled.safetensors", seed=0, titles=("Ameise", "Biene", "cat"))
    code, output = call(path, small_store_path, "--views", 1)
    assert code == 0, output
    assert sorted(line.split()[0] for line in output.splitlines()[-3:]) == ["Ameise", "Biene", "cat"]


def test_an_average_is_the_weighted_mean_of_probabilities_whatever_the_order_of_classes(
    models: list[Path], small_store_path: Path
) -> None:
    store = alexnet.open_store(small_store_path)
    images = [np.asarray(store["val"].images[i]) for i in range(4)]
    members = [alexnet.load(path, precision="float32") for path in models]
    ensemble = Ensemble(members, [1, 2, 1])
    assert ensemble.weights == (0.25, 0.5, 0.25)
    single = [member.predict(images, views=10) for member in members]
    for position, prediction in enumerate(ensemble.predict(images, views=10)):
        for column, name in enumerate(CLASSES):
            each = [single[m][position].probabilities[members[m].class_names.index(name)] for m in range(len(members))]
            expected = 0.25 * each[0] + 0.5 * each[1] + 0.25 * each[2]
            assert prediction.probabilities[column] == pytest.approx(expected, abs=1e-6)


def test_members_of_other_classes_or_sizes_are_refused(models: list[Path], tmp_path: Path) -> None:
    first = alexnet.load(models[0])
    other = alexnet.load(write_model(tmp_path / "d.safetensors", seed=0, classes=("ant", "bee", "dog")))
    with pytest.raises(WeightsError, match=r"do not have the same classes \(only one of them has cat, dog\)"):
        Ensemble([first, other])
    small = alexnet.load(write_model(tmp_path / "s.safetensors", seed=0, size=32))
    with pytest.raises(WeightsError, match=r"reads images of 32 px, .*0.safetensors of 256 px"):
        Ensemble([first, small])
    for weights in ([1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]):
        with pytest.raises(ConfigError, match="do not fit 2 models: give one for each, 0 or more"):
            Ensemble([first, first], weights)


def test_weights_are_found_by_coordinate_descent_on_the_grid_of_2012() -> None:
    labels = np.array([0, 1, 0, 1])
    good = np.array([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]], np.float32)
    bad = np.array([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], np.float32)
    weights = fit_weights([good, bad], labels, k=1)
    mean = weights[0] * good + weights[1] * bad
    assert (mean.argmax(1) == labels).all()
    assert weights == (1.0, 0.0)
    assert fit_weights([good, good], labels, k=1) == (0.5, 0.5)


def test_an_ensemble_file_is_used_like_a_model(models: list[Path], small_store_path: Path, tmp_path: Path) -> None:
    saved = tmp_path / "folder" / "two.json"
    saved.parent.mkdir()
    code, output = call(models[0], models[1], small_store_path, "--average", "--save-ensemble", saved, "--views", 1)
    assert code == 0, output
    assert "average of 2" in output
    document = json.loads(saved.read_text())
    assert [member["path"] for member in document["members"]] == ["../0.safetensors", "../1.safetensors"]
    assert document["fitted_on"] is None
    code, output = call(saved, small_store_path, "--views", 1, "--json")
    assert code == 0, output
    picture = next((small_store_path.parent / "pictures").rglob("*.png"))
    result = CliRunner().invoke(cli, ["predict", str(saved), str(picture), "--json"])
    assert result.exit_code == 0, result.output
    top = json.loads(result.stdout)["images"][0]["top"]
    assert sum(each["probability"] for each in top) == pytest.approx(1, abs=1e-5)
    assert top[0]["probability"] == pytest.approx(load_ensemble(saved).predict([picture], views=10)[0].top(1)[0][1])
    with pytest.raises(WeightsError, match="is an ensemble, which evaluate and predict take"):
        alexnet.load(saved)


def test_an_ensemble_is_exported_as_one_graph(models: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    saved, out = tmp_path / "two.json", tmp_path / "two.onnx"
    save_ensemble(saved, Ensemble([alexnet.load(path, precision="float32") for path in models[:2]], [1, 3]))
    result = CliRunner().invoke(cli, ["export", str(saved), "--to", "onnx", "--out", str(out)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "2 networks, from stored images to ten-view probabilities" in " ".join(result.output.split())
    import onnxruntime

    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    (found,) = session.run(None, {"images": image[None]})
    expected = load_ensemble(saved, precision="float32").predict([image], views=10)[0].probabilities
    assert np.abs(found[0] - expected).max() < 1e-5
    result = CliRunner().invoke(cli, ["export", str(saved), "--to", "program", "--out", str(tmp_path / "x.pt2")])
    assert "an ensemble is exported --to onnx" in str(result.exception)


def test_a_member_that_is_missing_or_changed_is_named(models: list[Path], tmp_path: Path) -> None:
    saved = tmp_path / "two.json"
    save_ensemble(saved, Ensemble([alexnet.load(path) for path in models[:2]]))
    assert load_ensemble(saved).fitted_on is None
    whole = saved.read_text()
    saved.write_text(whole.replace('"weight": 0.5', '"weight": 0.7', 1))
    with pytest.raises(
        WeightsError, match=r"cannot be read as an ensemble \(it does not agree with its own checksum\)"
    ):
        load_ensemble(saved)
    saved.write_text(whole)
    shutil.copy(models[2], models[1])
    with pytest.raises(WeightsError, match=r"its member .*1.safetensors is not the file it was"):
        load_ensemble(saved)
    models[1].unlink()
    with pytest.raises(WeightsError, match=r"its member .*1.safetensors is missing. Put it back"):
        load_ensemble(saved)
    saved.write_text('{"kind": "alexnet ensemble", "members": 3}')
    with pytest.raises(WeightsError, match="cannot be read as an ensemble"):
        load_ensemble(saved)
    saved.write_text(json.dumps({"kind": "alexnet ensemble", "format": 99, "members": []}))
    with pytest.raises(WeightsError, match="has format 99, newer"):
        load_ensemble(saved)


def test_two_models_are_compared_in_pairs(models: list[Path], small_store_path: Path) -> None:
    code, output = call(models[0], models[2], small_store_path, "--views", 1, "--json")
    assert code == 0, output
    found = json.loads(output[output.index("{") :])
    first, second = found["models"]
    comparison = second["against_first"]
    assert comparison["difference"] == pytest.approx(second["top1_error"] - first["top1_error"])
    assert comparison["only_second"] - comparison["only_first"] == round(9 * comparison["difference"])
    assert "against_first" not in first
    code, output = call(models[0], models[2], small_store_path, "--views", 1)
    flat = " ".join(output.split())
    assert (
        f"Top-1 error against {models[0]}, image by image points 95 % interval wrong here alone in the first alone"
        in flat
    )


def test_a_difference_is_paired_image_by_image() -> None:
    theirs = np.zeros(1000)
    theirs[:300] = 1
    ours = theirs.copy()
    ours[300:320] = 1  # the same errors, and twenty more
    comparison = compare_errors(theirs, ours)
    assert comparison.difference == pytest.approx(0.02)
    low, high = comparison.interval
    assert 0.011 < low < 0.014
    assert 0.026 < high < 0.030
    assert (comparison.only_first, comparison.only_second) == (0, 20)
    assert comparison.p_value == pytest.approx(2 * 0.5**20)
    assert compare_errors(theirs, theirs).interval == (0, 0)
    with pytest.raises(ConfigError, match="errors of 3 and 2 images cannot be compared in pairs"):
        compare_errors(np.zeros(3), np.zeros(2))


def test_mcnemar_is_the_binomial_test() -> None:
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(5, 5) == 1
    assert mcnemar_p_value(1, 9) == pytest.approx(2 * (1 + 10) / 1024)
    assert mcnemar_p_value(1500, 1700) == pytest.approx(0.00043, rel=0.1)


def test_calibration_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.79, 0.21]] * 10 + [[0.55, 0.45]] * 10, np.float32)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 10)
    found = measure_calibration(probabilities, labels)
    assert found.expected_error == pytest.approx(0.5 * 0.01 + 0.5 * 0.45, abs=1e-6)
    assert found.images[11] == 10
    assert found.confidence[11] == pytest.approx(0.79)
    assert found.accuracy[8] == 1
    assert found.accuracy[0] is None
    assert measure_calibration(np.array([[1.0, 0.0]], np.float32), np.array([0])).images[-1] == 1


def test_predictions_come_as_csv_and_parquet(models: list[Path], small_store_path: Path, tmp_path: Path) -> None:
    table, parquet = tmp_path / "p.csv", tmp_path / "p.parquet"
    assert call(models[0], small_store_path, "--views", 1, "--predictions", table)[0] == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 9
    assert set(rows[0]) == {
        "path",
        "label",
        "class_1",
        "probability_1",
        "class_2",
        "probability_2",
        "class_3",
        "probability_3",
    }
    assert call(models[0], small_store_path, "--views", 1, "--predictions", parquet)[0] == 0
    read = pytest.importorskip("pyarrow.parquet").read_table(parquet).to_pydict()
    assert read["path"] == [row["path"] for row in rows]
    assert read["probability_1"][0] == pytest.approx(float(rows[0]["probability_1"]), abs=1e-6)
    code, output = call(models[0], small_store_path, "--views", 1, "--predictions", tmp_path / "p.xlsx")
    assert code == 1
    assert "accepted are files named .csv and .parquet" in output


def test_a_report_is_one_page_with_its_figures(models: list[Path], small_store_path: Path, tmp_path: Path) -> None:
    html, figures = tmp_path / "test.html", tmp_path / "figures"
    code, output = call(models[0], models[1], small_store_path, "--average", "--views", 1, "--html", html,
                        "--figures", figures)  # fmt: skip
    assert code == 0, output
    page = html.read_text(encoding="utf-8")
    for part in ("average of 2", "McNemar", "What is taken for what", "Can its confidence be trusted?", "--average",
                 "Balanced error"):  # fmt: skip
        assert part in page
    assert "http:" not in page
    rows = list(csv.DictReader((figures / "confusion.csv").read_text().splitlines()))
    assert sum(int(row["images"]) for row in rows) == 9
    assert {path.name for path in figures.iterdir()} >= {"confusion.png", "reliability.svg", "reliability-dark.png"}


def test_a_submission_has_five_labels_a_line_counted_from_one(tmp_path: Path) -> None:
    probabilities = np.array([[0.1, 0.3, 0.05, 0.2, 0.15, 0.2], [0.9, 0.06, 0.01, 0.015, 0.01, 0.005]], np.float32)
    write_submission(tmp_path / "s.txt", probabilities, ["val/ant/val_0002.JPEG", "val/bee/val_0001.JPEG"])
    assert (tmp_path / "s.txt").read_text() == "1 2 4 3 5\n2 4 6 5 1\n"


SIX = ("ant", "bee", "cat", "dog", "eel", "fox")


def test_a_submission_is_refused_or_left_out_where_its_lines_would_lie(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.txt"
    code, output = call(models[0], small_store_path, "--submission", out)
    assert code == 1
    assert "a line holds 5 classes; " in output
    assert "knows 3. Use --predictions." in output
    pictures = tmp_path / "pictures"
    shutil.copytree(small_store_path.parent / "pictures" / "val", pictures)
    six = write_model(tmp_path / "six.safetensors", seed=0, classes=SIX)
    assert call(six, pictures, "--views", 1, "--submission", out)[0] == 0
    assert [len(line.split()) for line in out.read_text().splitlines()] == [5] * 9
    out.unlink()
    (pictures / "ant" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, output = call(six, pictures, "--views", 1, "--submission", out)
    assert code == 1
    assert "was not written: a line stands for an image by its place, and 1 image could not be read" in " ".join(
        output.split()
    )
    assert not out.exists()


def test_a_folder_of_class_folders_can_be_tested(models: list[Path], small_store_path: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(small_store_path.parent / "pictures", pictures)
    code, of_store = call(models[0], small_store_path, "--views", 1, "--json")
    code, output = call(models[0], pictures, "--views", 1, "--json")
    assert code == 0, output
    numbers = [json.loads(text[text.index("{") :]) for text in (of_store, output)]
    assert numbers[0]["top1_error"] == numbers[1]["top1_error"]
    broken = pictures / "val" / "ant" / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    code, output = call(models[0], pictures, "--views", 1)
    assert code == 1
    assert f"Left out: {broken}" in " ".join(output.split())
    assert "9 images of" in output


def test_what_is_wrong_with_the_arguments_is_said_with_the_right_command(
    models: list[Path], small_store_path: Path
) -> None:
    code, output = call(small_store_path, models[0])
    assert code == 1
    assert f"alexnet evaluate {models[0]} {small_store_path}" in output
    code, output = call(models[0], models[1])
    assert code == 1
    assert f"{models[1]} is a model; the last argument is what to test on" in output
    for options, reason in (
        (("--top", 3), "--top 3: of 3 classes the top 3 always hold the right one. Accepted are 1 to 2."),
        (("--average",), "an average needs two models or more"),
        (("--split", "test"), "split 'test' has no images. Those that have: train, val."),
        (("--save-ensemble", "x.json"), "--save-ensemble keeps an average. Add --average"),
    ):
        code, output = call(models[0], small_store_path, *options)
        assert code == 1
        assert reason in output
    code, output = call(models[0], models[1], small_store_path, "--fit-weights", "val")
    assert code == 1
    assert "would find weights on the images that are reported" in output


def test_weights_are_fitted_on_another_split_than_the_one_reported(models: list[Path], small_store_path: Path) -> None:
    code, output = call(models[0], models[2], small_store_path, "--fit-weights", "train", "--views", 1, "--json")
    assert code == 0, output
    found = json.loads(output[output.index("{") :])
    assert sum(found["weights"]) == pytest.approx(1)
    assert found["models"][-1]["model"] == "average of 2"


def test_weights_are_never_reported_on_the_images_they_were_found_on(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "two.json"
    code, output = call(models[0], models[2], small_store_path, "--fit-weights", "train", "--views", 1,
                        "--save-ensemble", saved)  # fmt: skip
    assert code == 0, output
    fitted_on = load_ensemble(saved).fitted_on
    assert fitted_on == FittedOn(
        f"{small_store_path}, split train", alexnet.open_store(small_store_path).fingerprint, "train"
    )
    warning = "Weights of the average were found on these very images"
    assert warning in " ".join(call(saved, small_store_path, "--split", "train", "--views", 1)[1].split())
    assert warning not in " ".join(call(saved, small_store_path, "--views", 1)[1].split())
    # A folder without a part for each split is the same images under both names.
    plain = small_store_path.parent / "pictures" / "val"
    code, output = call(models[0], models[2], plain, "--fit-weights", "train", "--views", 1)
    assert code == 1
    assert "has no folders train and val, so --fit-weights would find weights on the images that are reported" in output


def test_weights_found_on_training_images_are_noticed(small_store_path: Path, tmp_path: Path) -> None:
    fingerprint = alexnet.open_store(small_store_path).fingerprint
    a, b = (
        write_model(
            tmp_path / f"{seed}.safetensors", seed=seed, store=str(small_store_path), store_fingerprint=fingerprint
        )
        for seed in (0, 1)
    )
    code, output = call(a, b, small_store_path, "--fit-weights", "train", "--views", 1)
    assert code == 0, output
    flat = " ".join(output.split())
    assert f"Weights were found on the images that {a} and {b} learned from" in flat


def test_an_ensemble_is_compared_with_models_and_joined_with_them(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    saved, more = tmp_path / "two.json", tmp_path / "three.json"
    save_ensemble(saved, Ensemble([alexnet.load(path) for path in models[:2]], [3, 1]))
    code, output = call(models[0], saved, models[2], small_store_path, "--views", 1, "--average", "--json",
                        "--save-ensemble", more)  # fmt: skip
    assert code == 0, output
    found = json.loads(output[output.index("{") :])["models"]
    assert [each["model"] for each in found] == [*map(str, (models[0], saved, models[2])), "average of 3"]
    joined = load_ensemble(more)
    assert [member.path.name for member in joined.members] == ["0.safetensors", "1.safetensors", "2.safetensors"]
    assert joined.weights == pytest.approx(((1 + 0.75) / 3, 0.25 / 3, 1 / 3))
    store = alexnet.open_store(small_store_path)
    images = [np.asarray(store["val"].images[i]) for i in range(9)]
    labels = [store.class_names[label] for label in store["val"].labels]
    wrong = sum(
        prediction.top(1)[0][0] != label
        for prediction, label in zip(load_ensemble(saved).predict(images), labels, strict=True)
    )
    assert found[1]["top1_error"] == pytest.approx(wrong / 9)


def test_files_that_cannot_be_written_are_refused_before_an_image_is_read(
    models: list[Path], small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.evaluation.assessment.run_trial", None)  # calling it would be a TypeError
    before = models[1].read_bytes()
    for options, reason in (
        (("--save-ensemble", models[1], "--average"), f"--save-ensemble {models[1]}: is a model that is tested."),
        (("--predictions", tmp_path / "p.xlsx"), "accepted are files named .csv and .parquet"),
        (("--html", tmp_path / "x", "--predictions", tmp_path / "x"), "is what --html writes already. Choose another"),
    ):
        code, output = call(models[0], models[1], small_store_path, *options)
        assert code == 1
        assert reason in output
    assert models[1].read_bytes() == before


def test_a_difference_shares_ties_as_the_errors_do() -> None:
    tied = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    labels = np.array([0, 1])
    assert find_errors(tied, labels).tolist() == [0.5, 0.5]
    assert compare_errors(find_errors(tied, labels), np.zeros(2)).difference == -0.5


def test_leakage_is_noticed(small_store_path: Path, tmp_path: Path) -> None:
    store = alexnet.open_store(small_store_path)
    own = write_model(
        tmp_path / "own.safetensors", seed=0, store=str(small_store_path), store_fingerprint=store.fingerprint
    )
    code, output = call(own, small_store_path, "--split", "train", "--views", 1)
    assert code == 0, output
    assert "was trained on these very images" in " ".join(output.split())
    code, output = call(own, small_store_path, "--views", 1)
    assert "trained on" not in output
    copied = tmp_path / "copied"
    images = np.stack([np.asarray(store["train"].images[i]) for i in range(4)])
    from conftest import write_store

    write_store(copied, {"train": (images, [0, 0, 1, 2]), "val": (images, [0, 0, 1, 2])}, list(CLASSES))
    code, output = call(own, copied, "--views", 1)
    assert "trained on 4 images of these, pixel for pixel: leakage makes the error look lower." in " ".join(
        output.split()
    )
    # The pictures that the store was made of, without a store.
    code, output = call(own, small_store_path.parent / "pictures" / "train", "--views", 1)
    assert f"{own} was trained on 24 images of these, pixel for pixel:" in " ".join(output.split())
    code, output = call(own, small_store_path.parent / "pictures", "--views", 1)
    assert "pixel for pixel" not in output


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_any_name_of_a_file_comes_back_from_predictions(models: list[Path], tmp_path: Path, suffix: str) -> None:
    files = write_oddly_named(tmp_path / "odd" / "ant")
    out = tmp_path / f"p{suffix}"
    code, output = call(models[0], tmp_path / "odd", "--views", 1, "--predictions", out)
    assert code == 0, output
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            paths = [row["path"] for row in csv.DictReader(file)]
    else:
        paths = pytest.importorskip("pyarrow.parquet").read_table(out)["path"].to_pylist()
    assert [unescape_name(path) for path in paths] == [f"ant/{file.name}" for file in files]
    assert r"ant/\x1b[31mred.png" in paths


def test_predict_writes_every_name_on_one_line_and_the_same_everywhere(models: list[Path], tmp_path: Path) -> None:
    files = write_oddly_named(tmp_path / "odd")
    base = ["predict", str(models[0]), str(tmp_path / "odd"), "--views", "1", "--threads", "1"]
    lines = CliRunner().invoke(cli, [*base, "--one-line"]).stdout.splitlines()
    listed = [line.split("\t")[0] for line in lines]
    assert [unescape_name(name) for name in listed] == [str(file) for file in files]
    document = json.loads(CliRunner().invoke(cli, [*base, "--json"]).stdout)
    assert [image["path"] for image in document["images"]] == listed
    blocks = CliRunner().invoke(cli, [*base, "--top", "1"]).stdout
    assert blocks.splitlines()[::2] == listed
    assert "\x1b" not in blocks


def test_an_ensemble_finds_its_members_under_any_name(models: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "odd\nfolder\\"
    folder.mkdir()
    shutil.copy(models[0], folder / "m.safetensors")
    save_ensemble(tmp_path / "e.json", Ensemble([alexnet.load(folder / "m.safetensors")]))
    assert json.loads((tmp_path / "e.json").read_text())["members"][0]["path"] == r"odd\x0afolder\\/m.safetensors"
    assert load_ensemble(tmp_path / "e.json").members[0].path == folder / "m.safetensors"


def test_the_terminal_says_what_guessing_would_give(models: list[Path], small_store_path: Path) -> None:
    _, output = call(models[0], small_store_path, "--views", 1)
    assert "\nGuessing among 3 classes would be wrong for 66.67 %.\n" in output
