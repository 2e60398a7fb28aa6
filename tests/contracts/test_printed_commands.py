"""Every command that the program prints is made by `alexnet.text.commands`: here all of these places are found in the source,
the program is brought to print from each of them, and what it printed is carried out."""

import ast
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import alexnet
from alexnet import demo
from alexnet.cli import cli
from alexnet.console.terminal import Terminal
from alexnet.data.prepare import run as prepare_run
from alexnet.data.scenes.motion import write_clips
from alexnet.data.store.reader import open_store
from alexnet.description.describe import describe
from alexnet.errors import AlexNetError, Interrupted
from alexnet.evaluation.classifier import load
from alexnet.evaluation.ensemble import Ensemble, save_ensemble
from alexnet.files.kinds import _KINDS, FileKind
from alexnet.interpretation.report import REPORT, _list_commands, _list_next
from alexnet.network.dialects import find_dialect
from alexnet.network.model_file import load_model, save_model, tensors_of
from alexnet.recipes.fields import Optimization
from alexnet.recipes.named import find_recipe, read_recipe
from alexnet.retrieval.codes import fitting
from alexnet.retrieval.codes.encoding import load_codes
from alexnet.retrieval.index import writer as index_writer
from alexnet.retrieval.index.changes import commit
from alexnet.retrieval.index.reader import open_index
from alexnet.runs import workflow
from alexnet.runs.folder import MODEL, read_environment
from alexnet.runs.train import train
from alexnet.text import commands
from alexnet.text.commands import COMMAND, FITTING_RECIPES, command, recall_command
from alexnet.training.checkpoint import save_checkpoint
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.progress import Progress
from alexnet.training.transfer import adapt_recipe, read_start
from conftest import Listener, write_pictures, write_store
from exchange.miniature import everything, make_model

PACKAGE = Path(alexnet.__file__).parent
MAKERS = {"command", "train_again", "start_training", "recall_command"}
CLASSES = ("ant", "bee", "cat", "dog")
SMALL = ["optimization.drop_epochs=[]", "optimization.schedule=constant", "optimization.total_epochs=2",
         "batches.size=8", "optimization.learning_rate=0.01"]  # fmt: skip


class Enough(Exception):  # noqa: N818 - it ends a training like an error, and is none
    """A training has begun, which is all that is asked of it."""


def places() -> set[tuple[str, int]]:
    """File and line of every call that makes a command."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if path.stem != "commands" and any(name.endswith((".commands", "description.page")) for name in modules):
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
            found |= {(str(path), node.lineno) for node in calls if node.func.id in MAKERS}  # type: ignore[attr-defined]
    return found


def call(*words: object) -> str:
    """Carry out a command; return what it printed, errors too."""
    result = CliRunner().invoke(cli, list(map(str, words)))
    if os.environ.get("SHOW"):
        print(words, result.exit_code, result.output[-300:], repr(result.exception)[:300])
    if result.exception and not isinstance(result.exception, SystemExit | AlexNetError | Enough):
        raise result.exception
    return result.output + (str(result.exception) if isinstance(result.exception, AlexNetError) else "")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something of every kind, in a folder whose name a shell would take apart."""
    root = tmp_path_factory.mktemp("commands") / "a world; ls"
    for split, count in (("train", 6), ("val", 2)):
        write_pictures(root / "photos" / split, per_class=count, classes=CLASSES, seed=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        call("prepare", "photos", "--out", "store", "--size", 32)
        patch.setattr(prepare_run.Run, "finish", interrupt)
        call("prepare", "photos", "--out", "half", "--size", 40, "--codec", "jpeg")
    store = open_store(root / "store")
    recipe = find_recipe("cifar-80sec", SMALL)
    common: dict[str, Any] = {"precision": "float32", "device": "cpu", "threads": 1, "seed": 3}
    train(store, recipe, root / "run", listener=Listener(), **common)
    shutil.copytree(root / "run", root / "again")
    shutil.copyfile(root / "run" / MODEL, root / "model.safetensors")
    stopping = Listener()
    stopping.on_batch = interrupt
    start = read_start(root / "run")
    tuned = adapt_recipe(find_recipe("fine-tune", ["batches.size=8"]), start, CLASSES, sixth_convolution=False)
    for name, chosen, more in (("begun", recipe, {}), ("tuned", tuned, {"start": start})):
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            train(store, chosen, root / name, listener=stopping, **common, **more)
    (root / "mine.yaml").write_text(recipe.to_yaml())
    save_ensemble(root / "ensemble.json", Ensemble([load(root / "run"), load(root / "again")]))
    rows = [f"{path},{path.parent.name},{path.parent.parent.name}" for path in sorted((root / "photos").rglob("*.png"))]
    (root / "TABLE.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    shutil.copyfile(root / "photos" / "val" / "ant" / "ant-0.png", root / "picture.jpg")
    write_clips(root / "clips", train=2, val=1, size=32, frames=4)
    shutil.copyfile(root / "clips" / "train" / "rises" / "00000.webp", root / "clip.mp4")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        call("prepare", "clips", "--every", 0.125, "--thin", 0, "--size", 32, "--out", "clipstore")
        call("train", "clipstore", "--temporal", "pooling", "--from", "run", "--out", "clips.safetensors")
        call("search", "index", "run", "photos", "--out", "index", "--precision", "float32")
        call("search", "codes", "index", "--bits", 16, "--method", "random")
        patch.setattr(index_writer, "commit", interrupt_last)
        call("search", "index", "run", "photos", "--out", "half index", "--dtype", "float16")
        call("reproduce", "views", "--store", "store", "--out", "reproduced", "--recipe", "mine.yaml", "--budget", 1e-9)
    return root


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def interrupt_last(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Let parts into an index, and no end."""
    if header["finished"]:
        interrupt()
    return commit(folder, header)


@pytest.fixture
def kept(world: Path, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Puts the world back as it was; also at the end."""
    shutil.copytree(world, tmp_path / "kept")
    yield lambda: put_back(tmp_path / "kept", world)
    put_back(tmp_path / "kept", world)


def put_back(kept: Path, world: Path) -> None:
    """Make the world as it was kept; what has not changed stays, as does the folder, in which somebody stands."""
    for path in sorted(world.rglob("*"), reverse=True):  # what is in a folder before the folder
        if not same_file(kept / path.relative_to(world), path):
            path.rmdir() if path.is_dir() else path.unlink()
    for was in sorted(kept.rglob("*")):
        path = world / was.relative_to(kept)
        if not path.exists():
            path.mkdir() if was.is_dir() else shutil.copy2(was, path)


def same_file(was: Path, path: Path) -> bool:
    """Whether both are folders, or files of one size and time: a copy has the time of what it was made from."""
    if not was.exists() or was.is_dir() or path.is_dir():
        return was.is_dir() and path.is_dir()
    before, after = was.stat(), path.stat()
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def begin_only(terminal: Any, store: Any, recipe: Any, out: Path, **options: Any) -> None:
    """Train until everything is checked and the first image would be read."""
    listener = Listener()
    begun = listener.notices.append

    def notice(sentence: str) -> None:
        begun(sentence)
        if sentence.startswith("Kernels"):
            raise Enough(listener.notices)

    listener.notice = notice  # type: ignore[method-assign]
    for name in ("report", "reject"):
        options.pop(name, None)
    train(store, recipe, out, listener=listener, **options)


@dataclass(frozen=True, slots=True)
class Printed:
    """A command that was printed."""

    place: tuple[str, int]
    """File and line that made it."""
    world: Path
    """How the world was then."""


@pytest.fixture
def printed(
    world: Path, kept: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, Printed]:
    """Every command that the program prints in the states below."""
    found: dict[str, Printed] = {}
    reached: set[tuple[str, int]] = set()
    after = tmp_path

    def join(words: list[str]) -> str:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename == commands.__file__:
            frame = frame.f_back
        place = (frame.f_code.co_filename, frame.f_lineno)
        reached.add(place)
        line = shlex.join(words)
        found.setdefault(line, Printed(place, after))
        return line

    monkeypatch.setattr(commands, "_join", join)
    monkeypatch.setattr(fitting, "LEAST_STEPS", 2)
    monkeypatch.setattr(fitting, "EPOCHS", 1)
    monkeypatch.chdir(world)
    for state in STATES:
        after = tmp_path / state.__name__
        state(world, monkeypatch)
        shutil.copytree(world, after)
        kept()
    near = {(file, line + shift) for file, line in reached for shift in range(-6, 1)}  # of a call that has many lines
    missed = sorted((Path(file).relative_to(PACKAGE).as_posix(), line) for file, line in places() - near)
    assert not missed, f"no state here brings the program to print the commands made at {missed}"
    return found


def show_pages(world: Path, patch: pytest.MonkeyPatch) -> None:
    """Of everything there is, what `alexnet info` says."""
    for name in ("store", "run", "begun", "tuned", "model.safetensors", "mine.yaml", "ensemble.json", "index", "half index",
                 "half", "half.partial", "clips.safetensors", "reproduced", "reproduced/views", "picture.jpg", "run/environment.json"):  # fmt: skip
        describe(str(world / name))
    for name in ("paper", "fine-tune", "small-data", "caffe", "one-tower-2014"):
        describe(name)


def show_a_folder_of_runs(world: Path, patch: pytest.MonkeyPatch) -> None:
    """The page of a folder that holds runs and stores, and no model of its own."""
    (world / "model.safetensors").unlink()
    describe(str(world))


def show_what_lacks_something(world: Path, patch: pytest.MonkeyPatch) -> None:
    """The pages of what was begun without a command line, or has lost its recipe."""
    (world / "half index" / COMMAND).unlink()
    describe(str(world / "half index"))
    (world / "again" / "report.html").write_text("")
    describe(str(world / "again"))
    (world / "run" / "recipe.yaml").unlink()
    describe(str(world / "run"))


def meet_mistakes(world: Path, patch: pytest.MonkeyPatch) -> None:
    """What people mistake for each other."""
    call("evaluate", "store", "run")
    call("evaluate", "run", "again")
    call("evaluate", "run", "store", "--average")
    call("evaluate", "run", "again", "photos/val", "--fit-weights", "train")
    call("evaluate", "run", "again", "store", "--fit-weights", "val")
    environment = world / "again" / "environment.json"
    environment.write_text(json.dumps({**json.loads(environment.read_text()), "store_fingerprint": "of a fold"}))
    call("train", "again", "--more-epochs", 2, "--out", "elsewhere")
    (world / "ensemble.json").write_text('{"kind": "alexnet ensemble"}')
    call("predict", "ensemble.json", "picture.jpg")
    (world / "empty").mkdir()
    call("predict", "empty", "picture.jpg")
    call("train", "photos", "--out", "elsewhere")
    call("train", "nothing", "--out", "elsewhere")
    call("train", "half", "--out", "elsewhere")
    call("train", "run", "--out", "elsewhere")
    with pytest.raises(AlexNetError):
        train(open_store("store"), find_recipe("mine.yaml"), Path("run"), listener=Listener(), device="cpu")
    call("train", "store", "--recipe", "mine.yaml", "--set", "batches.size=4", "--out", "begun")


def use_a_checkpoint(world: Path, patch: pytest.MonkeyPatch) -> None:
    """A run that was interrupted in its second epoch."""
    model = load_model(world / "run" / MODEL)
    optimizer = MomentumDescent(model.network, Optimization(), dtype=torch.float32)
    save_checkpoint(world / "begun", model, optimizer, Progress(epoch=1, batch=1))
    call("predict", "begun", "picture.jpg")
    call("calibrate", "begun", "store")


def calibrate_models(world: Path, patch: pytest.MonkeyPatch) -> None:
    """What is calibrated, what is not yet, and what cannot be."""
    write_store(world / "learned", {"train": (np.zeros((4, 32, 32, 3), np.uint8), range(4))}, CLASSES)
    call("predict", "run", "picture.jpg", "--calibrated")
    call("calibrate", "ensemble.json", "store", "--reject", 0.2)
    call("calibrate", "run", "store", "--reject", 0.2)
    call("calibrate", "run", "learned")
    call("train", "learned", "--recipe", "mine.yaml", "--out", "another", "--reject", 0.2)
    options: dict[str, Any] = {"device": "cpu", "precision": "float32"}
    workflow._calibrate(Terminal(), open_store(Path("store")), Path("again"), 0.2, [], options)
    with patch.context() as inner, pytest.raises(Interrupted):
        inner.setattr(workflow, "calibrate", interrupt)
        workflow._calibrate(Terminal(), open_store(Path("store")), Path("again"), 0.2, [], options)
    model = load_model(world / "run" / MODEL)
    tensors = tensors_of(model)
    del tensors["references"]
    save_model(world / "model.safetensors", model, tensors)
    call("predict", "model.safetensors", "picture.jpg")


def lose_the_store(world: Path, patch: pytest.MonkeyPatch) -> None:
    """A run whose store is not there."""
    (world / "store").rename(world / "elsewhere")
    call("report", "run")
    call("train", "run", "--more-epochs", 2, "--out", "elsewhere yet")


def search_collections(world: Path, patch: pytest.MonkeyPatch) -> None:
    """Indexes that are finished, unfinished, of other images, and none."""
    call("search", "index", "run", "photos", "--out", "index", "--precision", "float32")
    call("search", "index", "run", "picture.jpg", "--out", "index", "--precision", "float32")
    call("search", "index", "run", "store", "photos", "--out", "other")
    call("search", "codes", "index", "--bits", 16, "--method", "random")
    call("search", "query", "half index", "picture.jpg")
    call("search", "index", "run", "photos", "--out", "half index", "--dtype", "float32")
    call("search", "query", "photos", "picture.jpg")
    call("search", "query", "index", "picture.jpg", "--bits", 32)
    call("search", "compare", "index", "--bits", 256)
    call("search", "add", "half index", "photos")
    call("search", "remove", "index", "elsewhere")
    call("search", "index", "run", "picture.jpg", "--out", "alone")
    call("search", "duplicates", "alone")
    call("search", "export", "index", "--to", "faiss", "--out", "images.faiss")
    save_model(world / "model.safetensors", make_model(everything()))
    call("search", "add", "index", "photos", "--model", "model.safetensors")


def search_what_has_changed(world: Path, patch: pytest.MonkeyPatch) -> None:
    """An index of which an image is gone, and codes that are damaged."""
    (world / "photos" / "val" / "ant" / "ant-0.png").unlink()
    call("search", "info", "index", "--check")
    call("search", "query", "index", "picture.jpg")
    call("search", "compare", "index", "--bits", 16, "--pixels")
    with patch.context() as inner, pytest.raises(AlexNetError):
        inner.setattr("alexnet.retrieval.codes.encoding.read_tensors", lambda path: {})
        load_codes(open_index("index"), 16)


def do_work(world: Path, patch: pytest.MonkeyPatch) -> None:
    """What is said after the work."""
    call("prepare", "photos", "--out", "another", "--size", 32)
    with patch.context() as inner:
        inner.setattr(workflow, "train_and_report", lambda *arguments, **options: None)
        call("train", "store", "--recipe", "mine.yaml", "--out", "run")
        inner.setattr("alexnet.benchmark.suite.run_benchmark", lambda what, **options: [])
        call("bench", "step", "--record", "record", "--images", "photos", "--threads", 1)
    call("export", "run", "--to", "alexnet", "--out", "copy.safetensors")
    call("evaluate", "run", "store", "--html", "page.html")


def learn_from_clips(world: Path, patch: pytest.MonkeyPatch) -> None:
    """A model of clips, from a store of clips and from one that holds none."""
    call("train", "store", "--temporal", "pooling", "--from", "run", "--out", "other.safetensors")
    call("train", "clipstore", "--temporal", "convolution", "--from", "run", "--out", "other.safetensors")


def doubt_labels(world: Path, patch: pytest.MonkeyPatch) -> None:
    """Cross-validation, the labels that it doubts, and a run, which doubts none."""
    (world / "corrections.csv").write_text("path,choice,class\ntrain/ant/ant-0.png,change,bee\n")
    call("train", "store", "--recipe", "mine.yaml", "--epochs", 1, "--folds", 2, "--out", "folds", "--threads", 1)
    call("evaluate", "folds", "store", "--suspects", "suspects.csv", "--html", "suspects.html")
    call("evaluate", "run", "store", "--suspects", "suspects.csv")


def read_reports(world: Path, patch: pytest.MonkeyPatch) -> None:
    """What the reports of runs call "the same again", and what comes next."""
    _list_next(world / "run", open_store(world / "store"))
    for name in ("run", "tuned"):
        _list_commands(world / name, open_store(world / "store"), "val", "mine", read_environment(world / name))


def look_at_the_demo(world: Path, patch: pytest.MonkeyPatch) -> None:
    """The commands that the demo names."""

    def write_run(terminal: Any, store: Any, recipe: Any, out: Path, **options: Any) -> None:
        out.mkdir()
        save_model(out / MODEL, make_model(everything()))
        (out / REPORT).write_text("")

    with patch.context() as inner:
        inner.setattr(demo, "PLANS", (demo.Plan(1, 1, 1, (), "90 %"),))
        inner.setattr(demo, "_measure_rate", lambda batch: 50.0)
        inner.setattr(demo, "train_and_report", write_run)
        call("demo", "--out", "shown")


STATES = (show_pages, show_a_folder_of_runs, show_what_lacks_something, meet_mistakes, use_a_checkpoint, calibrate_models, lose_the_store, search_collections,
          search_what_has_changed, do_work, learn_from_clips, doubt_labels, read_reports, look_at_the_demo)  # fmt: skip
PARSED = {"bench": "takes minutes", "serve": "goes on until it is stopped"}
"""Verbs whose commands are only parsed, and why."""


def fill(words: list[str], world: Path, large_store: Path, new: Path) -> list[str]:
    """Put real things in the places of words in capitals; behind --out stands what is not there yet."""
    known = {"PHOTOS": "photos", "IMAGES": "photos", "MODEL": "run", "RUN": "run", "A": "run", "B": "again",
             "INDEX": "index", "TABLE.csv": "TABLE.csv", "picture.jpg": "picture.jpg",
             "CLIPS": "clips", "CLIPSTORE": "clipstore", "clip.mp4": "clip.mp4"}  # fmt: skip
    filled = []
    for before, word in zip(["", *words], words, strict=False):
        if before == "--out" and (
            word in ("RUN", "STORE", "OTHER", "INDEX", "OUT", "FOLDS") or word == "model.safetensors"
        ):
            filled.append(str(new / word))
        elif word == "STORE":
            own = next(path for path in (world / "store", world / "elsewhere") if path.exists())
            filled.append(str(large_store if words[0] == "train" else own))
        else:
            filled.append(str(world / known[word]) if word in known else word)
    return filled


def test_every_printed_command_works(
    printed: dict[str, Printed], world: Path, small_store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "train_and_report", begin_only)
    monkeypatch.setattr(demo, "train_and_report", begin_only)
    monkeypatch.setattr("alexnet.interpretation.report.report_run", lambda run, *more, **options: (run, []))
    failures = {}
    for number, (line, known) in enumerate(list(printed.items())):
        put_back(known.world, world)
        new = tmp_path / f"new {number}"
        new.mkdir()
        verb, *words = fill(shlex.split(line)[1:], world, small_store_path, new)
        if verb == "evaluate" and words[0].endswith("-again"):  # it stands below the training that makes it
            shutil.copytree(world / "run", words[0])
        if verb == "demo" or words[-1:] == ["shown/run"]:  # it is named before it is made
            shutil.rmtree("shown/run")
        if verb in PARSED:
            parse([verb, *words])
            continue
        result = CliRunner().invoke(cli, [verb, *words])
        if result.exit_code and not isinstance(result.exception, Enough):
            failures[line] = (known.place, result.exit_code, result.output[-300:], repr(result.exception))
    assert not failures, "\n".join(f"{line}\n    {why}" for line, why in failures.items())


@pytest.mark.parametrize("kind", [kind for _, kind in _KINDS], ids=lambda kind: kind.name)
def test_what_is_advised_for_a_file_is_a_command(kind: FileKind) -> None:
    path = Path("-a file; ls")
    sentence, colon, line = kind.advise(path).partition(": alexnet ")
    assert "{" not in sentence + line
    if colon:
        assert any(Path(word) == path for word in shlex.split(line))
        parse(shlex.split(line))


def parse(words: list[str]) -> None:
    """Read a command line as the program does, and do nothing.

    Raises:
        click.UsageError: it is none.
    """
    group: click.Command = cli
    context = None
    while isinstance(group, click.Group):
        context = click.Context(group, parent=context, info_name=words[0])
        name, *words = words
        assert name in group.commands, name
        group = group.commands[name]
    group.make_context(name, words, parent=context)


def test_what_continues_a_training_continues_it_and_what_repeats_it_repeats_it(
    world: Path, kept: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "train_and_report", begin_only)
    for name in ("begun", "tuned"):
        ((_, line),) = [fact for fact in describe(str(world / name)).parts[0].rows if fact[0] == "next"]  # type: ignore[union-attr]
        result = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert isinstance(result.exception, Enough), (line, result.output, result.exception)
        assert any("saved anything" in notice or "Continuing" in notice for notice in result.exception.args[0])
        store = open_store(world / "store")
        line, *_ = _list_commands(world / name, store, "val", "mine", read_environment(world / name))
        result = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert isinstance(result.exception, Enough), (line, result.output, result.exception)
        again = world / f"{name}-again"
        assert read_recipe(again / "recipe.yaml") == read_recipe(world / name / "recipe.yaml")
        before, after = read_environment(world / name), read_environment(again)
        assert before == after


def test_a_training_of_several_processes_is_repeated_by_as_many() -> None:
    environment = {
        "processes": 2,
        "mesh": "data=2,tower=1",
        "device": "cpu",
        "seed": 1,
        "precision": "float32",
        "threads": 1,
    }
    line = commands.train_again(environment, recipe="paper", store="S", out="R")
    assert line == (
        "alexnet train S --recipe paper --seed 1 --devices cpu,cpu --mesh data=2,tower=1 --precision float32 "
        "--threads 1 --out R"
    )
    line = commands.train_again({**environment, "device": "cuda:0"}, recipe="paper", store="S", out="R")
    assert "--devices cuda:0,cuda:1 " in line
    parse(shlex.split(line)[1:])


def test_a_recipe_is_proposed_whose_network_reads_the_images() -> None:
    for least, name in FITTING_RECIPES:
        spec = find_dialect(find_recipe(name or "modern").network.dialect, 10)
        assert spec.input_px == least
    assert commands.start_training("S", 23) is None


def test_what_a_stranger_left_in_a_folder_is_printed_as_one_command_or_not_at_all(tmp_path: Path) -> None:
    for written, read in (
        ("alexnet prepare photos --out store\n", "alexnet prepare photos --out store"),
        ("alexnet prepare x; rm -rf ~\n", "alexnet prepare 'x;' rm -rf '~'"),
        ("alexnet prepare $(rm x)\n", "alexnet prepare '$(rm' 'x)'"),
        ("rm -rf x\n", None),
        ("alexnet info a\nrm b\n", None),
        ("alexnet info '\n", None),
        ("alexnet info \x1b[2J\n", None),
        ("", None),
    ):
        (tmp_path / COMMAND).write_text(written)
        assert recall_command(tmp_path) == read
    assert recall_command(tmp_path / "nowhere") is None
    assert command("info", Path("-x")) == f"alexnet info .{os.sep}-x"


def literals() -> Iterator[tuple[str, int, str, bool]]:
    """Every text in the source that names a verb: file, line, text, and whether something is put into it."""
    verbs = "|".join(cli.commands)
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | documents:
                text = node.value
            else:
                continue
            for found in re.finditer(rf"(?:[:;,] |  |[`(])alexnet (?:{verbs})\b[^.;:]*", text):  # elsewhere it is prose
                yield path.relative_to(PACKAGE).as_posix(), node.lineno, found[0], "\0" in found[0]


def test_no_command_is_put_together_by_hand() -> None:
    """A path in one would not be quoted, and no test would run it."""
    by_hand = [(file, line) for file, line, _, is_filled in literals() if is_filled]
    assert not by_hand, f"make these with alexnet.text.commands.command: {by_hand}"


def examples() -> list[str]:
    """Commands in the help of every verb, without what is said behind them."""
    found = []

    def look(group: click.Group) -> None:
        for each in [group, *group.commands.values()]:
            found.extend(re.findall(r"^\s+(alexnet .*?)(?:\s{2,}.*| \|.*)?$", each.help or "", re.MULTILINE))
            if isinstance(each, click.Group) and each is not group:
                look(each)

    look(cli)
    return found


@pytest.mark.parametrize("line", examples())
def test_every_example_of_the_help_is_a_command(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parse(shlex.split(line)[1:])
