"""What is given to be predicted: files that are none, and photographs brought to size as the weights want them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import alexnet
from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.data.images.decode import Framing, open_image
from alexnet.data.sources import folders
from alexnet.data.sources.folders import list_images
from alexnet.errors import WeightsError
from alexnet.evaluation.assessment import assess
from alexnet.evaluation.assessment_options import Options
from alexnet.evaluation.ensemble import Ensemble
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, load_model, save_model
from alexnet.retrieval.index.features import Extractor

CLASSES = ("ant", "bee", "cat")


def write_model(path: Path, framing: Framing = "square") -> Path:
    network = build("cifar-80sec", 3, seed=0, initialization="he")
    preprocessing = Preprocessing(np.full((32, 32, 3), 120, np.float32), 60.0, framing=framing)
    save_model(path, Model(network, CLASSES, CLASSES, preprocessing, {}))
    return path


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (61, 90, 3), dtype=np.uint8)
    path = tmp_path / "photographs" / "ant" / "good.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path)
    return path


def predict(*arguments: object) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(cli, ["predict", *map(str, arguments), "--views", "1", "--threads", "1", "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_left_out_with_its_reason_and_the_others_are_predicted(
    tmp_path: Path, photograph: Path
) -> None:
    model = write_model(tmp_path / "m.safetensors")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (photograph.parent / "gone.jpg").symlink_to("away")
    (tmp_path / "pointer.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    long = "x" * 300
    given = [tmp_path / name for name in ("pipe.jpg", "broken.jpg", long, "pointer.jpg", "missing.jpg")]
    code, document = predict(model, *given, "/dev/zero", photograph.parent)
    assert code == 1
    assert [Path(image["path"]) for image in document["images"]] == [photograph]
    check = "Check that it exists and its permissions."
    assert document["left_out"] == [
        f"{tmp_path}/pipe.jpg: cannot be read (it is a pipe, not a file). Give a file.",
        f"{tmp_path}/broken.jpg: cannot be read (it is a link to nowhere, which does not exist). {check}",
        f"{tmp_path}/{long}: cannot be read (File name too long). {check}",
        f"{tmp_path}/pointer.jpg: is a Git LFS pointer, not an image (63 bytes). Fetch the file that it stands for: git lfs pull",
        f"{tmp_path}/missing.jpg: cannot be read (No such file or directory). {check}",
        "/dev/zero: cannot be read (it is a device, not a file). Give a file.",
        f"{photograph.parent}/gone.jpg: cannot be read (it is a link to away, which does not exist). {check}",
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("verb", ["predict", "evaluate", "features", "search index"])
def test_a_pipe_in_the_place_of_a_model_is_refused_at_once(tmp_path: Path, photograph: Path, verb: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    more = {"features": ["--layers", "fc7", "--out", "x.npz"], "search index": ["--out", str(tmp_path / "index")]}
    images = photograph.parents[1]
    result = CliRunner().invoke(cli, [*verb.split(), str(tmp_path / "pipe"), str(images), *more.get(verb, [])])
    assert isinstance(result.exception, WeightsError)
    assert str(result.exception) == (
        f"{tmp_path / 'pipe'}: cannot be read (it is a pipe, not a file). Give a model file or a run folder."
    )


def test_a_folder_that_may_not_be_listed_is_left_out_and_links_lead_nowhere_twice(
    tmp_path: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = photograph.parents[1]
    (top / "locked").mkdir()
    (top / "link").symlink_to(photograph.parent)
    (photograph.parent / "up").symlink_to(top)
    (top / ".hidden").mkdir()
    (top / ".hidden" / "a.png").write_bytes(b"")
    (top / "b.txt").write_bytes(b"")
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if isinstance(path, Path) and path.name == "locked":  # others ask by a file descriptor
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    names = [path.relative_to(top).as_posix() for path in list_images(top)]
    assert names == ["ant/good.png", "link/good.png", "locked"]
    code, document = predict(write_model(tmp_path / "m.safetensors"), top)
    assert code == 1
    assert len(document["images"]) == 2
    assert document["left_out"][0].startswith(f"{top}/locked: cannot be read (it is a folder, not a file).")


@pytest.mark.parametrize("framing", ["square", "torchvision", "caffe"])
def test_every_way_to_a_model_brings_photographs_to_size_as_it_wants(
    tmp_path: Path, photograph: Path, framing: Framing
) -> None:
    path = write_model(tmp_path / "m.safetensors", framing)
    assert load_model(path).preprocessing.framing == framing
    model = alexnet.load(path, precision="float32")
    pixels = open_image(photograph, 32, framing=framing)
    others = [open_image(photograph, 32, framing=other) for other in ("square", "torchvision", "caffe")]
    assert sum((pixels == other).all() for other in others) == 1
    expected = model.predict([pixels])[0].probabilities
    assert (model.predict([photograph])[0].probabilities == expected).all()
    assert (Ensemble([model]).predict([photograph])[0].probabilities == expected).all()
    activations = model.activations([photograph], ["fc10"])["fc10"]
    assert (activations == model.activations([pixels], ["fc10"])["fc10"]).all()
    for other in ("bee", "cat"):
        (photograph.parents[1] / other).mkdir()
        (photograph.parents[1] / other / "good.png").write_bytes(photograph.read_bytes())
    found = assess([path], photograph.parents[1], Options(views=1, device="cpu", precision="float32"))
    assert found.trial.probabilities[0][0] == pytest.approx(expected, abs=1e-6)
    assert Extractor(model).framing == framing


def test_members_that_want_other_framings_get_the_one_of_prepare(tmp_path: Path) -> None:
    models = [
        alexnet.load(write_model(tmp_path / f"{framing}.safetensors", framing)) for framing in ("caffe", "torchvision")
    ]
    assert Ensemble(models).framing == "square"
    assert Ensemble(models[:1]).framing == "caffe"


def test_a_framing_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.safetensors", "fisheye")  # type: ignore[arg-type]
    with pytest.raises(WeightsError) as problem:
        load_model(path)
    assert str(problem.value) == (
        f"{path}: its framing is 'fisheye'; known are square, torchvision, caffe. Update alexnet."
    )


def test_imported_weights_on_a_store_are_told_that_it_was_prepared_in_another_way(
    tmp_path: Path, small_store_path: Path
) -> None:
    framed: list[Framing] = ["square", "torchvision"]
    for framing in framed:
        network = build("cifar-80sec", 3, seed=0, initialization="he")
        preprocessing = Preprocessing(np.full((256, 256, 3), 120, np.float32), 60.0, framing=framing)
        path = tmp_path / f"{framing}.safetensors"
        save_model(path, Model(network, CLASSES, CLASSES, preprocessing, {}))
        doubts = assess([path], small_store_path, Options(views=1, device="cpu", precision="float32")).doubts
        expected = (
            f"{small_store_path} was prepared in alexnet's way; {path} brings photographs to size in that of torchvision. "
            "For figures like those published for it, test on a folder of photographs."
        )
        assert (expected in doubts) == (framing == "torchvision")
