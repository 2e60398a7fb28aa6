"""Features in files: every format holds the same numbers, paths and provenance, whatever the batch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from alexnet.cli import cli
from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.exchange.feature_files import open_writer
from alexnet.exchange.features import write_features
from alexnet.files.record import hash_file
from alexnet.files.writing import stand_in
from alexnet.network.model_file import save_model
from alexnet.text.names import unescape_name
from conftest import write_oddly_named
from exchange.miniature import everything, make_model

LAYERS = ["conv1", "conv1.pool:b", "fc6.relu", "fc8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file and a folder of seven pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("features")
    save_model(folder / "model.safetensors", make_model(everything()))
    generator = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number in range(6):
        pixels = generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    (folder / "pictures" / "2b.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def classifier(place: Path) -> Classifier:
    return load(place / "model.safetensors", device="cpu", precision="float32")


def pictures(place: Path) -> list[Path]:
    return sorted((place / "pictures").iterdir())


def read(path: Path) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """Return paths, arrays and provenance of a file, by the library that its users have."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files if name not in ("paths", "provenance")}
            return file["paths"].tolist(), arrays, json.loads(str(file["provenance"]))
    if path.suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path) as file:
            arrays = {name: file[name][:] for name in file if name != "paths"}
            return [text.decode() for text in file["paths"][:]], arrays, json.loads(file.attrs["provenance"])
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    metadata = parquet.ParquetFile(path).metadata.metadata
    shapes = json.loads(metadata[b"shapes"])
    arrays = {
        name: np.stack(table[name].to_numpy()).reshape(-1, *shape).astype(np.float32) for name, shape in shapes.items()
    }
    return table["path"].to_pylist(), arrays, json.loads(metadata[b"provenance"])


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_a_file_holds_rows_paths_and_where_it_comes_from(
    place: Path, classifier: Classifier, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"features{suffix}"
    report = write_features(classifier, pictures(place), LAYERS, out, batch_size=4)
    assert (report.rows, len(report.left_out)) == (6, 1)
    assert "2b.png" in report.left_out[0]
    paths, arrays, provenance = read(out)
    good = [path for path in pictures(place) if path.name != "2b.png"]
    assert paths == [str(path) for path in good]
    expected = classifier.activations(good, LAYERS, batch_size=6)
    assert set(arrays) == set(LAYERS)
    for name in LAYERS:
        assert arrays[name].shape == (6, *report.shapes[name])
        np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-5, atol=1e-5)
    assert provenance["weights_sha256"] == hash_file(place / "model.safetensors")
    assert (provenance["dialect"], provenance["precision"]) == ("everything", "float32")
    assert provenance["preprocessing"]["crop_px"] == 28
    assert not [path for path in tmp_path.iterdir() if path != out]


def test_activations_are_those_of_the_network_on_the_central_crop(place: Path, classifier: Classifier) -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    preprocessing = classifier.model.preprocessing
    inputs = torch.from_numpy((image - preprocessing.mean_image) / 60)[2:30, 2:30].permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = classifier.network.activations(inputs.contiguous(), ["conv2.map_norm", "conv1"])
    found = classifier.activations([image], ["conv1", "conv2.map_norm"])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-5, atol=1e-5)
    halves = classifier.activations([image], ["conv1:a", "conv1:b"])
    assert np.array_equal(np.concatenate([halves["conv1:a"], halves["conv1:b"]], 1), found["conv1"])


def test_a_row_does_not_depend_on_the_batch(place: Path, classifier: Classifier) -> None:
    good = [path for path in pictures(place) if path.name != "2b.png"]
    together = classifier.activations(good, LAYERS, batch_size=16)
    for index, path in enumerate(good):
        alone = classifier.activations([path], LAYERS, batch_size=1)
        for name in LAYERS:
            np.testing.assert_allclose(alone[name][0], together[name][index], rtol=1e-5, atol=1e-5)
    assert classifier.activations([], LAYERS)["conv1"].shape == (0, 8, 13, 13)


def test_an_unreadable_image_is_an_error_in_python(place: Path, classifier: Classifier) -> None:
    with pytest.raises(ImageError, match=r"2b\.png"):
        classifier.activations(pictures(place), ["fc8"])


@pytest.mark.parametrize(
    ("layers", "name", "message"),
    [
        (["conv1"], "f.csv", "--out {out}: accepted are files that end in .npz, .h5, .parquet."),
        (["fc8", "fc8"], "f.npz", "--layers fc8,fc8: name one layer or more, each once."),
        (["fc9"], "f.npz", "unknown activation 'fc9'. Known: conv1, conv1.norm, conv1.pool, conv1.relu, conv1.pool2, conv2, conv2.relu, conv2.norm, conv2.map_norm, conv2.pool, conv3, conv3.tanh, conv3.norm, local4, local4.softplus, local4.pool, fc6, fc6.relu, fc6.dropout, fc7, fc7.sigmoid, fc7.dropout, fc8."),
    ],
)  # fmt: skip
def test_what_is_not_accepted_is_refused_before_anything_is_written(
    place: Path, classifier: Classifier, tmp_path: Path, layers: list[str], name: str, message: str
) -> None:
    with pytest.raises(ConfigError) as problem:
        write_features(classifier, pictures(place), layers, tmp_path / name)
    assert str(problem.value) == message.format(out=tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_an_interrupted_file_leaves_nothing(place: Path, classifier: Classifier, tmp_path: Path, suffix: str) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(classifier, pictures(place), ["conv1"], tmp_path / f"f{suffix}", batch_size=2, tick=stop)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_last_hidden_layer_unless_told_otherwise(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    arguments = ["features", str(place / "model.safetensors"), str(place / "pictures"), "--out", str(out), "--json"]
    done = CliRunner().invoke(cli, [*arguments, "--precision", "float32", "--threads", "1"])
    assert done.exit_code == 1, done.output  # one picture was left out
    report = json.loads(done.stdout)
    assert (report["rows"], report["shapes"]) == (6, {"fc7.sigmoid": [8]})
    assert read(out)[1]["fc7.sigmoid"].shape == (6, 8)


def test_the_command_exports_and_says_how_well_the_file_agrees(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "m.onnx"
    done = CliRunner().invoke(cli, ["export", str(place / "model.safetensors"), "--to", "onnx", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(f"{out}: dialect everything, {out.stat().st_size:,} bytes, agrees with the model to ")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_any_name_of_a_file_comes_back(classifier: Classifier, tmp_path: Path, suffix: str) -> None:
    files = write_oddly_named(tmp_path / "odd")
    write_features(classifier, files, ["fc8"], tmp_path / f"f{suffix}")
    paths, _, _ = read(tmp_path / f"f{suffix}")
    assert list(map(unescape_name, paths)) == [str(file) for file in files]
    assert paths[0] == rf"{tmp_path}/odd/\x1b[31mred.png"


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
@pytest.mark.parametrize("room", [4, 5_000, 20_000])
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(
    place: Path,
    classifier: Classifier,
    tmp_path: Path,
    full_disk: Callable[[int], None],
    suffix: str,
    room: int,
) -> None:
    good = [path for path in pictures(place) if path.name != "2b.png"] * 3
    out = tmp_path / f"f{suffix}"
    classifier.activations(good[:1], ["conv1"])  # what is compiled for it is kept in files
    full_disk(room)
    with pytest.raises(OSError, match="File too large") as problem:
        write_features(classifier, good, ["conv1"], out, batch_size=4)
    full_disk(10**9)
    assert problem.value.filename == str(out)
    assert not list(tmp_path.iterdir())
    write_features(classifier, good, ["conv1"], out)
    assert len(read(out)[0]) == len(good)


def test_a_full_disk_under_hdf5_does_not_end_in_a_crash(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from alexnet.exchange.feature_files import open_writer
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
writer = open_writer(Path(sys.argv[1]), {"fc": (500,)})
try:
    for _ in range(9):
        writer.append(["a", "b"], {"fc": np.ones((2, 500), np.float32)})
    writer.finish({})
except OSError:
    writer.discard()
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "f.h5")], capture_output=True, check=False)
    assert done.returncode == 7, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays_and_what_a_killed_process_left_beside_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    path.write_text("precious")
    stand_in(path).mkdir()
    (stand_in(path) / "fc7.raw").write_text("left")
    with pytest.raises(ConfigError) as problem:
        open_writer(path, {"fc7": (4,)})
    assert str(problem.value) == f"--out {path}: exists. Choose another, or delete it."
    assert [each.name for each in tmp_path.iterdir()] == ["made.npz"]
    assert path.read_text() == "precious"
