"""The command line as a user meets it: exit codes, whole messages, JSON."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alexnet import cli as cli_module
from alexnet.cli import cli, main
from alexnet.distribution.world import SINGLE_PROCESS
from alexnet.errors import ConfigError
from alexnet.network.dialects import DIALECTS
from alexnet.recipes.named import RECIPES, find_recipe
from conftest import write_pictures


def run(*arguments: object, ok: int = 0) -> subprocess.CompletedProcess[str]:
    """Call the program in this process: another would import PyTorch for longer than most commands take."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        patch.setattr("signal.signal", lambda *arguments: None)
        patch.setattr(cli_module, "collect_seldom", lambda: None)
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    assert code == ok, err.getvalue()
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def trained(small_store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the small store, with a small network, by the command line in a process of its own."""
    out = tmp_path_factory.mktemp("cli") / "run"
    words = ["train", str(small_store_path), "--recipe", "small-data", "--out", str(out)]
    for value in ("optimization.total_epochs=1", "batches.size=8", "network.dialect=cifar-80sec"):
        words += ["--set", value]
    done = subprocess.run([sys.executable, "-m", "alexnet", *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Computing in" in done.stderr
    assert "The rate rises from 0 during all of this training (warmup_epochs 1, total_epochs 1)" in done.stderr
    assert "A loss near ln 3 = 1.099 is chance" in done.stderr
    groups, header, line = [text for text in done.stdout.splitlines() if text.strip()][:3]
    assert header.split() == ["epoch", "loss", "top-1", "loss", "top-1", "top-2", "rate", "images/s", "about"]
    assert max(len(groups), len(header), len(line)) < 80
    assert line.split()[0] == "1/1"
    return out


def test_on_a_terminal_rows_of_training_stand_whole_above_the_bar(small_store_path: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    main, side = pty.openpty()
    options = ["--recipe", "cifar-80sec", "--set", "optimization.drop_epochs=[]", "--set", "optimization.schedule=constant",
               "--set", "optimization.total_epochs=3", "--threads", "1", "--precision", "float32", "--no-report"]  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "alexnet",
        "train",
        str(small_store_path),
        *options,
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(command, stdout=side, stderr=side, env={**os.environ, "COLUMNS": "80", "TERM": "xterm"})
    os.close(side)
    seen = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # what Linux says when the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(main)
    assert process.wait(timeout=60) == 0, seen.decode()
    visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()).replace("\r", "\n").splitlines()
    rows = [line for line in visible if re.fullmatch(r" +\d/3 +\d\.\d{4} .* \d+ s *", line)]
    assert [row.split()[0] for row in rows] == ["1/3", "2/3", "3/3"]
    assert any(line.startswith("  epoch    loss   top-1") for line in visible)


def test_help_lists_the_verbs_in_the_order_of_the_data() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    verbs = [line.split()[0] for line in text.split("Commands:")[1].splitlines() if re.match(r"  \w", line)]
    order = (
        "prepare train calibrate evaluate predict serve features search draw report reproduce export info bench demo"
    )
    assert verbs == order.split()


def every_command(group: click.Group = cli) -> dict[str, click.Command]:
    """Verbs, and what is behind those that are groups: "draw filters"."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": each for inner, each in every_command(command).items()}
    return found


@pytest.mark.parametrize("verb", list(every_command()))
def test_every_verb_explains_itself_and_every_option(verb: str) -> None:
    command = every_command()[verb]
    assert len(command.help or "") > 50
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_an_unknown_verb_names_the_nearest_and_exits_2() -> None:
    assert "No such command 'tran'" in (error := run("tran", ok=2).stderr)
    assert "Did you mean 'train'?" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "RUN", "STORE", "--predictions"],
        ["features", "RUN", "a.png", "--out"],
        ["export", "RUN", "--to", "onnx", "--out"],
    ],
)
def test_a_file_to_write_needs_its_folder_before_the_work_begins(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path / "none" / "f.npz")])
    assert result.exit_code == 2
    assert (
        f"{tmp_path / 'none' / 'f.npz'}: there is no folder {tmp_path / 'none'}. Create it, or choose another place."
        in (" ".join(result.output.split()))
    )
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path)])
    assert f"{tmp_path} is a folder. Name a file." in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("environment", "told_elsewhere"),
    [
        ({}, False),
        ({"RANK": "1"}, False),
        ({"WORLD_SIZE": "2"}, False),
        ({"RANK": "1", "WORLD_SIZE": "1"}, False),
        ({"RANK": "first", "WORLD_SIZE": "2"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True),
    ],
    ids=str,
)
def test_an_error_is_silent_only_in_a_follower_of_several_processes(
    environment: dict[str, str],
    told_elsewhere: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["alexnet", "train", "nothing", "--recipe", "nonsense", "--out", "nowhere"])
    monkeypatch.setattr("signal.signal", lambda *arguments: None)
    monkeypatch.setattr(
        "alexnet.distribution.session.join_world", lambda *arguments: nullcontext((SINGLE_PROCESS, "cpu"))
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said == "" if told_elsewhere else said.startswith("StoreError: nothing does not exist.")


def test_a_place_that_cannot_be_written_is_an_error_without_a_traceback(small_store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("train", small_store_path, "--recipe", "small-data", "--out", tmp_path / "file" / "run", ok=1)
    assert done.stderr.strip().splitlines()[-1] == (
        f"Failed: {tmp_path / 'file' / 'run'}: Not a directory. Check that its folder exists, is writable and has room; the "
        "same command can be given again."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["train", "STORE", "--out", "RUN"], "goes on from what was saved, or begins again"),
        (["search", "index", "RUN", "PHOTOS", "--out", "INDEX"], "goes on from what was saved, or begins again"),
        (["search", "query", "INDEX", "a.jpg"], "begins again"),
        (["evaluate", "RUN", "STORE"], "begins again"),
    ],
)
def test_ctrl_c_names_the_next_step(
    words: list[str], advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(**options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_module, "cli", interrupt)
    monkeypatch.setattr(sys, "argv", ["alexnet", *words])
    monkeypatch.setattr(cli_module.signal, "signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as end:
        cli_module.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == f"Interrupted. The same command {advice}.\n"


def test_a_file_whose_name_begins_with_a_dash_is_not_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-dash.jpg").touch()
    monkeypatch.setattr(sys, "argv", ["alexnet", "predict", "RUN", "-dash.jpg"])
    monkeypatch.setattr(cli_module.signal, "signal", lambda *arguments: None)
    with pytest.raises(SystemExit) as end:
        cli_module.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == "If the file is meant, write ./-dash.jpg"


def test_a_missing_store_is_an_error_of_one_line_without_a_traceback(tmp_path: Path) -> None:
    done = run("train", tmp_path / "nothing", "--out", tmp_path / "run", ok=1)
    assert done.stderr.startswith("StoreError: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_field_exits_2_and_leaves_nothing(small_store_path: Path, tmp_path: Path) -> None:
    done = run("train", small_store_path, "--out", tmp_path / "run", "--set", "optimization.rate=1", ok=2)
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("RecipeError: --set optimization.rate=1: unknown field optimization.rate.")
    )
    assert not (tmp_path / "run").exists()


def test_a_trained_run_has_a_report_with_its_errors(trained: Path) -> None:
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "Top-1 error" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_run_is_no_store_and_can_be_gone_on_from(trained: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["train", str(trained), "--out", str(tmp_path / "more")])
    assert str(result.exception) == (
        f"{trained} is a run. To go on from it: alexnet train {trained} --more-epochs 10 --out RUN"
    )
    for also in (["--recipe", "paper"], ["--freeze", "conv1"]):
        words = ["train", str(trained), "--more-epochs", "1", *also, "--out", str(tmp_path / "more")]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 2
        assert "leave out --recipe, --from, --epochs, --freeze" in result.output


def test_folds_keep_no_thresholds(small_store_path: Path, tmp_path: Path) -> None:
    words = ["train", str(small_store_path), "--folds", "2", "--reject", "0.1", "--out", str(tmp_path / "folds")]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "leave out --reject" in " ".join(result.output.split())
    assert not (tmp_path / "folds").exists()


def test_evaluate_prints_json_and_writes_predictions(trained: Path, small_store_path: Path, tmp_path: Path) -> None:
    done = run("evaluate", trained, small_store_path, "--views", "1", "--json", "--predictions", tmp_path / "p.csv")
    result = json.loads(done.stdout)
    assert (result["images"], result["views"], len(result["classes"])) == (9, 1, 3)
    low, high = result["top1_interval"]
    assert 0 <= low <= result["top1_error"] <= high <= 1
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["path"] for row in rows}) == 9
    wrong = sum(row["label"] != row["class_1"] for row in rows)
    assert wrong / 9 == pytest.approx(result["top1_error"])


def test_evaluate_prints_a_table_for_people(trained: Path, small_store_path: Path) -> None:
    text = run("evaluate", trained, small_store_path).stdout
    assert text.startswith("9 images of ")
    assert "ten views" in text
    assert "top-1" in text
    assert "ant" in text


def test_predict_names_what_it_leaves_out_and_exits_1(trained: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (300, 200), (200, 10, 10)).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"no image at all")
    done = run("predict", trained, tmp_path / "good.png", tmp_path / "bad.jpg", tmp_path / "none.jpg", "--json", ok=1)
    result = json.loads(done.stdout)
    assert [Path(image["path"]).name for image in result["images"]] == ["good.png"]
    assert len(result["images"][0]["top"]) == 3
    assert sum(entry["probability"] for entry in result["images"][0]["top"]) == pytest.approx(1, abs=1e-5)
    assert [Path(reason.split(":")[0]).name for reason in result["left_out"]] == ["bad.jpg", "none.jpg"]


def test_predict_prints_a_line_for_each_image(trained: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a.png", "b c.png"):
        Image.new("RGB", (30, 20), (200, 10, 10)).save(tmp_path / name)
    rows = [line.split("\t") for line in run("predict", trained, tmp_path, "--one-line").stdout.splitlines()]
    assert [row[0] for row in rows] == [str(tmp_path / "a.png"), str(tmp_path / "b c.png")]
    assert all(row[1] in ("ant", "bee", "cat") and 0 < float(row[2]) <= 1 and len(row) == 3 for row in rows)
    rows = [
        line.split("\t") for line in run("predict", trained, tmp_path, "--one-line", "--top", "2").stdout.splitlines()
    ]
    assert {len(row) for row in rows} == {5}


def test_info_of_a_run_tells_how_well_it_does_and_what_to_do_next(trained: Path, small_store_path: Path) -> None:
    lines = run("info", trained).stdout.splitlines()
    assert lines[0] == str(trained)
    facts = dict(line.split("  ", 1) for line in lines[1:])
    facts = {name: what.strip() for name, what in facts.items()}
    assert facts["what"] == "a finished run of 1 epoch"
    assert facts["recipe"] == "small-data, seed 0"
    assert facts["classes"] == "3: ant, bee, cat"
    assert facts["ten views"].startswith("top-1 error ")
    assert facts["ten views"].endswith(", on 9 images of val")
    assert facts["report"] == f"{trained}/report.html"
    assert f"next         alexnet evaluate {trained} {small_store_path}" in lines
    assert lines[-1] == f"next         alexnet predict {trained} picture.jpg"


def test_a_field_without_its_group_is_found() -> None:
    result = CliRunner().invoke(cli, ["train", "STORE", "--out", "RUN", "--set", "total_epochs=2"])
    assert "Did you mean optimization.total_epochs?" in str(result.exception) or "STORE" in str(result.exception)
    with pytest.raises(ConfigError, match=r"Did you mean optimization.total_epochs\?"):
        find_recipe("paper", ["total_epochs=2"])


def test_prepare_again_says_that_it_is_done(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos" / "train", per_class=5, classes=("ant", "bee"))
    first = run("prepare", tmp_path / "photos", "--val-fraction", "0.2", "--out", tmp_path / "store", "--size", "32")
    assert "--recipe cifar-18pct --out RUN" in first.stderr
    assert json.loads(run("info", tmp_path / "store", "--json").stdout)["splits"] == {"train": 8, "val": 2}
    again = run("prepare", tmp_path / "photos", "--val-fraction", "0.2", "--out", tmp_path / "store", "--size", "32")
    assert f"{tmp_path / 'store'} is already complete, made from these images with these options" in again.stderr
    assert again.stdout == first.stdout
    other = run(
        "prepare", tmp_path / "photos", "--val-fraction", "0.4", "--out", tmp_path / "store", "--size", "32", ok=1
    )
    assert "with other options: val fraction was 0.2, is 0.4. Choose another --out" in other.stderr


def test_info_describes_each_kind_of_thing(trained: Path, small_store_path: Path) -> None:
    assert json.loads(run("info", small_store_path, "--json").stdout)["splits"] == {"train": 24, "val": 9}
    assert json.loads(run("info", trained, "--json").stdout)["finished"] is True
    assert json.loads(run("info", trained / "model.safetensors", "--json").stdout)["class_names"] == [
        "ant",
        "bee",
        "cat",
    ]
    assert "60,965,224" in run("info", "paper").stdout
    assert "optimization.learning_rate" in run("info", "small-data", "--all").stdout
    assert "batches.divisor" in run("info", "small-data").stdout
    assert "Kernels" in run("info", "--system").stdout
    error = run("info", "nonsense", ok=2).stderr
    assert error.strip().endswith(
        f"nonsense: there is no such file or folder, and no dialect ({', '.join(DIALECTS)}) or recipe ({', '.join(RECIPES)}) "
        "has this name."
    )


def test_a_file_that_is_no_model_is_refused(trained: Path, small_store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"\x80\x04\x95 pickle")
    done = run("evaluate", tmp_path / "weights.pth", small_store_path, ok=1)
    assert done.stderr.startswith(
        f"WeightsError: {tmp_path / 'weights.pth'}: is a pickle, as older versions of PyTorch"
    )


@pytest.mark.skipif(os.name != "posix", reason="a folder in use can be deleted there only")
@pytest.mark.parametrize("verb", ["info", "prepare", "predict"])
def test_in_a_folder_that_was_deleted_every_command_says_so(tmp_path: Path, verb: str) -> None:
    command = (
        f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; {sys.executable} -m alexnet {verb} paper x"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Failed: the current folder does not exist any more. Change to one that does, with cd.\n"


@pytest.mark.parametrize("words", [(), ("search",), ("draw",)])
def test_what_a_verb_does_is_said_to_the_end(words: tuple[str, ...]) -> None:
    listed = CliRunner().invoke(cli, [*words, "--help"]).output.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed
    assert listed.rstrip().endswith(".")


def test_what_was_typed_does_not_steer_the_terminal(tmp_path: Path) -> None:
    place = f"{tmp_path}/\x1b[31mgone/x.csv"
    done = run("evaluate", "a", "b", "--predictions", place, ok=2)
    assert "\x1b" not in done.stderr
    assert "\\x1b[31mgone" in done.stderr
