"""The options of the 2012 recipe in a whole run: layers freeze, noise ends, crops are shared, and a resume is exact."""

import os
import signal
from pathlib import Path

import pytest
import torch

import alexnet
from alexnet.errors import ConfigError, Interrupted, RecipeError
from alexnet.files.tensors import read_tensors
from alexnet.network import dialects
from alexnet.network.model_file import load_model
from alexnet.network.rows import Convolution, Dense, Dropout, Normalize, NormalizeMap, Pool, Rectify, Spec
from alexnet.recipes.named import find_recipe
from alexnet.runs.train import train
from conftest import Listener


def tiny_2012(num_classes: int) -> Spec:
    """The parts of source-2012, small enough to train in a second."""
    relu, norm = Rectify(), Normalize(alpha=1e-4 / 5, within="tower")
    return Spec(
        dialect="tiny-2012",
        layers=(
            Convolution(name="conv1", kernels=8, window_px=11, stride_px=8, then=(norm, Pool(), relu)),
            Convolution(name="conv2", kernels=16, window_px=3, sees="own tower", bias=1,
                        then=(relu, norm, NormalizeMap(), Pool())),
            Dense(name="fc6", units=32, then=(relu, Dropout()), bias=1),
            Dense(name="fc8", units=num_classes),
        ),
    )  # fmt: skip


OPTIONS = [
    "network.dialect=tiny-2012", "network.initialization=he", "batches.size=5", "batches.divisor=60",
    "batches.color_noise_epochs=2", "batches.images_per_crop=4", "optimization.drop_epochs=[1, 2]",
    "optimization.rate_changes=[{epoch: 1, layer: conv1, weights: 0.00001}, {epoch: 2, layer: conv1, weights: 0, biases: 0}]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "tiny-2012", tiny_2012)


def run(
    store: Path, out: Path, *more: str, epochs: int = 4, listener: Listener | None = None, precision: str = "float32"
) -> None:
    recipe = find_recipe("source-2012", [*OPTIONS, f"optimization.total_epochs={epochs}", *more])
    opened = alexnet.open_store(store)
    train(opened, recipe, out, listener=listener or Listener(), threads=1, device="cpu", precision=precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_frozen_layer_stays_and_an_interrupted_run_ends_with_the_same_bits(
    small_store_path: Path, tmp_path: Path, precision: str
) -> None:
    run(small_store_path, tmp_path / "whole", precision=precision)
    for stop_after in (3, 8, 12):  # in epochs 1, 2 and 3: before, in and after the slow epoch of conv1
        stopped = Listener()
        stopped.on_batch = lambda progress, at=stop_after: (
            os.kill(os.getpid(), signal.SIGINT) if progress.epoch * 5 + progress.batch == at else None
        )
        with pytest.raises(Interrupted):
            run(small_store_path, tmp_path / "part", listener=stopped, precision=precision)
    run(small_store_path, tmp_path / "part", precision=precision)
    whole, part = (read_tensors(tmp_path / name / "model.safetensors") for name in ("whole", "part"))
    for name, value in whole.items():
        assert torch.equal(part[name], value), name
    run(small_store_path, tmp_path / "three", epochs=3, precision=precision)
    before = read_tensors(tmp_path / "three" / "model.safetensors")
    for name, value in whole.items():
        frozen = name.startswith("layers.conv1") or name == "mean_image"
        assert torch.equal(before[name], value) == frozen, name
    assert load_model(tmp_path / "whole" / "model.safetensors").preprocessing.mean_place == "central"


def test_a_trained_model_of_the_recipe_is_tested_with_its_own_preprocessing(
    small_store_path: Path, tmp_path: Path
) -> None:
    run(small_store_path, tmp_path / "run", epochs=3)
    classifier = alexnet.load(tmp_path / "run", device="cpu", precision="float32")
    for views in (1, 9, 10):
        assert classifier.evaluate(alexnet.open_store(small_store_path), views=views).images == 9


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("optimization.rate_factors={conv9: 0}", "optimization.rate_factors names the layer 'conv9', which dialect tiny-2012 does not have. Its layers: conv1, conv2, fc6, fc8."),
        ("optimization.weight_decays={fc7: 0}", "optimization.weight_decays names the layer 'fc7', which dialect tiny-2012 does not have. Its layers: conv1, conv2, fc6, fc8."),
        ("optimization.rate_changes=[{epoch: 1, layer: conv3, weights: 0}]", "optimization.rate_changes names the layer 'conv3', which dialect tiny-2012 does not have. Its layers: conv1, conv2, fc6, fc8."),
    ],
)  # fmt: skip
def test_layers_that_the_dialect_lacks_are_refused(
    small_store_path: Path, tmp_path: Path, option: str, message: str
) -> None:
    with pytest.raises(RecipeError) as problem:
        run(small_store_path, tmp_path / "run", option)
    assert str(problem.value) == message
    assert not (tmp_path / "run").exists()


def test_a_dialect_that_there_is_not_is_refused_before_the_run_folder_exists(
    small_store_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="unknown dialect 'tinny'"):
        run(small_store_path, tmp_path / "run", "network.dialect=tinny")
    assert not (tmp_path / "run").exists()
