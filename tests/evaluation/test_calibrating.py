"""Temperatures, references and thresholds: what they are, where they are kept, and what is then answered."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from evaluation.test_ensemble import CLASSES, write_model
from numpy.typing import NDArray

import alexnet
from alexnet.cli import cli
from alexnet.console.terminal import percent
from alexnet.data.store.reader import Store
from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.assessment import assess
from alexnet.evaluation.assessment_options import Options
from alexnet.evaluation.calibrating import (
    Confidence,
    calibrate,
    choose_references,
    find_threshold,
    save_calibration,
)
from alexnet.evaluation.ensemble import Ensemble, FittedOn, load_ensemble, save_ensemble
from alexnet.evaluation.evaluate import compute_outputs, predict_probabilities
from alexnet.evaluation.metrics import TEMPERATURES, fit_temperature, measure_calibration
from alexnet.evaluation.record import digest_weights, read_errors, write_errors
from alexnet.files.tensors import read_document
from alexnet.network.confidence import Rejection, for_views, scale_probabilities
from alexnet.network.model_file import load_model, save_model, tensors_of
from alexnet.runs.display import describe_calibration
from conftest import write_store

PER_CLASS = 7


def call(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [*map(str, arguments), "--threads", "1", "--precision", "float32"])
    return result.stdout + (str(result.exception) if result.exception else "")


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Images of 32 px of three classes, each of another brightness, so that features differ."""
    generator = np.random.default_rng(0)

    def draw(per_class: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = np.arange(3).repeat(per_class)
        images = generator.normal(60 + 60 * labels[:, None, None, None], 30, (3 * per_class, 32, 32, 3))
        return np.clip(images, 0, 255).astype(np.uint8), labels

    return write_store(tmp_path_factory.mktemp("store") / "store", {"train": draw(PER_CLASS), "val": draw(20)}, CLASSES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.safetensors", seed=0, size=32)


def load(path: Path) -> alexnet.Classifier:
    return alexnet.load(path, device="cpu", precision="float32")


@pytest.fixture
def rejecting(path: Path, store: Store) -> Path:
    """The same model, calibrated to reject a fifth."""
    classifier = load(path)
    save_calibration(classifier, calibrate(classifier, store, reject=0.2))
    return path


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_is_that_of_a_direct_minimisation(true: float) -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 2, (2000, 5))
    labels = np.array([generator.choice(5, p=row) for row in softmax(logits / true)])
    probabilities = softmax(logits).astype(np.float32)
    grid = np.linspace(0.8 * true, 1.25 * true, 901)
    losses = [-np.log(scale_probabilities(probabilities, each)[np.arange(2000), labels]).mean() for each in grid]
    found = fit_temperature(probabilities, labels)
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=grid[1] - grid[0])
    assert found == pytest.approx(true, rel=0.1)


def test_a_temperature_stays_in_its_range_whatever_the_probabilities() -> None:
    sure = np.eye(3, dtype=np.float32)
    assert fit_temperature(0.8 * sure + 0.05, np.arange(3)) == pytest.approx(TEMPERATURES[0])
    assert fit_temperature(sure, np.array([1, 2, 0])) == pytest.approx(TEMPERATURES[1])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_of_one_view_scaled_probabilities_are_the_softmax_of_scaled_logits(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 6))
    found = scale_probabilities(softmax(logits).astype(np.float32), temperature)
    np.testing.assert_allclose(found, softmax(logits / temperature), rtol=2e-5, atol=1e-7)
    assert found.dtype == np.float32


def test_scaling_keeps_the_order_and_sums_to_one_where_probabilities_are_extreme() -> None:
    rows = np.array([[1.0, 0.0, 0.0], [1e-3, 1 - 2e-3, 1e-3], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    for temperature in TEMPERATURES:
        found = scale_probabilities(rows, temperature)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        assert found.argmax(1).tolist() == [0, 1, 0]


def test_features_are_what_the_last_layer_reads_in_the_pass_that_gives_the_probabilities(
    path: Path, store: Store
) -> None:
    classifier = load(path)
    images = [store["val"].images[number] for number in range(5)]
    network, preprocessing = classifier.network, classifier.model.preprocessing
    read: list[torch.Tensor] = []
    network.named_layers()[-1][1].register_forward_pre_hook(lambda layer, given: read.append(given[0]))
    for views in (1, 9, 10):
        (outputs,) = compute_outputs(network, images, preprocessing, classifier.compute, num_views=views)
        plain = torch.cat(
            list(predict_probabilities(network, images, preprocessing, classifier.compute, num_views=views))
        )
        assert torch.equal(outputs.probabilities, plain)
        read.clear()
        inputs = preprocessing.make_views(images, network.spec.input_px, torch.float32, views=views)
        with torch.inference_mode():
            network(inputs.flatten(0, 1))
        expected = read[0].flatten(1).reshape(5, views, -1).mean(1)
        assert expected.shape == (5, network.num_features)
        torch.testing.assert_close(outputs.features, expected, rtol=1e-4, atol=1e-5)


def test_references_are_all_training_images_or_an_equal_share_of_each_class_evenly_spaced() -> None:
    labels = np.repeat([0, 1, 2], [200, 50, 20])
    assert choose_references(labels).tolist() == list(range(270))
    assert choose_references(labels, 150).tolist() == [*range(0, 200, 4), *range(200, 270)]
    mixed = np.random.default_rng(0).permutation(labels)
    chosen = choose_references(mixed, 150)
    assert (np.diff(chosen) > 0).all()
    assert np.bincount(mixed[chosen]).tolist() == [50, 50, 20]
    many = choose_references(np.repeat(np.arange(1000), 10))
    assert many.tolist() == [10 * label + position for label in range(1000) for position in (0, 2, 5, 7)]
    assert choose_references(np.arange(5000)).tolist() == list(range(5000))


@pytest.mark.parametrize(("reject", "accepted"), [(0.05, 95), (0.2, 80), (0.999, 1), (0.001, 100), (0.07, 93)])
def test_a_threshold_accepts_the_share_that_was_asked_for(reject: float, accepted: int) -> None:
    distances = np.random.default_rng(0).permutation(100).astype(np.float32) / 128
    assert int((distances <= find_threshold(distances, reject)).sum()) == accepted


def test_the_distance_is_one_less_the_cosine_to_the_nearest_reference() -> None:
    rejection = Rejection(np.array([[2, 0], [0, 3]], np.float32), {1: 0.1, 10: 0.2}, 0.05)
    found = rejection.measure(np.array([[5, 0], [1, 1], [-1, 0], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [0, 1 - 2**-0.5, 1, 1], atol=1e-6)
    assert [rejection.threshold(views) for views in (1, 9, 10)] == [0.1, 0.2, 0.2]


def test_a_calibration_is_what_the_probabilities_of_the_split_say(path: Path, store: Store) -> None:
    classifier = load(path)
    ticks: list[tuple[int, int]] = []
    found = calibrate(classifier, store, reject=0.2, tick=lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (3 * PER_CLASS + 11 * 60, 3 * PER_CLASS + 11 * 60)
    images, labels = list(store["val"].images), np.asarray(store["val"].labels)
    assert found.rejection is not None
    for views in (1, 10):
        answer = classifier.compute_answer(images, views=views)
        assert found.temperatures[views] == pytest.approx(fit_temperature(answer.probabilities, labels), rel=1e-4)
        scaled = scale_probabilities(answer.probabilities, found.temperatures[views])
        expected = [measure_calibration(each, labels).expected_error for each in (answer.probabilities, scaled)]
        assert found.errors[views] == pytest.approx(expected, abs=1e-4)
        features = np.concatenate([each.features for each in classifier.compute_outputs(images, views=views)])
        distances = found.rejection.measure(features)
        assert (distances <= found.rejection.thresholds[views] + 1e-6).mean() == pytest.approx(0.8, abs=1 / 60)
    (learned,) = classifier.compute_outputs(list(store["train"].images), views=1)
    np.testing.assert_allclose(found.rejection.references, learned.features, rtol=1e-5, atol=1e-6)


def test_what_was_found_is_kept_in_the_file_and_nothing_else_changes(path: Path, store: Store) -> None:
    before, classifier = load_model(path), load(path)
    found = calibrate(classifier, store, reject=0.2)
    assert save_calibration(classifier, found) == path
    after = load_model(path)
    assert found.rejection is not None
    assert after.rejection is not None
    assert (after.temperatures, after.rejection.thresholds, after.rejection.share) == (
        found.temperatures,
        found.rejection.thresholds,
        0.2,
    )
    np.testing.assert_array_equal(after.rejection.references, found.rejection.references)
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(tensor, after.network.state_dict()[name])
    on = {"images": 60, "store_fingerprint": store.fingerprint, "split": "val"}
    assert (after.class_names, after.provenance) == (before.class_names, {**before.provenance, "calibration": on})
    save_calibration(load(path), calibrate(load(path), store))
    again = load_model(path)
    assert again.temperatures == pytest.approx(found.temperatures)
    assert again.rejection is None


def test_a_model_that_was_not_calibrated_has_the_file_of_before(path: Path) -> None:
    document = read_document(path, kinds=("model",), newest_format=2)
    assert "temperatures" not in document
    assert "rejection" not in document
    model = load_model(path)
    assert (model.temperatures, model.rejection) == ({}, None)
    assert "references" not in tensors_of(model)


def test_the_test_and_report_of_a_run_stay_those_of_its_weights(tmp_path: Path, store: Store) -> None:
    path = write_model(tmp_path / "model.safetensors", seed=0, size=32)
    write_errors(tmp_path, [], weights=digest_weights(path), split="val", store_fingerprint="f")
    save_calibration(load(path), calibrate(load(path), store))
    assert read_errors(tmp_path, digest_weights(path)) is not None


def test_an_unknown_picture_is_one_beyond_the_threshold_and_probabilities_stay_raw(
    rejecting: Path, store: Store
) -> None:
    classifier, images = load(rejecting), list(store["val"].images)
    rejection = classifier.rejection
    assert rejection is not None
    for views in (1, 10):
        raw, scaled = (classifier.predict(images, views=views, calibrated=each) for each in (False, True))
        assert 11 <= sum(each.is_unknown for each in raw) <= 13
        for one, other in zip(raw, scaled, strict=True):
            assert one.distance is not None
            assert one.is_unknown == (one.distance > rejection.threshold(views))
            assert (other.distance, other.is_unknown) == (one.distance, one.is_unknown)
            expected = scale_probabilities(one.probabilities[None], for_views(classifier.temperatures, views))[0]
            np.testing.assert_allclose(other.probabilities, expected, rtol=1e-6)
    plain = replace(classifier.model, temperatures={}, rejection=None)
    save_model(rejecting, plain)
    for one, other in zip(load(rejecting).predict(images), classifier.predict(images), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        assert (one.distance, one.is_unknown) == (None, False)


def test_calibrate_predict_and_info_say_what_is_unknown(path: Path, store: Store, tmp_path: Path) -> None:
    from PIL import Image

    printed = call("calibrate", path, store.path, "--reject", 0.2)
    assert "60 images of val" in printed
    assert 'A picture that is farther than its largest distance from all it learned is "unknown".' in printed
    model = load_model(path)
    assert model.rejection is not None
    model.rejection.references[:] *= -1
    save_model(path, model)  # now everything is unlike its class
    Image.fromarray(store["val"].images[0]).save(tmp_path / "a.png")
    document = json.loads(call("predict", path, tmp_path / "a.png", "--json", "--views", 1))
    (image,) = document["images"]
    assert image["unknown"] is True
    assert image["distance"] > document["threshold"] == model.rejection.thresholds[1]
    lines = call("predict", path, tmp_path / "a.png", "--views", 1)
    assert (
        f"  unknown: its distance is {image['distance']:.4f}, accepted are up to {document['threshold']:.4f}" in lines
    )
    line = call("predict", path, tmp_path / "a.png", "--views", 1, "--one-line").splitlines()[0]
    assert line == f"{tmp_path / 'a.png'}\tunknown\t{image['distance']:.4f}"
    shown = CliRunner().invoke(cli, ["info", str(path)]).output
    assert f"{model.temperatures[1]:.3f} in one view, {model.temperatures[10]:.3f} in ten" in shown
    assert "of the validation images 20.00 % are" in " ".join(shown.split())


def test_evaluate_reports_both_calibrations_and_what_became_of_the_unknown(
    rejecting: Path, store: Store, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    raw, scaled = (
        json.loads(call("evaluate", rejecting, store.path, "--json", *more))
        for more in (["--predictions", table, "--html", tmp_path / "page.html"], ["--calibrated"])
    )
    model, labels = load(rejecting), np.asarray(store["val"].labels)
    answer = model.compute_answer(list(store["val"].images), views=10)
    expected = scale_probabilities(answer.probabilities, model.temperatures[10])
    assert answer.distances is not None
    assert raw["calibration"] == scaled["calibration"]
    for document, used in ((raw, answer.probabilities), (scaled, expected)):
        assert document["top1_error"] == raw["top1_error"]
        assert document["cross_entropy"] == pytest.approx(-np.log(used[np.arange(60), labels]).mean(), rel=1e-4)
        assert document["scaled_calibration"]["expected_calibration_error"] == pytest.approx(
            measure_calibration(expected, labels).expected_error, abs=1e-4
        )
    assert model.rejection is not None
    rejected = answer.distances > model.rejection.thresholds[10]
    wrong = answer.probabilities.argmax(1) != labels
    assert raw["unknown"] == {
        "threshold": model.rejection.thresholds[10],
        "share": pytest.approx(0.2, abs=1 / 60),
        "accepted_error": pytest.approx(wrong[~rejected].mean(), abs=1 / 30),
        "rejected_error": pytest.approx(wrong[rejected].mean(), abs=1 / 6),
    }
    (doubt,) = [each for each in raw["doubts"] if "calibrated" in each]
    assert doubt == (
        f"{rejecting} was calibrated on these very images: its scaled calibration error and the share that it calls "
        "unknown look better than on others."
    )
    error = raw["scaled_calibration"]["expected_calibration_error"]
    assert percent(error).replace(" ", "\u00a0") in (tmp_path / "page.html").read_text()
    head, *rows = table.read_text().splitlines()
    assert head.endswith(",unknown,distance")
    assert [row.split(",")[-2] for row in rows].count("True") == round(60 * raw["unknown"]["share"])
    shown = call("evaluate", rejecting, store.path)
    assert "20.00 % of the images are unknown" in shown


def test_an_ensemble_has_a_temperature_of_its_average_and_rejects_nothing(tmp_path: Path, store: Store) -> None:
    paths = [write_model(tmp_path / f"{seed}.safetensors", seed=seed, size=32) for seed in range(2)]
    file = tmp_path / "both.json"
    save_ensemble(file, Ensemble([load(path) for path in paths]))
    assert load_ensemble(file).temperatures == {}
    ensemble = load_ensemble(file, device="cpu", precision="float32")
    found = calibrate(ensemble, store)
    images, labels = list(store["val"].images), np.asarray(store["val"].labels)
    mean = np.mean([load(path).compute_probabilities(images, views=10) for path in paths], axis=0)
    assert found.temperatures[10] == pytest.approx(fit_temperature(mean, labels), rel=1e-3)
    assert save_calibration(ensemble, found) == file
    again = load_ensemble(file, device="cpu", precision="float32")
    assert again.temperatures == found.temperatures
    assert again.calibrated_on == FittedOn(f"{store.path} (val)", store.fingerprint, "val")
    doubt = f"{file} was calibrated on these very images: its scaled calibration error looks better than on others."
    assert doubt in assess([file], store.path, Options()).doubts
    assert not [each for each in assess([file], store.path, Options(split="train")).doubts if "calibrated" in each]
    assert again.predict(images[0])[0].distance is None
    with pytest.raises(ConfigError) as caught:
        calibrate(ensemble, store, reject=0.05)
    assert str(caught.value) == (
        f"{file}: is an ensemble, whose networks have features of their own, so there is no distance to reject by. "
        f"Calibrate it without --reject, or one of its members: alexnet calibrate {paths[0]} {store.path} --reject 0.05"
    )


SMALL = ["optimization.drop_epochs=[]", "optimization.schedule=constant", "batches.size=8"]


def test_every_training_that_tests_itself_ends_with_temperatures(store: Store, tmp_path: Path) -> None:
    sets = [word for field in (*SMALL, "optimization.total_epochs=1") for word in ("--set", field)]
    words = [
        "train",
        str(store.path),
        "--recipe",
        "cifar-80sec",
        *sets,
        "--out",
        str(tmp_path / "run"),
        "--threads",
        "1",
    ]
    printed = CliRunner().invoke(cli, words)
    assert printed.exit_code == 0, printed.output
    classifier = alexnet.load(tmp_path / "run", device="cpu")
    found = calibrate(classifier, store)
    assert classifier.temperatures == pytest.approx(found.temperatures, rel=1e-4)
    assert classifier.rejection is None
    raw, scaled = (f"{100 * error:.2f} %" for error in found.errors[10])
    assert f"(calibration error {scaled} in place of {raw}). More: alexnet info " in " ".join(printed.output.split())


def test_training_with_reject_ends_with_a_calibrated_model(store: Store, tmp_path: Path) -> None:
    sets = [word for field in (*SMALL, "optimization.total_epochs=1") for word in ("--set", field)]
    recipe = ["--recipe", "cifar-80sec", *sets, "--no-report"]
    printed = CliRunner().invoke(
        cli, ["train", str(store.path), *recipe, "--out", str(tmp_path / "run"), "--reject", "0.1", "--threads", "1"]
    )
    assert printed.exit_code == 0, printed.output
    classifier = alexnet.load(tmp_path / "run", device="cpu")
    assert classifier.rejection is not None
    assert classifier.rejection.share == 0.1
    unknown = [each.is_unknown for each in classifier.predict(list(store["val"].images), views=10)]
    assert 4 <= sum(unknown) <= 8
    said_of_it = " ".join(printed.output.split())
    assert f"temperature {classifier.temperatures[10]:.3f} in ten views (calibration error " in said_of_it
    assert "); 6 of them are unknown. More: alexnet info " in said_of_it
    other = only_train(store, tmp_path)
    said = call("train", other.path, *recipe, "--out", tmp_path / "another", "--reject", 0.1)
    assert said == (
        f"--reject 0.1: {other.path} has no validation images to measure distances of. They are those of a folder val, "
        "or --val-fraction 0.1 sets them aside: alexnet prepare PHOTOS --out STORE"
    )
    assert not (tmp_path / "another").exists()


def only_train(store: Store, folder: Path) -> Store:
    return write_store(
        folder / "other", {"train": (np.stack(list(store["train"].images)), store["train"].labels)}, CLASSES
    )


def other_classes(store: Store, folder: Path) -> Store:
    splits = {"train": (np.stack(list(store["train"].images)), store["train"].labels)}
    return write_store(folder / "other", {**splits, "val": splits["train"]}, ("ant", "bee", "dog"))


def fewer_classes(store: Store, folder: Path) -> Store:
    splits = {"train": (np.stack(list(store["train"].images)), np.asarray(store["train"].labels) % 2)}
    return write_store(folder / "other", {**splits, "val": splits["train"]}, ("ant", "bee"))


def larger_images(store: Store, folder: Path) -> Store:
    images = np.zeros((3, 40, 40, 3), np.uint8)
    return write_store(folder / "other", {"train": (images, [0, 1, 2]), "val": (images, [0, 1, 2])}, CLASSES)


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (None, {"reject": 0.0}, "--reject 0: is the share of validation images that may be called unknown, above 0 and "
                                "below 1. Usual is 0.05."),
        (None, {"reject": 1.0}, "--reject 1: is the share of validation images that may be called unknown, above 0 and "
                                "below 1. Usual is 0.05."),
        (None, {"split": "train"}, "--split train: a model knows the images it learned from. Use another: --split val."),
        (only_train, {}, "--split val: {store} has no images in it. Validation images are those of a folder val, or "
                         "--val-fraction 0.1 sets them aside: alexnet prepare PHOTOS --out STORE"),
        (other_classes, {}, "{store} has classes that {model} was not trained on: dog. Evaluate on images of its own "
                            "classes (ant, bee, cat)."),
        (fewer_classes, {"reject": 0.05}, "{store} has no images of classes that {model} knows (cat), whose features have "
                                          "to be measured. Use the store it was trained on; without --reject this one "
                                          "will do."),
        (larger_images, {}, "{model} was trained on images of 32 px, {store} holds 40 px. Prepare the images again with "
                            "--size 32."),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_refused_with_the_next_step(
    made: Callable[[Store, Path], Store] | None, options: dict[str, Any], message: str, path: Path, store: Store,
    tmp_path: Path,
) -> None:  # fmt: skip
    given = store if made is None else made(store, tmp_path)
    before = path.read_bytes()
    with pytest.raises((ConfigError, WeightsError)) as caught:
        calibrate(load(path), given, **options)
    assert str(caught.value) == message.format(store=given.path, model=path)
    assert path.read_bytes() == before


def test_scaled_probabilities_of_a_model_without_a_temperature_are_refused(path: Path, store: Store) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path).predict(store["val"].images[0], calibrated=True)
    assert str(caught.value) == (
        f"{path}: has no temperature to scale its probabilities with. Find one on validation images: "
        f"alexnet calibrate {path} STORE"
    )
    assert "has no temperature" in call("evaluate", path, store.path, "--calibrated")
    assert "the average is in none yet" in call("evaluate", path, path, store.path, "--calibrated", "--average")


def test_thresholds_without_references_are_refused(rejecting: Path) -> None:
    model = load_model(rejecting)
    tensors = tensors_of(model)
    del tensors["references"]
    save_model(rejecting, model, tensors)
    with pytest.raises(WeightsError) as caught:
        load_model(rejecting)
    assert str(caught.value) == (
        f"{rejecting}: has thresholds for unknown pictures without usable features to measure distances from. Obtain "
        "the file again, or train or export the model again and calibrate that: "
        "alexnet calibrate MODEL STORE --reject 0.05"
    )


@pytest.mark.parametrize("wrong", [{"1": 0.0, "10": 1.0}, {"1": 1.0}, {"1": "x", "10": 1.0}, [1.0]])
def test_temperatures_that_are_none_are_refused(path: Path, wrong: Any) -> None:
    from alexnet.files.tensors import read_tensors, write_tensors

    document = read_document(path, kinds=("model",), newest_format=2)
    write_tensors(path, read_tensors(path), {**document, "temperatures": wrong})
    with pytest.raises(WeightsError, match="its header is incomplete or malformed"):
        load_model(path)


def test_info_of_a_run_tells_its_temperatures_and_refuses_what_is_none(
    path: Path, store: Store, tmp_path: Path
) -> None:
    from alexnet.files.tensors import read_tensors, write_tensors

    (tmp_path / "environment.json").write_text("{}")
    found = calibrate(load(path), store)
    save_calibration(load(path), found)
    assert (
        f"{found.temperatures[1]:.3f} in one view, {found.temperatures[10]:.3f} in ten"
        in CliRunner().invoke(cli, ["info", str(tmp_path)]).output
    )
    document = read_document(path, kinds=("model",), newest_format=2)
    write_tensors(path, read_tensors(path), {**document, "temperatures": [1.0]})
    refused = CliRunner().invoke(cli, ["info", str(tmp_path)]).exception
    assert isinstance(refused, WeightsError)
    assert str(refused).startswith(f"{path}: its header is incomplete or malformed (")


@pytest.mark.parametrize(
    ("temperature", "errors", "words"),
    [
        (0.8, (0.1, 0.02), "calibration error 2.00 % in place of 10.00 %"),
        (0.8, (0.1, 0.12), "calibration error 12.00 %, no better than the 10.00 % without it"),
        (
            TEMPERATURES[0],
            (0.1, 0.12),
            "calibration error 12.00 %, no better than the 10.00 % without it, the temperature at the end of its range: too "
            "few images are wrong to tell",
        ),
    ],
)
def test_a_temperature_that_does_not_help_is_not_sold_as_one_that_does(
    temperature: float, errors: tuple[float, float], words: str
) -> None:
    found = Confidence(48, "S (val)", "f", "val", {10: temperature}, {10: errors}, None, {})
    assert describe_calibration(found, 10) == words
