"""The estimators of scikit-learn: on images as people have them, and under scikit-learn's own checks."""

import atexit
import pickle
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("sklearn", reason="needs the extra sklearn")

from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.classifier import load
from alexnet.network.model_file import save_model
from alexnet.sklearn import AlexNetClassifier, AlexNetFeatures
from exchange.miniature import everything, make_model

GUIDE = (Path(__file__).parents[1] / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
SMALL: dict[str, Any] = {
    "recipe": "cifar-80sec",
    "settings": ("batches.size=8", "optimization.total_epochs=3", "optimization.drop_epochs=[2]"),
    "image_px": 32,
    "views": 1,
    "precision": "float32",
    "threads": 1,
}


def draw(count: int = 16, side: int = 32) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Bright and dark noise, called sun and moon."""
    rng = np.random.default_rng(0)
    labels = np.array(["sun", "moon"])[np.arange(count) % 2]
    levels = np.where(labels == "sun", 170, 60)
    pixels = rng.normal(levels[:, None, None, None], 30, (count, side, side, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


@cache
def fitted() -> AlexNetClassifier:
    return AlexNetClassifier(**SMALL).fit(*draw())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sklearn")
    save_model(folder / "RUN", make_model(everything()))
    images, labels = draw()
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        (folder / "PHOTOS" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "PHOTOS" / str(label) / f"{number:02d}.png")
    return folder


def test_labels_come_back_as_they_were_given() -> None:
    model, (images, labels) = fitted(), draw()
    assert model.classes_.tolist() == ["moon", "sun"]
    probabilities = model.predict_proba(images)
    assert probabilities.shape == (16, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    assert model.predict(images).tolist() == model.classes_[probabilities.argmax(1)].tolist()
    assert model.score(images, labels) == np.mean(model.predict(images) == labels) == 1.0
    assert [row["epoch"] for row in model.history_] == [1, 2, 3]


def test_paths_arrays_and_floats_of_the_same_pixels_train_the_same_network(place: Path) -> None:
    images, labels = draw()
    paths = [place / "PHOTOS" / str(label) / f"{number:02d}.png" for number, label in enumerate(labels)]
    expected = fitted().predict_proba(images)
    by_paths = AlexNetClassifier(**SMALL).fit(paths, labels)
    np.testing.assert_array_equal(by_paths.predict_proba(images), expected)
    np.testing.assert_array_equal(fitted().predict_proba(paths), expected)
    column = np.array([str(path) for path in paths], object)[:, None]  # as a ColumnTransformer hands it on
    np.testing.assert_array_equal(fitted().predict_proba(column), expected)
    np.testing.assert_array_equal(fitted().predict_proba(images / 255), expected)


def test_the_seed_decides_and_a_fit_begins_anew() -> None:
    images, labels = draw()
    again = AlexNetClassifier(**SMALL).fit(images[::-1], labels[::-1]).fit(images, labels)
    np.testing.assert_array_equal(again.predict_proba(images), fitted().predict_proba(images))
    other = AlexNetClassifier(**SMALL | {"random_state": 1}).fit(images, labels)
    assert not np.array_equal(other.predict_proba(images), fitted().predict_proba(images))


def test_a_pickled_classifier_predicts_the_same() -> None:
    images, _ = draw()
    again = pickle.loads(pickle.dumps(fitted()))
    np.testing.assert_array_equal(again.predict_proba(images), fitted().predict_proba(images))


def test_parameters_are_read_set_and_searched() -> None:
    model = AlexNetClassifier(**SMALL)
    assert model.get_params()["image_px"] == 32
    assert clone(model.set_params(epochs=1, settings=("batches.size=8",))).epochs == 1
    images, labels = draw(8)
    search = GridSearchCV(model, {"random_state": [0, 1]}, cv=2).fit(images, labels)
    assert len(search.cv_results_["params"]) == 2
    assert len(search.best_estimator_.history_) == 1


def test_features_feed_a_linear_classifier(place: Path) -> None:
    images, labels = draw()
    features = AlexNetFeatures(place / "RUN", "conv1.pool", precision="float32")
    found = features.fit(images).transform(images)
    expected = load(place / "RUN", precision="float32").activations(list(images), ["conv1.pool"])["conv1.pool"]
    np.testing.assert_allclose(found, expected.reshape(16, -1), rtol=1e-5, atol=1e-6)
    assert features.get_feature_names_out()[[0, -1]].tolist() == ["conv1.pool.0", f"conv1.pool.{found.shape[1] - 1}"]
    pipeline = make_pipeline(features, LogisticRegression())
    assert cross_val_score(pipeline, images, labels, cv=4).mean() == 1.0
    assert clone(pipeline).get_params()["alexnetfeatures__layer"] == "conv1.pool"
    assert AlexNetFeatures(load(place / "RUN")).fit_transform(images[:3]).shape == (3, 8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 7)), "X is float64 of shape (4, 7); accepted are paths of image files (N,), or pixels (N, H, W) or (N, H, W, C) with C in 1, 3, 4, uint8 or floats in [0, 1]. Rows of pixels become images by X.reshape(-1, H, W)."),
        (np.full((2, 8, 8), 7.0), "X is float64 of shape (2, 8, 8); accepted are"),
        ([], "X is empty; give the paths of images, or an array of them."),
        ([3, 4], "X is int64 of shape (2,); accepted are"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(place: Path, images: Any, message: str) -> None:
    for estimator in (AlexNetClassifier(**SMALL), AlexNetFeatures(place / "RUN")):
        with pytest.raises(ConfigError) as problem:
            estimator.fit(images, np.arange(len(images)))
        assert str(problem.value).startswith(message)


def test_other_mistakes_are_sentences_too(tmp_path: Path) -> None:
    images, labels = draw(4)
    with pytest.raises(ConfigError, match=r"^y holds one class; a classifier needs images of at least 2\.$"):
        AlexNetClassifier(**SMALL).fit(images, ["sun"] * 4)
    with pytest.raises(ConfigError, match=r"^image_px is 32; recipe modern reads crops of 224 px\.$"):
        AlexNetClassifier(**SMALL | {"recipe": "modern"}).fit(images, labels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        AlexNetClassifier(**SMALL).fit(images, labels[:3])
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.png"):
        AlexNetClassifier(**SMALL).fit([tmp_path / "a.png"] * 4, labels)
    with pytest.raises(NotFittedError):
        AlexNetClassifier(**SMALL).predict(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; accepted is a whole number from 1 to 1,000,000."),
        ({"epochs": -1}, "epochs is -1; accepted is a whole number from 1 to 1,000,000."),
        ({"epochs": 1.5}, "epochs is 1.5; accepted is a whole number from 1 to 1,000,000."),
        ({"image_px": 0}, "image_px is 0; it is a number of pixels, such as 256."),
        ({"image_px": "a"}, "image_px is 'a'; it is a number of pixels, such as 256."),
        ({"recipe": 5}, "recipe is 5; accepted is one of paper, small-data, modern, "),
        ({"settings": None}, 'settings is None; accepted is a list or tuple of changes, such as ("batches.size=32",).'),
        ({"settings": "batches.size=8"}, "settings is 'batches.size=8'; accepted is a list or tuple of changes"),
    ],
)  # fmt: skip
def test_parameters_outside_what_is_accepted_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as problem:
        AlexNetClassifier(**SMALL | changes).fit(*draw(4))
    assert "\n" not in str(problem.value)


def test_the_examples_of_the_guide_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    for number, path in enumerate(sorted(tmp_path.glob("PHOTOS/*/*.png"))):
        if number % 2:
            Image.open(path).save(path.with_suffix(".jpg"))
            path.unlink()
    (tmp_path / "PHOTOS" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        small = re.sub(r"AlexNetClassifier\(([^)]*)\)", r"AlexNetClassifier(\1, **SMALL)", example)
        small = small.replace('recipe="modern", epochs=40, ', "").replace('recipe="modern", epochs=40', "epochs=1")
        names: dict[str, Any] = {"SMALL": SMALL}
        exec(small.replace("(, ", "("), names)
        assert len(names["paths"]) == 16
    assert len(capsys.readouterr().out.splitlines()) >= 2


# scikit-learn's checks give tables of numbers. Painted as images, these pass through everything but the way in.


def paint(table: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image for each row of a table: a band of grey for each number."""
    squeezed = 1 / (1 + np.exp(-np.clip(np.asarray(table, np.float64), -30, 30)))
    bands = np.repeat(squeezed, -(-32 // squeezed.shape[1]), axis=1)[:, :32]
    return np.rint(255 * np.repeat(bands[:, None, :], 32, axis=1)).astype(np.uint8)


class _OnTables(BaseEstimator):
    """Hands painted tables on; what scikit-learn wants to know of a table is checked as its own estimators do."""

    def fit(self, X: Any, y: Any = None) -> Any:
        if y is None and isinstance(self, AlexNetClassifier):
            raise ValueError("requires y to be passed, but the target y is None")
        X, y = validate_data(self, X, y) if y is not None else (validate_data(self, X), None)
        return super().fit(paint(X), y)  # type: ignore[misc]

    def _read(self, X: Any) -> NDArray[np.uint8]:
        check_is_fitted(self)
        return paint(validate_data(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation, tags.input_tags.two_d_array, tags.input_tags.one_d_array = False, True, False
        if tags.classifier_tags is not None:
            tags.classifier_tags.poor_score = True  # three epochs on some ten images
        return tags


class ClassifierOnTables(_OnTables, AlexNetClassifier):
    def __init__(self, epochs: int = 1, random_state: Any = 0) -> None:
        super().__init__(**SMALL | {"settings": ("batches.size=64",), "epochs": epochs, "random_state": random_state})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"epochs": self.epochs, "random_state": self.random_state}

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(self._read(X))


class FeaturesOnTables(_OnTables, AlexNetFeatures):
    def transform(self, X: Any) -> Any:
        return super().transform(self._read(X))


EXCLUDED = {
    "check_array_api_input": "scikit-learn itself runs it only where SCIPY_ARRAY_API is set",
    "check_classifier_data_not_an_array": "scikit-learn ends it where pandas is not installed",
}
"""Check of the classifier or of both -> why it is not run here."""
QUICK = {
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_repr",
    "check_no_attributes_set_in_init", "check_fit_score_takes_y", "check_estimators_unfitted", "check_mixin_order",
    "check_do_not_raise_errors_in_init_or_set_params", "check_parameters_default_constructible", "check_get_params_invariance",
    "check_set_params", "check_estimators_pickle", "check_fit2d_1feature",
}  # fmt: skip


def list_checks() -> list[Any]:
    found = []
    for make in (ClassifierOnTables, lambda: FeaturesOnTables(save_model_once(), "conv1.pool", precision="float32")):
        for estimator, check in estimator_checks_generator(make()):
            name = getattr(check, "func", check).__name__
            slow = [] if name in QUICK or isinstance(estimator, AlexNetFeatures) else [pytest.mark.slow]
            skip = [pytest.mark.skip(reason=EXCLUDED[name])] if name in EXCLUDED else []
            found.append(pytest.param(estimator, check, id=f"{type(estimator).__name__}-{name}", marks=[*slow, *skip]))
    return found


@cache
def save_model_once() -> Path:
    """A model file that is there for as long as the tests run."""
    folder = tempfile.TemporaryDirectory(prefix="alexnet-test-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "model.safetensors"
    save_model(path, make_model(everything()))
    return path


@pytest.mark.parametrize(("estimator", "check"), list_checks())
def test_an_estimator_passes_a_check_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
