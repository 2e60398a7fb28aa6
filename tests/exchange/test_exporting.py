"""What is written computes what the model computes, or is not written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexnet import kernels
from alexnet.batches.loader import assemble_evaluation_views
from alexnet.batches.views import evaluation_views
from alexnet.errors import ConfigError, ExportError
from alexnet.exchange import exporting, onnx_graph
from alexnet.exchange.exporting import export_model
from alexnet.exchange.importing import open_model
from alexnet.network.model_file import Model, load_model
from alexnet.network.spec import Spec, find_dialect
from exchange.miniature import everything, make_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(path: Path, **given: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, given)[0])


def inputs_for(spec: Spec, count: int) -> torch.Tensor:
    return torch.randn(count, 3, spec.input_px, spec.input_px, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("plain", [False, True])
def test_every_operation_of_a_graph_equals_the_models(small: Model, plain: bool) -> None:
    graph = onnx_graph.build_graph(small, plain_normalization=plain)
    onnx.checker.check_model(graph, full_check=True)
    names = small.network.activation_names()
    for name in names:
        graph.graph.output.append(onnx.ValueInfoProto(name=name.replace(".", "/")))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 4):
        x = inputs_for(small.network.spec, count)
        _, *found = session.run(None, {"inputs": x.numpy()})
        with torch.inference_mode():
            ours = small.network.activations(x)
        for name, theirs in zip(names, found, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours[name], rtol=1e-5, atol=1e-5, msg=name)


def test_normalisation_is_the_standard_operator_or_by_request_plain_ones(small: Model) -> None:
    standard = [node.op_type for node in onnx_graph.build_graph(small).graph.node]
    plain = [node.op_type for node in onnx_graph.build_graph(small, plain_normalization=True).graph.node]
    assert standard.count("LRN") == 3  # two towers and a layer; the even window has no operator
    assert "LRN" not in plain
    assert {node.domain for node in onnx_graph.build_graph(small).graph.node} == {""}


def test_an_onnx_file_knows_what_goes_with_it(small: Model, tmp_path: Path) -> None:
    done = export_model(small, "onnx", tmp_path / "m.onnx")
    assert done.largest_difference is not None
    assert done.largest_difference < 1e-5
    x = inputs_for(small.network.spec, 5)
    with torch.inference_mode():
        torch.testing.assert_close(run(tmp_path / "m.onnx", inputs=x.numpy()), small.network(x), rtol=1e-5, atol=1e-5)
    values = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(values["class_names"]) == ["ant", "bee", "cat", "dog"]
    assert Spec.from_json(values["spec"], where="onnx") == everything()
    assert json.loads(values["divisor"]) == [60.0]


@pytest.mark.parametrize(("place", "divisor"), [("aligned", 60.0), ("central", (50.0, 60.0, 70.0))])
def test_a_ten_view_graph_goes_from_stored_images_to_probabilities(tmp_path: Path, place: Any, divisor: Any) -> None:
    model = make_model(everything(), mean_place=place, divisor=divisor)
    export_model(model, "onnx", tmp_path / "m.onnx", ten_views=True)
    images = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = run(tmp_path / "m.onnx", images=images)
    preprocessing = model.preprocessing
    views = assemble_evaluation_views(
        list(images), preprocessing.mean_image, evaluation_views(32, 28, 10), 28, divisor, torch.float32, place
    )
    with torch.inference_mode():
        expected = torch.stack([model.network(view).softmax(1).mean(0) for view in views])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_network_of_the_demo_exports_and_agrees_in_onnxruntime(tmp_path: Path) -> None:
    model = make_model(find_dialect("paper", 10), image_px=256)
    done = export_model(model, "onnx", tmp_path / "m.onnx")
    assert done.bytes > 4 * 56_000_000
    assert done.largest_difference is not None
    assert done.largest_difference < 1e-5


def test_a_program_runs_without_this_package_and_for_any_number_of_images(small: Model, tmp_path: Path) -> None:
    before = [tuple(choice) for choice in kernels.report()]
    export_model(small, "program", tmp_path / "m.pt2")
    assert [tuple(choice) for choice in kernels.report()] == before
    program = torch.export.load(tmp_path / "m.pt2")
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [target for target in targets if "alexnet" in target]
    for count in (1, 2, 5):
        x = inputs_for(small.network.spec, count)
        with torch.inference_mode():
            torch.testing.assert_close(program.module()(x), small.network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("to", ["onnx", "program"])
def test_a_file_that_disagrees_is_not_written(
    small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: exporting.Format
) -> None:
    if to == "onnx":
        monkeypatch.setattr(
            onnx_graph._Graph, "number", lambda graph, value: graph.constant(f"n{value}", np.float32(value) * 3)
        )
    else:
        monkeypatch.setattr(torch.export, "load", lambda stream: Shifted(small))
    with pytest.raises(ExportError) as problem:
        export_model(small, to, tmp_path / ("m.onnx" if to == "onnx" else "m.pt2"))
    assert str(problem.value).startswith("the exported file's logits differ from the model's by ")
    assert str(problem.value).endswith(
        " of the largest; accepted is 0.0001. It was not written. Please report this with the dialect's name."
    )
    assert not list(tmp_path.iterdir())


class Shifted:
    def __init__(self, model: Model) -> None:
        self._model = model

    def module(self) -> Any:
        return lambda inputs: self._model.network(inputs) + 1


@pytest.mark.parametrize(("place", "divisor"), [("aligned", 60.0), ("central", (50.0, 60.0, 70.0))])
def test_our_own_file_holds_everything_bit_for_bit(tmp_path: Path, place: str, divisor: Any) -> None:
    model = make_model(everything(), mean_place=place, divisor=divisor)
    export_model(model, "alexnet", tmp_path / "m.safetensors")
    back = load_model(tmp_path / "m.safetensors")
    assert back.network.spec == everything()
    assert (back.class_names, back.provenance) == (model.class_names, model.provenance)
    assert (back.preprocessing.divisor, back.preprocessing.mean_place) == (divisor, place)
    assert np.array_equal(back.preprocessing.mean_image, model.preprocessing.mean_image)
    for name, value in model.network.state_dict().items():
        assert torch.equal(back.network.state_dict()[name], value), name
    x = inputs_for(everything(), 2)
    with torch.inference_mode():
        assert torch.equal(back.network(x), model.network(x))
    again = open_model(tmp_path / "m.safetensors")
    assert again.network.spec == everything()
    with pytest.raises(ConfigError) as problem:
        open_model(tmp_path / "m.safetensors", dialect="paper", mean="1,2,3")
    assert str(problem.value) == (
        f"{tmp_path / 'm.safetensors'} is a model of alexnet and knows its own; leave out --dialect, --mean."
    )


def test_a_dialect_that_torchvision_cannot_compute_is_refused_with_the_differences(tmp_path: Path) -> None:
    with torch.device("meta"):
        from alexnet.network.alexnet import AlexNet

        network = AlexNet(find_dialect("paper", 10))
    model = Model(network, (), (), make_model(everything()).preprocessing, {})
    with pytest.raises(ExportError) as problem:
        export_model(model, "torchvision", tmp_path / "m.pth")
    assert str(problem.value).startswith(
        "torchvision's alexnet cannot compute dialect paper (towers: 2 here, 1 there; convolution windows: may hang over "
        "the edge here, whole ones only there; "
    )
    assert str(problem.value).endswith(
        "Train with --set network.dialect=one-tower-2014 for it, or export with --to onnx or --to program."
    )


@pytest.mark.parametrize(
    ("to", "name", "options", "message"),
    [
        ("onnx", "m.pth", {}, "--out {out}: a file for --to onnx ends in .onnx."),
        ("torchvision", "m.onnx", {}, "--out {out}: a file for --to torchvision ends in .pth or .safetensors."),
        ("program", "m.pt2", {"ten_views": True}, "--ten-views goes with --to onnx only; given was --to program."),
        ("alexnet", "m.safetensors", {"plain_normalization": True}, "--plain-norm goes with --to onnx only; given was --to alexnet."),
        ("keras", "m.h5", {}, "unknown format 'keras'. Known: alexnet, onnx, torchvision, program."),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(
    small: Model, tmp_path: Path, to: Any, name: str, options: dict[str, bool], message: str
) -> None:
    with pytest.raises(ConfigError) as problem:
        export_model(small, to, tmp_path / name, **options)
    assert str(problem.value) == message.format(out=tmp_path / name)


def test_an_existing_file_is_left_alone(small: Model, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("precious")
    with pytest.raises(ConfigError) as problem:
        export_model(small, "onnx", tmp_path / "m.onnx")
    assert str(problem.value) == f"--out {tmp_path / 'm.onnx'}: exists. Choose another, or delete it."
    assert (tmp_path / "m.onnx").read_text() == "precious"
