"""A folder for the Embedding Projector: tables, sprite and configs that fit each other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from alexnet.cli import cli
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.exchange.projector import arrange, choose_thumbnail, write_projection
from alexnet.network.model_file import save_model
from conftest import write_oddly_named
from exchange.miniature import everything, make_model

LAYERS = ["conv3.tanh", "fc6.relu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file and seven pictures in two folders, one of which is none."""
    folder = tmp_path_factory.mktemp("projector")
    save_model(folder / "model.safetensors", make_model(everything()))
    generator = np.random.default_rng(0)
    for number in range(6):
        (folder / "pictures" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(40 * number, 40 * number + 40, (40, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / "ab"[number % 2] / f"{number}.png")
    (folder / "pictures" / "a" / "2b.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def classifier(place: Path) -> Classifier:
    return load(place / "model.safetensors", device="cpu", precision="float32")


def pictures(place: Path) -> list[Path]:
    return sorted((place / "pictures").rglob("*.png"))


def test_tables_sprite_and_configs_name_each_other(place: Path, classifier: Classifier, tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    report = write_projection(
        classifier, pictures(place), LAYERS, tmp_path / "P", batch_size=4, tick=lambda *done: ticks.append(done)
    )
    assert (report.rows, len(report.left_out), ticks) == (6, 1, [(4, 7), (7, 7)])
    good = [path for path in pictures(place) if path.name != "2b.png"]
    expected = classifier.activations(good, [*LAYERS, "fc8"])
    config = json.loads((tmp_path / "P" / "config.json").read_text())["embeddings"]
    assert [each["tensorName"] for each in config] == LAYERS
    for each in config:
        table = np.loadtxt(tmp_path / "P" / each["tensorPath"], delimiter="\t")
        assert list(table.shape) == each["tensorShape"]
        np.testing.assert_allclose(table, expected[each["tensorName"]].reshape(6, -1), rtol=1e-5, atol=1e-6)
        assert (tmp_path / "P" / each["metadataPath"]).is_file()
    names = [line.split("\t") for line in (tmp_path / "P" / "metadata.tsv").read_text().splitlines()]
    kinds = [classifier.class_names[kind] for kind in expected["fc8"].argmax(1)]
    rows = [[path.name, path.parent.name, kind] for path, kind in zip(good, kinds, strict=True)]
    assert names == [["name", "folder", "predicted"], *rows]
    sprite = np.asarray(Image.open(tmp_path / "P" / "sprite.png"))
    assert sprite.shape == (3 * 64, 3 * 64, 3)
    assert config[0]["sprite"] == {"imagePath": "sprite.png", "singleImageDim": [64, 64]}
    assert abs(sprite[64:128, 64:128].mean() - np.asarray(Image.open(good[4])).mean()) < 3
    assert not sprite[128:].any()  # six pictures fill two rows of three
    assert json.loads((tmp_path / "P" / "provenance.json").read_text())["layers"] == {
        name: list(report.shapes[name]) for name in LAYERS
    }


def test_tensorboard_reads_the_config(place: Path, classifier: Classifier, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra board")
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    write_projection(classifier, pictures(place), LAYERS, tmp_path / "P")
    config = text_format.Parse((tmp_path / "P" / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [(each.tensor_name, each.tensor_path) for each in config.embeddings] == [
        (name, f"{name}.tsv") for name in LAYERS
    ]
    assert list(config.embeddings[0].sprite.single_image_dim) == [64, 64]


def test_pictures_are_laid_out_row_by_row() -> None:
    grid = arrange([np.full((2, 2, 3), number, np.uint8) for number in range(1, 6)])
    assert grid[:, :, 0].tolist() == [
        [1, 1, 2, 2, 3, 3],
        [1, 1, 2, 2, 3, 3],
        [4, 4, 5, 5, 0, 0],
        [4, 4, 5, 5, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_many_pictures_are_smaller_and_too_many_are_refused() -> None:
    assert [choose_thumbnail(count) for count in (0, 1, 16_384, 16_385, 262_144)] == [64, 64, 64, 63, 16]
    with pytest.raises(ConfigError) as problem:
        choose_thumbnail(262_145)
    assert str(problem.value) == (
        "--to projector: 262,145 images are given, and its picture of all of them holds at most 262,144. Give fewer, or write the features into a file: leave --to out."
    )


def test_names_that_steer_are_escaped(classifier: Classifier, tmp_path: Path) -> None:
    write_projection(classifier, write_oddly_named(tmp_path / "odd"), ["fc8"], tmp_path / "P")
    lines = (tmp_path / "P" / "metadata.tsv").read_bytes().decode().split("\n")
    assert len(lines) == 8
    assert all(line.count("\t") == 2 for line in lines[:-1])
    assert r"\x1b[31mred.png" in lines[1] + lines[2] + lines[3]


def test_what_is_interrupted_or_without_room_leaves_nothing(
    place: Path, classifier: Classifier, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_projection(classifier, pictures(place), LAYERS, tmp_path / "P", batch_size=2, tick=stop)
    assert not list(tmp_path.iterdir())
    full_disk(300)
    with pytest.raises(OSError, match="File too large") as problem:
        write_projection(classifier, pictures(place), LAYERS, tmp_path / "P")
    full_disk(10**9)
    assert problem.value.filename == str(tmp_path / "P")
    assert not list(tmp_path.iterdir())
    (tmp_path / "P").mkdir()
    with pytest.raises(ConfigError, match=r"--out .*: exists\. Choose another, or delete it\."):
        write_projection(classifier, pictures(place), LAYERS, tmp_path / "P")


def test_the_command_writes_it(place: Path, tmp_path: Path) -> None:
    arguments = ["features", str(place / "model.safetensors"), str(place / "pictures" / "b"), "--to", "projector"]
    done = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "P"), "--threads", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 3
    assert (tmp_path / "P" / "fc7.sigmoid.tsv").is_file()
