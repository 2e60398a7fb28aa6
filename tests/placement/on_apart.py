"""Everything that computes on a device does so on one with a memory of its own: nothing is left on the CPU."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from distribution.work import small
from PIL import Image
from placement import apart

import alexnet
from alexnet import system
from alexnet.batches.loader import Batch
from alexnet.cli import cli
from alexnet.distribution import session
from alexnet.evaluation.ensemble import Ensemble
from alexnet.exchange.exporting import export_model
from alexnet.exchange.onnx_ensemble import export_ensemble
from alexnet.files.tensors import read_tensors
from alexnet.network import dialects
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Optimization
from alexnet.serving.answers import WHY, Answers
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update
from conftest import write_store

CLASSES = ("ant", "bee", "cat")
SMALL = ("--set", "batches.size=4", "--set", "optimization.schedule=constant", "--set", "optimization.drop_epochs=[]",
         "--set", "optimization.total_epochs=1", "--set", "optimization.learning_rate=0.001")  # fmt: skip


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    apart.set_up()
    for module in (system, session):
        monkeypatch.setattr(module, "check_device", torch.device)


def write_images(out: Path) -> Path:
    generator = np.random.default_rng(0)
    splits = {
        name: (generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % len(CLASSES))
        for name, count in (("train", 11), ("val", 6))
    }
    write_store(out, splits, CLASSES)
    return out


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("placement") / "store")


def call(*words: object, on: str = "apart", code: int = 0) -> str:
    given = [*map(str, words), *(() if on == "" else ("--device", on))]
    result = CliRunner().invoke(cli, given)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def train(store: Path, out: Path, *more: object, on: str = "apart", recipe: str = "cifar-18pct") -> Path:
    call("train", store, "--out", out, "--recipe", recipe, *SMALL, "--threads", 1, "--no-report", *more, on=on)
    return out


@pytest.fixture(scope="module")
def run_path(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(store_path, tmp_path_factory.mktemp("placement") / "run", on="cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--local-batch", 3),
        ("--set", "optimization.label_smoothing=0.1", "--set", "optimization.class_weights=classes"),
        ("--set", "optimization.layer_trust=0.01"),
        ("--set", "optimization.at_rate_zero=coast", "--set", "optimization.rate_factors={conv1: 0}"),
    ],
    ids=["whole", "parts", "weighted", "lars", "frozen"],
)
def test_training_on_a_device_gives_the_weights_of_the_cpu(
    store_path: Path, tmp_path: Path, precision: str, more: tuple[object, ...]
) -> None:
    there = train(store_path, tmp_path / "there", "--precision", precision, *more)
    here = train(store_path, tmp_path / "here", "--precision", precision, *more, on="cpu")
    weights, expected = (read_tensors(path / "model.safetensors") for path in (there, here))
    tolerance = 1e-5 if precision == "float32" else 1e-2
    for name, weight in expected.items():
        if weight.is_floating_point():
            torch.testing.assert_close(weights[name], weight, rtol=tolerance, atol=tolerance, msg=name)


def test_testing_on_a_device_gives_the_errors_of_the_cpu(store_path: Path, run_path: Path) -> None:
    for views in (1, 9, 10):
        told = [call("evaluate", run_path, store_path, "--views", views, "--precision", "float32", "--json", on=on)
                for on in ("apart", "cpu")]  # fmt: skip
        there, here = (json.loads(each) for each in told)
        assert there["top1_error"] == here["top1_error"]
        assert there["cross_entropy"] == pytest.approx(here["cross_entropy"], rel=1e-5)


VERBS: dict[str, tuple[object, ...]] = {
    "average": ("evaluate", "RUN", "RUN", "STORE", "--average"),
    "predict": ("predict", "RUN", "PICTURE", "--views", 10),
    "features": ("features", "RUN", "PICTURE", "--layers", "conv1,conv2.pool", "--out", "OUT.npz"),
    "calibrate": ("calibrate", "RUN", "STORE", "--reject", "0.3"),
    "activations": ("draw", "activations", "RUN", "PICTURE", "--out", "OUT.png"),
    "predictions": ("draw", "predictions", "RUN", "STORE", "--out", "OUT.png"),
    "neighbours": ("draw", "neighbours", "RUN", "STORE", "--query", "PICTURE", "--out", "OUT.png"),
    "why, occlusion": ("draw", "why", "RUN", "PICTURE", "--method", "occlusion", "--out", "OUT.png"),
    "why, gradient": ("draw", "why", "RUN", "PICTURE", "--method", "gradient", "--out", "OUT.png"),
    "why, cam": ("draw", "why", "RUN", "PICTURE", "--method", "cam", "--out", "OUT.png"),
    "index": ("search", "index", "RUN", "STORE", "--out", "OUT"),
    "fine-tuning": ("train", "STORE", "--from", "RUN", "--out", "OUT", "--no-report", *SMALL),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_runs_on_a_device(store_path: Path, run_path: Path, tmp_path: Path, verb: str) -> None:
    run_copy, picture = tmp_path / "run", tmp_path / "picture.png"
    shutil.copytree(run_path, run_copy)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(picture)
    places = {"RUN": run_copy, "STORE": store_path, "PICTURE": picture}
    words = [str(places.get(str(word), word)).replace("OUT", str(tmp_path / "out")) for word in VERBS[verb]]
    call(*words)


def test_a_network_of_local_layers_and_any_number_of_labels_trains_and_is_tested(tmp_path: Path) -> None:
    """cuda-convnet's 13 % network; and an index, which is asked afterwards."""
    store = tmp_path / "sets"
    generator = np.random.default_rng(0)
    images, sets = generator.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), generator.integers(0, 2, (12, 3))
    write_store(store, {"train": (images, sets), "val": (images[:5], sets[:5])}, CLASSES)
    run = train(store, tmp_path / "run", recipe="cifar-13pct")
    assert "mean_average_precision" in call("evaluate", run, store, "--views", 10, "--json")


def test_what_lies_on_a_device_is_asked_and_exported(run_path: Path, store_path: Path, tmp_path: Path) -> None:
    call("search", "index", run_path, store_path, "--out", tmp_path / "index")
    picture = tmp_path / "picture.png"
    Image.fromarray(np.full((40, 36, 3), 90, np.uint8)).save(picture)
    call("search", "query", tmp_path / "index", picture, "--json")
    loaded = alexnet.load(run_path, device="apart", precision="float32")
    export_model(loaded.model, "alexnet", tmp_path / "model.safetensors")
    export_model(loaded.model, "program", tmp_path / "model.pt2")
    if find_spec("onnx") and find_spec("onnxruntime"):
        export_model(loaded.model, "onnx", tmp_path / "model.onnx")
        ensemble = Ensemble([loaded, alexnet.load(run_path, device="cpu", precision="float32")])
        export_ensemble(ensemble, "onnx", tmp_path / "ensemble.onnx")


def test_a_server_answers_from_a_device(run_path: Path) -> None:
    answers = Answers(alexnet.load(run_path, device="apart", precision="float32"))
    expected = Answers(alexnet.load(run_path, device="cpu", precision="float32"))
    pictures = list(np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    for ask in (
        lambda each: [each.predict(pictures, 10)[0].probabilities],
        lambda each: each.view_probabilities(pictures, 10),
        lambda each: each.activations(pictures, "conv1"),
        *(lambda each, method=method: each.why(pictures, method, "bee") for method in WHY),
    ):
        for found, wanted in zip(ask(answers), ask(expected), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dialect", ["cifar-18pct", "cifar-11pct", "small"])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1, "class_weights": (1.0, 2.0, 0.5)}, {"in_parts": True}]
)
def test_an_update_waits_for_nothing_until_its_loss_is_read(
    dialect: str, dtype: torch.dtype, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "small", small)
    network = build(dialect, len(CLASSES)).to("apart")
    side, smooth = network.spec.input_px, dict(options)
    if "class_weights" in smooth:
        smooth["class_weights"] = torch.tensor(smooth["class_weights"]).to("apart")
    optimizer = MomentumDescent(network, Optimization(), dtype=dtype)
    optimizer.working.train()
    inputs, keys = torch.randn(4, 3, side, side).to(dtype).to("apart"), torch.arange(4).to("apart")
    update, rates = Update(optimizer, **smooth), dict.fromkeys(optimizer.velocities, 1e-3)
    del apart.waited[:]
    parts = [Batch(inputs, keys % 3, keys, total=8, is_last=last) for last in (False, True)]
    for part in parts if options.get("in_parts") else [parts[1]._replace(total=4)]:
        done = update(part, rates)
    assert apart.waited == []
    assert done is not None
    assert np.isfinite(done.read()[0])
    assert apart.waited == ["tolist"]


@pytest.mark.parametrize(("layer_trust", "waits"), [(0.0, []), (0.01, ["tolist"])])
def test_label_sets_wait_for_nothing_and_layer_wise_rates_once_in_a_step(layer_trust: float, waits: list[str]) -> None:
    network = build("cifar-18pct", len(CLASSES)).to("apart")
    optimizer = MomentumDescent(network, Optimization(layer_trust=layer_trust), dtype=torch.float32)
    optimizer.working.train()
    keys, sets = torch.arange(4).to("apart"), torch.tensor([[0.0, 1, 1]] * 4).to("apart")
    inputs = torch.randn(4, 3, 32, 32).to("apart")
    del apart.waited[:]
    Update(optimizer)(Batch(inputs, sets, keys, total=4), dict.fromkeys(optimizer.velocities, 1e-3))
    assert apart.waited == waits


@pytest.mark.parametrize(
    "fault", [lambda x: x + torch.ones(2), lambda x: x[torch.tensor([0])], lambda x: torch.cat([x, torch.ones(2)])]
)
def test_the_device_refuses_what_lies_on_the_cpu(fault: Any) -> None:
    with pytest.raises(apart.MixedDevicesError, match="of tensors on apart, cpu"):
        fault(torch.ones(2).to("apart"))


def test_the_device_has_no_arrays_and_notes_what_is_waited_for() -> None:
    x = torch.tensor([1.0, 0.0]).to("apart")
    with pytest.raises(RuntimeError, match="numpy"):
        x.numpy()
    del apart.waited[:]
    assert float(x.sum()) == 1
    assert x[x > 0].cpu().tolist() == [1]
    assert apart.waited == ["aten._local_scalar_dense.default", "aten.index.Tensor", "aten._to_copy.default"]
