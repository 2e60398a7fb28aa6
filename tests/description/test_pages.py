"""The pages of `alexnet info`: what they say, that they fit a screen, and what is suggested where nothing is meant."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.console.terminal import Terminal
from alexnet.data.prepare.prepare import prepare
from alexnet.description.describe import describe
from alexnet.description.page import Description, Facts
from alexnet.errors import ConfigError, StoreError, WeightsError
from alexnet.evaluation.evaluate import Evaluation, measure_errors
from alexnet.evaluation.prediction_files import write_predictions
from alexnet.evaluation.record import digest_weights, read_errors, write_errors
from alexnet.files.writing import lock_file, remember_place
from alexnet.network.alexnet import build
from alexnet.network.dialects import DIALECTS
from alexnet.network.model_file import Model, save_model
from alexnet.recipes.named import RECIPES, Optimization, find_recipe
from alexnet.reproduction.experiments import EXPERIMENTS
from alexnet.reproduction.results import Outcome, write_results
from alexnet.runs.folder import MODEL
from alexnet.serving.corrections import Corrections
from alexnet.training.checkpoint import save_checkpoint
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress
from conftest import write_pictures

EPOCH: dict[str, Any] = {
    "epoch": 1,
    "learning_rate": 0.001,
    "train_loss": 2.2,
    "train_top1_error": 0.8,
    "images_per_second": 94.0,
    "waiting_share": 0.0,
    "seconds": 50.0,
    "val_loss": 2.1,
    "val_top1_error": 0.75,
    "val_top2_error": 0.5,
    "seconds_with_validation": 60.0,
}


def facts_of(description: Description) -> dict[str, str]:
    """Name -> what is said of it; what goes on with a name is joined to it."""
    found: dict[str, str] = {}
    for part in description.parts:
        last = ""
        for name, what in part.rows if isinstance(part, Facts) else ():
            last = name or last
            found[last] = f"{found[last]} | {what}" if last in found else what
    return found


def on_screen(description: Description) -> list[str]:
    """The lines of a page on a terminal of 80 columns."""
    terminal = Terminal()
    terminal.output = Console(
        file=io.StringIO(), force_terminal=True, width=80, color_system=None, highlight=False, soft_wrap=True
    )
    for part in description.parts:
        terminal.show(part)
        terminal.print("")
    assert isinstance(terminal.output.file, io.StringIO)
    return terminal.output.file.getvalue().rstrip().splitlines()


def make_model() -> Model:
    network = build("cifar-80sec", 3, seed=0)
    return Model(
        network, ("a", "b", "c"), ("ant", "bee", "cat"), Preprocessing(np.zeros((32, 32, 3), np.float32), 1.0), {}
    )


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run folder with a recipe and an environment, and nothing saved."""
    run = tmp_path / "my run"
    run.mkdir()
    recipe = find_recipe("cifar-80sec", ["optimization.drop_epochs=[3]", "optimization.total_epochs=5"])
    (run / "recipe.yaml").write_text(recipe.to_yaml())
    environment = {"store": str(tmp_path / "gone"), "seed": 7, "precision": "float32", "device": "cpu", "threads": 2,
                   "processor": "a processor", "alexnet": "0.1.0", "torch": "2.9"}  # fmt: skip
    (run / "environment.json").write_text(json.dumps(environment))
    return run


def test_a_run_that_was_only_begun_says_so(begun: Path) -> None:
    facts = facts_of(describe(str(begun)))
    assert facts == {
        "what": "an unfinished run; nothing is saved yet",
        "recipe": "cifar-80sec, seed 7",
        "network": "cifar-80sec",
        "store": f"{begun.parent / 'gone'} (not there now)",
        "computed in": "float32 on cpu, 2 threads, a processor",
        "versions": "alexnet 0.1.0, torch 2.9",
        "trained for": "less than an epoch",
        "next": f"alexnet train STORE --recipe '{begun}/recipe.yaml' --seed 7 --device cpu --precision float32 --threads 2 "
        f"--out '{begun}'",
    }


def test_pages_that_need_headers_only_are_made_without_pytorch(begun: Path, small_store_path: Path) -> None:
    model = make_model()
    optimizer = MomentumDescent(model.network, Optimization(), dtype=model.network.layers["conv1"].weight.dtype)
    save_checkpoint(begun, model, optimizer, Progress(epoch=1, batch=17))
    finished = begun.with_name("finished")
    shutil.copytree(begun, finished)
    save_model(finished / MODEL, model)
    paths = [str(begun), str(finished), str(small_store_path), str(begun.parent), "paper", "small-data"]
    code = (
        "import json, sys; from alexnet.description.describe import describe; "
        "kinds = [describe(each).values.get('kind') for each in json.loads(sys.argv[1])]; "
        "print(json.dumps([kinds, sorted({'torch', 'numba', 'matplotlib'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(paths)], capture_output=True, text=True, check=True)
    kinds, heavy = json.loads(done.stdout)
    assert kinds[:4] == ["run", "run", "store", "folder"]
    assert heavy == []


def test_an_unfinished_run_tells_where_it_stands_and_how_to_go_on(begun: Path) -> None:
    (begun.parent / "gone").mkdir()
    (begun / "metrics.jsonl").write_text(json.dumps(EPOCH) + "\n")
    model = make_model()
    optimizer = MomentumDescent(model.network, Optimization(), dtype=model.network.layers["conv1"].weight.dtype)
    save_checkpoint(begun, model, optimizer, Progress(epoch=1, batch=17, history=[EPOCH]))
    facts = facts_of(describe(str(begun)))
    assert facts["what"] == "an unfinished run; saved in epoch 2 of 5 after 17 batches"
    assert facts["network"].startswith("cifar-80sec: 1 tower, ")
    assert facts["classes"] == "3: ant, bee, cat"
    assert facts["trained for"] == "1 min 00 s, 94 images/s; 4 min 00 s left"
    assert facts["epoch 1"] == (
        "training: loss 2.2000, top-1 error 80.00 % (with dropout) | validation: loss 2.1000, top-1 error 75.00 %, top-2 "
        "50.00 %"
    )
    assert facts["next"] == (
        f"alexnet train {begun.parent}/gone --recipe '{begun}/recipe.yaml' --seed 7 --device cpu "
        f"--precision float32 --threads 2 --out '{begun}'"
    )
    with lock_file(begun / ".lock") as lock:  # type: ignore[union-attr]
        assert lock is not None
        facts = facts_of(describe(str(begun)))
    assert facts["what"] == "a run that is being trained now; saved in epoch 2 of 5 after 17 batches"
    assert "next" not in facts
    assert len(on_screen(describe(str(begun)))) <= 24


def test_a_finished_run_tells_its_errors_and_what_comes_next(begun: Path) -> None:
    later = {**EPOCH, "epoch": 2, "val_top1_error": 0.8, "ended": "no improvement"}
    (begun / "metrics.jsonl").write_text(json.dumps(EPOCH) + "\n" + json.dumps(later) + "\n")
    (begun / "report.html").write_text("")
    save_model(begun / MODEL, make_model())
    assert "ten views" not in facts_of(describe(str(begun)))
    shared: dict[str, Any] = {"images": 1500, "k": 2, "top1_interval": (0.216, 0.26), "topk_interval": (0.1, 0.2),
                              "class_names": ("a",), "class_images": (1500,), "class_errors": (360.0,), "class_f1": (0.7,),
                              "cross_entropy": 1.0}  # fmt: skip
    one = Evaluation(num_views=1, top1_error=0.245, topk_error=0.16, **shared)
    ten = Evaluation(num_views=10, top1_error=0.237, topk_error=0.15, **shared)
    write_errors(begun, [one, ten], weights="of the half-trained network", split="val", store_fingerprint="f")
    facts = facts_of(describe(str(begun)))
    assert "ten views" not in facts
    assert facts["report"] == f"{begun}/report.html (of other weights than these; anew: alexnet report '{begun}')"
    write_errors(begun, [one, ten], weights=digest_weights(begun / MODEL), split="val", store_fingerprint="f")
    page = describe(str(begun))
    facts = facts_of(page)
    assert facts["what"] == "a finished run of 2 epochs of at most 5; ended early: no improvement"
    assert facts["ten views"] == "top-1 error 23.70 % (95 %: 21.60 to 26.00), top-2 15.00 %, on 1,500 images of val"
    assert facts["epoch 2"].endswith("top-1 error 80.00 %, top-2 50.00 %; lowest: 75.00 % in epoch 1")
    assert facts["report"] == f"{begun}/report.html"
    assert facts["next"] == f"alexnet evaluate '{begun}' STORE | alexnet predict '{begun}' picture.jpg"
    assert page.values["errors"]["tests"][1]["top1_error"] == 0.237
    assert len(on_screen(page)) <= 24
    content = bytearray((begun / MODEL).read_bytes())
    content[-1] ^= 1
    (begun / MODEL).write_bytes(content)  # not the weights of another network, but damage
    with pytest.raises(WeightsError, match="is damaged"):
        describe(str(begun))


def test_store_and_start_are_named_where_they_are_now(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORE", "PRE"):
        (begun.parent / name).mkdir()
    environment = json.loads((begun / "environment.json").read_text())
    environment |= remember_place("store", begun.parent / "STORE", begun)
    environment |= remember_place("start", begun.parent / "PRE", begun)
    (begun / "environment.json").write_text(json.dumps(environment))
    moved = begun.parent / "moved"
    moved.mkdir()
    for name in ("STORE", "PRE", begun.name):
        (begun.parent / name).rename(moved / name)
    monkeypatch.chdir(moved)  # told as people type it
    facts = facts_of(describe(begun.name))
    assert (facts["store"], facts["started from"]) == ("STORE", "PRE")
    assert "alexnet train STORE" in facts["next"]
    assert " --from PRE " in facts["next"]
    (moved / "STORE").rmdir()
    assert facts_of(describe(begun.name))["store"] == f"{begun.parent}/STORE (not there now)"


def test_a_run_whose_recipe_is_missing_tells_the_rest(begun: Path) -> None:
    missing = f"{begun}/recipe.yaml is missing, seed 7"
    (begun / "recipe.yaml").unlink()
    page = describe(str(begun))
    facts = facts_of(page)
    assert facts["what"] == "an unfinished run; nothing is saved yet"
    assert facts["recipe"] == missing
    assert facts["next"] == f"put {begun}/recipe.yaml back; without it the training cannot go on"
    assert page.values["recipe"] is None
    (begun / "metrics.jsonl").write_text(json.dumps(EPOCH) + "\n")
    model = make_model()
    optimizer = MomentumDescent(model.network, Optimization(), dtype=model.network.layers["conv1"].weight.dtype)
    save_checkpoint(begun, model, optimizer, Progress(epoch=1, batch=17, history=[EPOCH]))
    facts = facts_of(describe(str(begun)))
    assert facts["what"] == "an unfinished run; saved in epoch 2 after 17 batches"
    assert facts["trained for"] == "1 min 00 s, 94 images/s"
    recorded = replace(model, provenance={"recipe": find_recipe("cifar-80sec").model_dump(mode="json")})
    save_model(begun / MODEL, recorded)
    facts = facts_of(describe(str(begun)))
    assert facts["what"] == "a finished run of 1 epoch"
    assert facts["recipe"] == f"{missing} | its values are kept in the model: alexnet info '{begun / MODEL}' --json"
    assert facts["network"].startswith("cifar-80sec: 1 tower, ")
    assert "top-1 error 75.00 %" in facts["epoch 1"]
    assert facts["next"].startswith(f"alexnet evaluate '{begun}' STORE")
    assert describe(str(begun / MODEL)).values["provenance"]["recipe"]["name"] == "cifar-80sec"


def test_measured_errors_that_cannot_be_read_are_as_none(tmp_path: Path) -> None:
    assert read_errors(tmp_path, "w") is None
    whole = {"format": 2, "weights": "w", "tests": [1], "split": "val"}
    for text in ("{", "[]", "{}", *(json.dumps({**whole, name: 3}) for name in whole)):
        (tmp_path / "errors.json").write_text(text)
        assert read_errors(tmp_path, "w") is None
    (tmp_path / "errors.json").write_text(json.dumps(whole))
    assert read_errors(tmp_path, "w") == whole


def test_a_store_is_told_in_one_screen_whether_it_has_few_classes_or_many(tmp_path: Path) -> None:
    names = tuple(f"c{number:02d}" for number in range(14))
    write_pictures(tmp_path / "photos", per_class=4, classes=names)
    write_pictures(tmp_path / "photos" / "c03" / "deeper", per_class=1, classes=("more",))
    (tmp_path / "photos" / "c05" / "bad.jpg").write_bytes(b"no image")
    prepare(tmp_path / "photos", tmp_path / "store", size=32, val_fraction=0.25)
    page = describe(str(tmp_path / "store"))
    facts = facts_of(page)
    assert facts["what"] == "a store: 43 images for training, 14 images for validation"
    assert facts["source"] == "photos (folders); 1 image left out; 25 % of each class set aside, seed 0"
    assert facts["classes"] == "14: c00, c01, c02, c03, c04, c05, c06, c07 and 6 more"
    assert facts["per class"] == "train: 3 (c00) to 4 (c03); val: 1 each"
    assert facts["checked"] == "that all files have their sizes"
    assert facts["next"] == f"alexnet train {tmp_path}/store --recipe cifar-18pct --out RUN"
    assert len(on_screen(page)) <= 24
    verified = describe(str(tmp_path / "store"), verify=True, every=True)
    assert facts_of(verified)["checked"] == "that every byte is the one of the fingerprint"
    assert sum(line.startswith("c") and line[1:3].isdigit() for line in on_screen(verified)) == 14


def test_a_fingerprint_stands_on_one_line(small_store_path: Path) -> None:
    fingerprint = describe(str(small_store_path)).values["fingerprint"]
    assert any(fingerprint in line for line in on_screen(describe(str(small_store_path))))


@pytest.mark.parametrize("name", sorted({*RECIPES, *DIALECTS}))
def test_the_page_of_a_name_fits_a_screen_and_shows_no_python(name: str) -> None:
    page = describe(name)
    lines = on_screen(page)
    both = name in RECIPES and name in DIALECTS
    assert len(lines) <= (36 if both else 24), "\n".join(lines)
    assert max(len(line) for line in lines if " alexnet " not in line) <= 80  # a command stays whole, to be pasted
    assert not any(word in line for line in lines for word in ("None", "[]", "{}", "True", "False"))


def test_every_field_is_explained_on_demand() -> None:
    facts = facts_of(describe("small-data", every=True))
    fields = [f"{group}.{name}" for group, values in find_recipe("paper").model_dump().items()
              if isinstance(values, dict) for name in values]  # fmt: skip
    assert [name for name in facts if "." in name] == fields
    assert facts["batches.divisor"].startswith("60. Inputs are divided by this after the mean is subtracted")
    assert facts["optimization.drop_epochs"].startswith("empty. Epochs, counted from 0")


def test_a_recipe_names_what_sets_it_apart() -> None:
    facts = facts_of(describe("small-data"))
    assert facts["batches.size"] == "64, not 128: images per update"
    assert facts["optimization.schedule"] == "cosine, not plateau: fall smoothly to zero over `total_epochs`"
    assert "optimization.momentum" not in facts


def test_a_recipe_in_a_file_is_described_like_one_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(find_recipe("paper", ["batches.size=32"]).to_yaml())
    page = describe(str(tmp_path / "mine.yaml"))
    assert page.values["batches"]["size"] == 32
    assert facts_of(page)["batches.size"] == "32, not 128: images per update"


def test_files_of_other_kinds_are_named_with_what_to_do(tmp_path: Path, begun: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(96))
    page = describe(str(tmp_path / "a.jpg"))
    assert page.values == {"kind": "image", "path": str(tmp_path / "a.jpg")}
    assert facts_of(page) == {
        "what": "an image, 100 bytes",
        "next": f"To see what a model makes of it: alexnet predict RUN {tmp_path}/a.jpg",
    }
    assert facts_of(describe(str(begun / "environment.json"))) == {
        "what": f"a file of the run {begun}",
        "next": f"alexnet info '{begun}'",
    }
    (tmp_path / "notes.txt").write_text("some words")
    with pytest.raises(WeightsError, match=r"notes.txt: is of no kind that alexnet knows\. It tells of stores, runs"):
        describe(str(tmp_path / "notes.txt"))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(WeightsError, match="is damaged or not a safetensors file"):
        describe(str(tmp_path / "cut.safetensors"))
    save_model(tmp_path / "m.safetensors", make_model())
    whole = (tmp_path / "m.safetensors").read_bytes()
    for data in (
        whole[:-1],
        whole[:10],
        whole + b"x",
        whole[:300] + b"?" + whole[301:],
        whole[:-9] + b"?" + whole[-8:],
    ):
        (tmp_path / "m.safetensors").write_bytes(data)
        result = CliRunner().invoke(cli, ["info", str(tmp_path / "m.safetensors")])
        assert result.exit_code == 1
        assert "damaged" in str(result.exception), data
    (tmp_path / "none").touch()
    with pytest.raises(WeightsError) as problem:
        describe(str(tmp_path / "none"))
    assert str(problem.value) == f"{tmp_path / 'none'}: is an empty file. Obtain it again."


def test_the_tables_that_alexnet_writes_are_told_apart(tmp_path: Path) -> None:
    result = measure_errors(torch.tensor([[0.75, 0.25]]), np.array([1]), class_names=("a", "b"), num_views=1)
    write_predictions(tmp_path / "predictions.csv", result, ["x.jpg"])
    assert facts_of(describe(str(tmp_path / "predictions.csv"))) == {
        "what": "the predictions of a test, a line an image, 85 bytes",
        "next": "Beside its class stand the classes that the model held likely, best first. Any program for tables reads it.",
    }
    corrections = Corrections(tmp_path / "corrections.csv")
    corrections.add(np.zeros((4, 4, 3), np.uint8), "a", predicted="b", probability=0.5, name="x.jpg")
    assert describe(str(tmp_path / "corrections.csv")).values["kind"] == "corrections"
    write_results(tmp_path, EXPERIMENTS["dropout"], [Outcome("dropout", (), 0, (), None, None, None, None)], {})
    assert describe(str(tmp_path / "results.csv")).values["kind"] == "results"


def test_a_folder_above_runs_and_stores_names_them(begun: Path, small_store_path: Path) -> None:
    assert facts_of(describe(str(begun.parent))) == {
        "what": "a folder that holds 1 run or store",
        "a run": f"alexnet info '{begun}'",
    }
    (begun.parent / "empty").mkdir()
    with pytest.raises(StoreError, match="is not a store"):
        describe(str(begun.parent / "empty"))


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [("STOR", "STORE"), ("store", "STORE"), ("STOR/train", "STORE/train"), ("STORE/trian", "STORE/train"),
     ("STOR/nothing", "STORE")],
)  # fmt: skip
def test_a_mistyped_path_is_answered_with_the_nearest(tmp_path: Path, mistyped: str, meant: str) -> None:
    (tmp_path / "STORE" / "train").mkdir(parents=True)
    with pytest.raises(ConfigError) as problem:
        describe(str(tmp_path / mistyped))
    assert str(problem.value).endswith(f" has this name. Did you mean {tmp_path / meant}?")


def test_a_mistyped_name_is_answered_with_the_nearest_and_nonsense_with_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"Did you mean small-data\?"):
        describe("smal-data")
    (tmp_path / "RUN").mkdir()
    with pytest.raises(ConfigError, match=r"Did you mean RUN\?"):
        describe("RNU")
    with pytest.raises(ConfigError, match=r"has this name\.$"):
        describe("qqqqqq")
