"""Tools that people have for features and attribution, on the unfused network. Each is skipped where it is absent.

Captum and thingsvision: pip install captum thingsvision. None of them is part of an extra; their dependencies are large.
"""

import importlib
import re
import shlex
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from alexnet.cli import cli
from alexnet.evaluation.classifier import Classifier, load
from alexnet.network.model_file import save_model
from exchange.miniature import make_model, small_paper

GUIDE = (Path(__file__).parents[2] / "docs" / "neuroscience.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
LAYERS = ["conv1.relu", "conv2.norm", "conv5", "conv5.pool", "fc7.relu", "fc8"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # theirs
    pytest.mark.filterwarnings("ignore::UserWarning:captum.*"),
]


def need(name: str) -> ModuleType:
    """Import a tool, or skip: torchvision beside another PyTorch than its own raises RuntimeError."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as problem:
        pytest.skip(f"{name} is not here, or not for this PyTorch: {problem}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neighbours")
    (folder / "RUN").mkdir()
    save_model(folder / "RUN" / "model.safetensors", make_model(small_paper(), image_px=75))
    generator = np.random.default_rng(0)
    for name in ("picture.jpg", "a.jpg", "b.jpg"):
        Image.fromarray(generator.integers(0, 256, (90, 80, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> Classifier:
    return load(place / "RUN", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def inputs(place: Path, model: Classifier) -> torch.Tensor:
    return model.inputs([place / "a.jpg", place / "b.jpg"])


def expect(model: Classifier, inputs: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return model.network.activations(inputs, layers)


def test_inputs_are_what_the_classifier_itself_reads(place: Path, model: Classifier, inputs: torch.Tensor) -> None:
    assert inputs.shape == (2, 3, 67, 67)
    with torch.inference_mode():
        probabilities = model.network.unfused()(inputs).softmax(1)
    for given, row in zip(("a.jpg", "b.jpg"), probabilities, strict=True):
        (prediction,) = model.predict(place / given)
        np.testing.assert_allclose(row.numpy(), prediction.probabilities, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_guide_runs(
    place: Path, example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for tool in re.findall(r"^from ((?:captum|thingsvision|torchvision)[\w.]*)", example, re.MULTILINE):
        need(tool)
    monkeypatch.chdir(place)
    exec(example, {})
    assert capsys.readouterr().out


def test_the_command_of_the_guide_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "PHOTOS").mkdir()
    shutil.copy("a.jpg", "PHOTOS")
    (line,) = re.findall(r"^(alexnet .*)$", GUIDE, re.MULTILINE)
    done = CliRunner().invoke(cli, [*shlex.split(line)[1:], "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert (place / "PROJECTION" / "sprite.png").is_file()


def test_torchvision_extracts_every_activation_by_its_name(model: Classifier, inputs: torch.Tensor) -> None:
    extraction: Any = need("torchvision.models.feature_extraction")
    names = [name for name in model.network.activation_names() if "." in name or name == "fc8"]
    plain = model.network.unfused()
    found = extraction.create_feature_extractor(plain, names, suppress_diff_warning=True)(inputs)
    expected = expect(model, inputs, names)
    assert set(found) == set(names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    alone = {"conv1.conv2d": "conv1", "fc6.linear": "fc6"}  # torchvision's conv1 is the end of all that conv1 holds
    found = extraction.create_feature_extractor(plain, alone, suppress_diff_warning=True)(inputs)
    for name, values in expect(model, inputs, list(alone.values())).items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5)


def test_thingsvision_extracts_every_activation_by_its_name(model: Classifier, inputs: torch.Tensor) -> None:
    thingsvision: Any = need("thingsvision")
    extractor = thingsvision.get_extractor_from_model(
        model=model.network.unfused(), device="cpu", backend="pt", preprocess=lambda picture: model.inputs([picture])[0]
    )
    names = list(model.network.activation_names())
    found = extractor.extract_features([inputs[:1], inputs[1:]], module_names=names, output_type="ndarray")
    for name, values in expect(model, inputs, names).items():
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-4, atol=1e-5)


def test_captum_sees_every_layer_and_its_gradients_add_up(model: Classifier, inputs: torch.Tensor) -> None:
    attr: Any = need("captum.attr")
    plain = model.network.unfused()
    target = torch.tensor([0, 2])
    heat = attr.IntegratedGradients(plain).attribute(inputs, target=target, n_steps=200)
    rise = (plain(inputs) - plain(torch.zeros_like(inputs))).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(heat.flatten(1).sum(1).float(), rise.detach(), rtol=0.02, atol=0.02)  # completeness
    for name, values in expect(model, inputs, LAYERS).items():
        found = attr.LayerActivation(plain, plain.get_submodule(name)).attribute(inputs)
        torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-5)
    cam = attr.LayerGradCam(plain, plain.get_submodule("conv5.relu")).attribute(inputs, target=target)
    maps: list[torch.Tensor] = []
    with plain.conv5.relu.register_forward_hook(lambda module, given, output: maps.append(output)):
        score = plain(inputs).gather(1, target[:, None]).sum()
    (slope,) = torch.autograd.grad(score, maps[0])
    expected = (slope.mean((2, 3), keepdim=True) * maps[0]).sum(1, keepdim=True)
    torch.testing.assert_close(cam, expected, rtol=1e-3, atol=1e-6)
