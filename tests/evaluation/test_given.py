"""Images in every form in which a program may have them, for one model and for several."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet
from alexnet.batches.assemble import assemble_views
from alexnet.batches.views import Views
from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.evaluation.given import read_given

from .test_ensemble import write_model

SIZE = 32
Predictor = Classifier | Ensemble


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    path = write_model(tmp_path_factory.mktemp("given") / "m.safetensors", seed=0, size=SIZE)
    model = alexnet.load(path, device="cpu", precision="float32")
    return {"a classifier": model, "an ensemble": Ensemble([model, model])}


@pytest.fixture(params=["a classifier", "an ensemble"])
def predictor(request: pytest.FixtureRequest, predictors: dict[str, Predictor]) -> Predictor:
    return predictors[request.param]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


class OtherPath:
    """A path of another library."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def open_with_pil(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


FORMS: dict[str, Callable[[Path], Any]] = {
    "a path": lambda path: path,
    "a path as text": str,
    "a path of another library": OtherPath,
    "its bytes": Path.read_bytes,
    "an array of bytes": lambda path: bytearray(path.read_bytes()),
    "an open file": lambda path: io.BytesIO(path.read_bytes()),
    "a PIL image": open_with_pil,
    "pixels": lambda path: read_given(path, 0, SIZE),
    "pixels that are a view of others": lambda path: read_given(path, 0, SIZE)[:, ::-1].copy()[:, ::-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_may_be_given_alone_or_among_others_in_any_form(
    predictor: Predictor, picture: Path, form: str
) -> None:
    (expected,) = predictor.predict([picture])
    (alone,) = predictor.predict(FORMS[form](picture))
    _, second = predictor.predict([picture, FORMS[form](picture)])
    assert np.array_equal(alone.probabilities, expected.probabilities)
    assert np.allclose(second.probabilities, expected.probabilities, atol=1e-6)
    is_path = isinstance(FORMS[form](picture), str | os.PathLike)
    assert alone.source == (str(picture) if is_path else "image 0")
    assert second.source == (str(picture) if is_path else "image 1")


def test_an_open_file_is_called_by_its_name(predictor: Predictor, picture: Path) -> None:
    with picture.open("rb") as file:
        assert predictor.predict(file)[0].source == str(picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16"])
def test_a_pil_image_of_any_mode_is_the_picture_of_its_file(picture: Path, mode: str) -> None:
    image = open_with_pil(picture)
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    found = read_given(image, 0, SIZE)
    stored = io.BytesIO()
    (image.convert("RGB") if mode == "HSV" else image).save(stored, "TIFF")
    if mode in ("CMYK", "YCbCr", "HSV", "RGB", "L"):
        assert np.array_equal(found, read_given(stored.getvalue(), 0, SIZE))
    assert found.shape == (SIZE, SIZE, 3)


def test_a_pil_image_is_turned_upright_as_its_file_is(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    as_file = read_given(tmp_path / "turned.jpg", 0, SIZE).astype(int)
    as_image = read_given(open_with_pil(tmp_path / "turned.jpg"), 0, SIZE).astype(int)
    assert as_file[:, -1].min() > 250 > 5 > as_file[:, 0].max()
    assert np.abs(as_image - as_file).max() <= 2


WRONG = {
    "smaller": np.zeros((10, 10, 3), np.uint8),
    "of floats": np.zeros((SIZE, SIZE, 3), np.float32),
    "without colour": np.zeros((SIZE, SIZE), np.uint8),
    "channels first": np.zeros((3, SIZE, SIZE), np.uint8),
}


@pytest.mark.parametrize("kind", WRONG)
def test_arrays_of_another_shape_or_type_are_refused(predictor: Predictor, kind: str) -> None:
    array = WRONG[kind]
    with pytest.raises(ConfigError) as problem:
        predictor.predict([np.zeros((SIZE, SIZE, 3), np.uint8), array])
    assert str(problem.value) == (
        f"image 1 is an array {array.shape} {array.dtype}; accepted are (32, 32, 3) uint8 RGB. Give another picture as "
        "a file or as a PIL image, of any size."
    )


def test_what_is_no_image_is_refused_in_a_sentence(predictor: Predictor) -> None:
    accepted = (
        "accepted are the path of an image file, its bytes, a file open for reading bytes, a PIL image, or an array "
        "(32, 32, 3) uint8 RGB."
    )
    for given, what in (
        (7, "of type int"),
        (None, "of type NoneType"),
        (io.StringIO("x"), "a file that is open for text"),
    ):
        with pytest.raises(ConfigError) as problem:
            predictor.predict([given])  # type: ignore[list-item]
        assert str(problem.value) == f"image 0 is {what}; {accepted}"
    with pytest.raises(ImageError, match=r"^image 0: is not an image of a known format"):
        predictor.predict(b"no picture")


def test_activations_take_the_same(predictors: dict[str, Predictor], picture: Path) -> None:
    model = predictors["a classifier"]
    assert isinstance(model, Classifier)
    expected = model.activations([picture], ["conv1"])["conv1"]
    for form in FORMS.values():
        assert np.array_equal(model.activations(form(picture), ["conv1"])["conv1"], expected)


def test_no_caller_of_the_kernel_can_forget_the_check() -> None:
    mean, out = np.zeros((SIZE, SIZE, 3), np.float32), torch.empty((1, 3, 24, 24), memory_format=torch.channels_last)
    zero = np.zeros(1, np.int64)
    views = Views(zero, zero, zero.astype(bool), np.zeros((1, 3), np.float32))
    with pytest.raises(ConfigError, match=r"^an image is an array \(10, 10, 3\) uint8; accepted are \(32, 32, 3\)"):
        assemble_views([WRONG["smaller"]], mean, views, out, divisor=1)
