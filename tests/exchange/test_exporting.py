"""What is written computes what the model computes, or is not written."""

import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image, ImageOps

from alexnet import kernels, load
from alexnet.batches.preprocessing import FRAMINGS
from alexnet.cli import cli
from alexnet.data.images.decode import Framing, open_image
from alexnet.errors import ConfigError, ExportError
from alexnet.evaluation.ensemble import Ensemble, save_ensemble
from alexnet.exchange import exporting, importing, onnx_graph
from alexnet.exchange.exporting import export_model
from alexnet.exchange.importing import TORCHVISION_DIVISOR, TORCHVISION_MEAN, open_model
from alexnet.exchange.onnx_ensemble import export_ensemble
from alexnet.exchange.programs import _open_picture
from alexnet.network import dialects
from alexnet.network.confidence import Rejection
from alexnet.network.dialects import find_dialect
from alexnet.network.model_file import Model, load_model, save_model
from alexnet.network.rows import Dense, Spec
from exchange.miniature import CLASSES, everything, make_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(path: Path, **given: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, given)[0])


def images_for(model: Model, count: int) -> NDArray[np.uint8]:
    """Stored images."""
    side = model.preprocessing.image_px
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def inputs_for(model: Model, count: int) -> torch.Tensor:
    """What training and testing make of the centres of the same images."""
    preprocessing, crop_px = model.preprocessing, model.network.spec.input_px
    first = (preprocessing.image_px - crop_px) // 2
    middle = slice(first, first + crop_px)
    inputs = (images_for(model, count) - preprocessing.mean_image) / np.float32(preprocessing.divisor)
    return torch.from_numpy(inputs[:, middle, middle].transpose(0, 3, 1, 2).copy())


def logits_for(model: Model, count: int) -> torch.Tensor:
    with torch.inference_mode():
        return model.network(inputs_for(model, count))


@pytest.mark.parametrize("plain", [False, True])
def test_every_operation_of_a_graph_equals_the_models(small: Model, plain: bool) -> None:
    graph = onnx_graph.build_graph(small, plain_normalization=plain)
    onnx.checker.check_model(graph, full_check=True)
    names = small.network.activation_names()
    for name in names:
        graph.graph.output.append(onnx.ValueInfoProto(name=name.replace(".", "/")))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 4):
        _, *found = session.run(None, {"images": images_for(small, count)})
        with torch.inference_mode():
            ours = small.network.activations(inputs_for(small, count))
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
    found = run(tmp_path / "m.onnx", images=images_for(small, 5))
    torch.testing.assert_close(found, logits_for(small, 5), rtol=1e-5, atol=1e-5)
    kept = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert np.array_equal(kept["mean_image"][0].transpose(1, 2, 0), small.preprocessing.mean_image)
    values = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(values["class_names"]) == ["ant", "bee", "cat", "dog"]
    assert Spec.from_json(values["spec"], where="onnx") == everything()
    assert json.loads(values["divisor"]) == [60.0]
    assert (values["mean_place"], values["image_px"], values["crop_px"]) == ("aligned", "32", "28")


@pytest.mark.parametrize("engine", ["ENGINE_CLASSIC", "ENGINE_NEW"])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("dialect", ["everything", "cifar-18pct", "cifar-11pct", "source-2012"])
def test_opencv_computes_what_the_model_does(tmp_path: Path, dialect: str, plain: bool, engine: str) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless, which is not installed")
    if not hasattr(cv2.dnn, engine):
        pytest.skip(f"OpenCV {cv2.__version__} has one engine")
    spec = everything() if dialect == "everything" else find_dialect(dialect, 4)
    model = make_model(spec, image_px=spec.input_px + 8)
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_graph.build_graph(model, plain_normalization=plain).SerializeToString())
    network = cv2.dnn.readNetFromONNX(str(path), getattr(cv2.dnn, engine))
    network.setInput(images_for(model, 1))
    expected = logits_for(model, 1)
    found = torch.from_numpy(network.forward())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_no_node_leaves_it_to_the_reader_whether_a_mean_counts_its_padding(small: Model) -> None:
    """OpenCV's classic engine ignores count_include_pad=1, so what counts is padded by a node of its own."""
    nodes = onnx_graph.build_graph(small).graph.node
    given = [each.i for node in nodes for each in node.attribute if each.name == "count_include_pad"]
    assert given == [0]  # the pooling that leaves padding out of account
    assert [node.op_type for node in nodes].count("Pad") == 1


@pytest.mark.parametrize(("place", "divisor"), [("aligned", 60.0), ("central", (50.0, 60.0, 70.0))])
def test_a_ten_view_graph_goes_from_stored_images_to_probabilities(tmp_path: Path, place: Any, divisor: Any) -> None:
    model = make_model(everything(), mean_place=place, divisor=divisor)
    export_model(model, "onnx", tmp_path / "m.onnx", ten_views=True)
    images = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = run(tmp_path / "m.onnx", images=images)
    views = model.preprocessing.make_views(list(images), 28, torch.float32, views=10)
    with torch.inference_mode():
        expected = torch.stack([model.network(view).softmax(1).mean(0) for view in views])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("to", ["onnx", "ten", "program", "alexnet"])
def test_exporting_leaves_the_callers_network_as_it_is(tmp_path: Path, to: str) -> None:
    model = make_model(everything())
    network = model.network.bfloat16().train()
    weights = {name: (value, value.clone()) for name, value in network.state_dict(keep_vars=True).items()}
    suffix = {"program": "pt2", "alexnet": "safetensors"}.get(to, "onnx")
    export_model(model, "onnx" if to == "ten" else to, tmp_path / f"m.{suffix}", ten_views=to == "ten")  # type: ignore[arg-type]
    assert network.training
    for name, value in network.state_dict(keep_vars=True).items():
        before, copied = weights[name]
        assert value is before, name
        assert value.dtype == torch.bfloat16, name
        assert torch.equal(value, copied), name


def test_exporting_an_ensemble_leaves_its_networks_as_they_are(tmp_path: Path) -> None:
    members = []
    for number in (1, 2):
        save_model(tmp_path / f"{number}.safetensors", make_model(everything()))
        members.append(load(tmp_path / f"{number}.safetensors", precision="bfloat16"))
    export_ensemble(Ensemble(members), "onnx", tmp_path / "e.onnx")
    assert {weight.dtype for member in members for weight in member.network.parameters()} == {torch.bfloat16}


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A landscape lying on its side, and the folder of it as the current one."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).resize((50, 80), Image.Resampling.BICUBIC).save(tmp_path / "picture.jpg", exif=exif)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "picture.jpg"


@pytest.mark.parametrize("views", [1, 10])
def test_onnx_finds_the_distances_of_the_model_and_what_is_unknown(small: Model, tmp_path: Path, views: int) -> None:
    means = np.random.default_rng(3).uniform(0, 1, (4, small.network.num_features)).astype(np.float32)
    save_model(tmp_path / "model.safetensors", replace(small, rejection=Rejection(means, {1: 1.0, 10: 1.0}, 0.05)))
    model = load(tmp_path / "model.safetensors", device="cpu", precision="float32")
    images = images_for(model.model, 9)
    distances = model.compute_answer(list(images), views=views).distances
    assert distances is not None
    middle = float(np.sort(distances)[4])
    rejection = Rejection(means, {1: middle + 1e-6, 10: middle + 1e-6}, 0.05)
    out = tmp_path / "m.onnx"
    export_model(replace(model.model, rejection=rejection), "onnx", out, ten_views=views == 10)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()][1:] == ["distance", "unknown"]
    found, unknown = session.run(["distance", "unknown"], {"images": images})
    np.testing.assert_allclose(found, distances, rtol=1e-4, atol=1e-6)
    assert unknown.tolist() == (distances > middle + 1e-6).tolist()
    assert sum(unknown) == 4


def test_the_printed_program_says_unknown_and_other_formats_say_that_they_cannot(
    small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    means = np.ones((4, small.network.num_features), np.float32)
    never, always = (replace(small, rejection=Rejection(means, {1: at, 10: at}, 0.05)) for at in (2.0, 1e-9))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(images_for(small, 1)[0]).save("picture.jpg")
    for name, model in (("never", never), ("always", always)):
        program = export_model(model, "onnx", Path(f"{name}.onnx")).program
        assert program is not None
        exec(compile(program, "use.py", "exec"), {})
        assert ("unknown, at distance 0." in capsys.readouterr().out) == (name == "always")
    sentence = "This format names a class for every picture: of the exports only --to onnx knows unknown ones."
    assert export_model(never, "program", Path("m.pt2")).notes == (sentence,)
    assert export_model(small, "program", Path("n.pt2")).notes == ()


def lines_of(program: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Run a printed program; returns what it printed: class -> percent."""
    capsys.readouterr()
    exec(compile(program, "use.py", "exec"), {})
    printed = capsys.readouterr().out
    return {name: float(percent) for percent, name in (line.split(" %  ") for line in printed.splitlines())}


@pytest.mark.parametrize(
    ("to", "out", "views"), [("onnx", "it's.onnx", 1), ("onnx", "ten.onnx", 10), ("program", "m.pt2", 1)]
)
@pytest.mark.parametrize("place", ["aligned", "central"])
def test_the_program_that_is_printed_predicts_what_the_model_does(
    picture: Path, capsys: pytest.CaptureFixture[str], to: str, out: str, views: int, place: str
) -> None:
    save_model(Path("model.safetensors"), make_model(everything(), mean_place=place, divisor=(50.0, 60.0, 70.0)))
    options = ["--ten-views"] if views == 10 else []
    result = CliRunner().invoke(cli, ["export", "model.safetensors", "--to", to, "--out", out, *options])
    assert result.exit_code == 0, result.output
    assert "save this as use.py" in result.stderr
    prediction = load("model.safetensors", precision="float32").predict([picture], views=views)[0]
    expected = {name: 100 * share for name, share in prediction.top()}
    assert lines_of(result.stdout, capsys) == pytest.approx(expected, abs=0.4)  # resized to a grey level


def test_the_program_for_an_ensemble_predicts_what_the_ensemble_does(
    picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, divisor in enumerate((30.0, 60.0)):
        save_model(Path(f"{number}.safetensors"), make_model(everything(), divisor=divisor))
    ensemble = Ensemble([load(f"{number}.safetensors", precision="float32") for number in (0, 1)], [1, 3])
    save_ensemble(Path("e.json"), ensemble)
    result = CliRunner().invoke(cli, ["export", "e.json", "--to", "onnx", "--out", "e.onnx"])
    assert result.exit_code == 0, result.output
    expected = {name: 100 * share for name, share in ensemble.predict([picture], views=10)[0].top()}
    assert lines_of(result.stdout, capsys) == pytest.approx(expected, abs=0.4)


class _Torchvision(types.ModuleType):
    """Stands for the package: its network at a hundredth of the width."""

    class models:  # noqa: N801
        @staticmethod
        def alexnet(num_classes: int) -> torch.nn.Module:
            return ThinTorchvisionAlexNet(num_classes)


class ThinTorchvisionAlexNet(torch.nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        relu, pool = torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2)
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 11, stride=4, padding=2), relu, pool, torch.nn.Conv2d(4, 6, 5, padding=2), relu, pool,
            torch.nn.Conv2d(6, 6, 3, padding=1), relu, torch.nn.Conv2d(6, 6, 3, padding=1), relu,
            torch.nn.Conv2d(6, 6, 3, padding=1), relu, pool,
        )  # fmt: skip
        self.classifier = torch.nn.Sequential(
            torch.nn.Dropout(), torch.nn.Linear(216, 8), relu, torch.nn.Dropout(), torch.nn.Linear(8, 8), relu,
            torch.nn.Linear(8, num_classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def thin(num_classes: int) -> Spec:
    spec = find_one_tower(num_classes)
    widths = {"conv1": 4, "conv2": 6, "conv3": 6, "conv4": 6, "conv5": 6, "fc6": 8, "fc7": 8, "fc8": num_classes}
    rows = [
        row.model_copy(update={"units" if isinstance(row, Dense) else "kernels": widths[row.name]})
        for row in spec.layers
    ]
    return spec.model_copy(update={"layers": tuple(rows)})


find_one_tower = dialects.DIALECTS["one-tower-2014"]


@pytest.mark.parametrize("usual", [False, True])
@pytest.mark.parametrize("out", ["m.pth", "m.safetensors"])
def test_a_state_dict_for_torchvision_holds_what_its_inputs_need_and_its_program_uses_it(
    picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, out: str, usual: bool
) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "one-tower-2014", thin)
    monkeypatch.setattr(importing, "CANDIDATES", ("one-tower-2014",))
    monkeypatch.setitem(sys.modules, "torchvision", _Torchvision("torchvision"))
    model = make_model(thin(4), image_px=256, divisor=TORCHVISION_DIVISOR if usual else 20.0)
    if usual:
        model.preprocessing.mean_image[:] = TORCHVISION_MEAN
    save_model(Path("model.safetensors"), model)
    result = CliRunner().invoke(cli, ["export", "model.safetensors", "--to", "torchvision", "--out", out])
    assert result.exit_code == 0, result.output
    assert ("do not expect torchvision's usual normalisation" in result.stderr) is not usual
    prediction = load("model.safetensors", precision="float32").predict([picture])[0]
    names = dict(zip(CLASSES, "0123", strict=True)) if usual else {name: name for name in CLASSES}
    expected = {names[name]: 100 * share for name, share in prediction.top()}
    assert lines_of(result.stdout, capsys) == pytest.approx(expected, abs=0.4)
    back = open_model(Path(out)).preprocessing
    assert np.allclose(back.mean_image, model.preprocessing.mean_image, atol=1e-4)
    assert back.divisor == pytest.approx(model.preprocessing.divisor)


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
        with torch.inference_mode():
            found = program.module()(torch.from_numpy(images_for(small, count)))
        torch.testing.assert_close(found, logits_for(small, count), rtol=1e-5, atol=1e-5)
    assert torch.equal(program.state_dict["mean_image"], torch.from_numpy(small.preprocessing.mean_image))


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
        return lambda images: logits_for(self._model, len(images)) + 1


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
    assert torch.equal(logits_for(back, 2), logits_for(model, 2))
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


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_printed_program_brings_a_picture_to_size_as_the_model_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framing: Framing
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (width, height) in enumerate(((91, 64), (63, 150), (40, 41))):
        smooth = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC).save("picture.jpg")
        names = {"np": np, "Image": Image, "ImageOps": ImageOps}
        exec(_open_picture(32, framing), names)
        difference = np.abs(open_image("picture.jpg", 32, framing=framing).astype(int) - names["image"])
        assert difference.mean() < 4 if framing == "square" else not difference.any()  # of a square, Pillow cuts parts
