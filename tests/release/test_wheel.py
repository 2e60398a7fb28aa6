"""The wheel holds all that the program needs: installed without the source tree, it does the main job."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

import alexnet
from conftest import write_pictures

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_FOR_USERS = {"all", "dev", "browser", "site", "notebooks", "storage", "jxl"}
"""Extras that `all` leaves out: what developers need, and what has a licence that asks for a decision."""


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""Without what would let the program find the source tree."""


def run(folder: Path, program: Path, *words: object) -> str:
    """Return what a program prints; its standard error is shown where it fails."""
    command = [program, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_extra_all_names_every_extra_for_users() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(everything.removeprefix("alexnet[").removesuffix("]").split(",")) == set(extras) - NOT_FOR_USERS


def test_the_wheel_holds_every_file_of_the_package_and_no_other(built: Path) -> None:
    files = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "alexnet").rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    assert len(files) > 250
    with zipfile.ZipFile(built / f"alexnet-{alexnet.__version__}-py3-none-any.whl") as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(f"alexnet-{alexnet.__version__}.dist-info/METADATA").decode()
    assert held == files
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    with tarfile.open(built / f"alexnet-{alexnet.__version__}.tar.gz") as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {f"src/{name}" for name in files} <= names
    assert not any(name.startswith("tests") for name in names)


def test_the_bill_of_materials_tells_what_the_wheel_needs(built: Path, source_tree: Path) -> None:
    wheel = next(built.glob("*.whl"))
    script = [sys.executable, source_tree / "release" / "bill_of_materials.py", wheel]
    texts = []
    for _ in range(2):
        subprocess.run(script, check=True, capture_output=True)
        texts.append((built / f"alexnet-{alexnet.__version__}.cdx.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    bill = json.loads(texts[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    root = bill["metadata"]["component"]
    assert root["purl"] == f"pkg:pypi/alexnet@{alexnet.__version__}"
    parts = {part["purl"].partition("@")[0].removeprefix("pkg:pypi/"): part for part in bill["components"]}
    required = {name for name, part in parts.items() if part["scope"] == "required"}
    assert {"torch", "numpy", "sympy", "pydantic-core"} <= required
    assert "onnx" in set(parts) - required
    assert not {"pytest", "ruff", "pillow-jxl-plugin", "alexnet"} & set(parts)
    assert parts["click"]["licenses"] == [{"expression": "BSD-3-Clause"}]
    references = {root["bom-ref"], *(part["bom-ref"] for part in bill["components"])}
    assert {edge["ref"] for edge in bill["dependencies"]} == references
    assert {each for edge in bill["dependencies"] for each in edge["dependsOn"]} == references - {root["bom-ref"]}


@pytest.fixture(scope="module")
def trained(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the installed program has made a store and a run with its report."""
    folder = tmp_path_factory.mktemp("job")
    write_pictures(folder / "PHOTOS", per_class=8, classes=("ant", "bee"))
    run(folder, installed, "prepare", "PHOTOS", "--out", "STORE", "--val-fraction", "0.25", "--size", "32")
    settings = ("network.dialect=cifar-80sec", "optimization.total_epochs=1", "batches.size=4")
    words = [word for setting in settings for word in ("--set", setting)]
    run(folder, installed, "train", "STORE", "--out", "RUN", "--recipe", "small-data", *words)
    return folder


@pytest.mark.slow
def test_installed_without_the_source_tree_the_main_job_is_done(installed: Path, trained: Path) -> None:
    place = run(trained, installed.with_name("python"), "-c", "import alexnet; print(alexnet.__file__)")
    assert Path(place.strip()).is_relative_to(installed.parents[1])
    assert run(trained, installed, "--version") == f"alexnet, version {alexnet.__version__}\n"
    assert "<style>" in (trained / "STORE" / "report.html").read_text(encoding="utf-8")
    report = (trained / "RUN" / "report.html").read_text(encoding="utf-8")
    assert report.count("<svg") + report.count("data:image") > 5
    (trained / "RUN" / "report.html").unlink()
    run(trained, installed, "report", "RUN")
    assert (trained / "RUN" / "report.html").is_file()
    tested = json.loads(run(trained, installed, "evaluate", "RUN", "STORE", "--json"))
    assert (tested["images"], [each["name"] for each in tested["classes"]]) == (4, ["ant", "bee"])
    told = json.loads(run(trained, installed, "predict", "RUN", "PHOTOS/ant/ant-0.png", "--json"))
    assert sum(each["probability"] for each in told["images"][0]["top"]) == pytest.approx(1)
    assert f"alexnet {alexnet.__version__}" in run(trained, installed, "info", "RUN")
    run(trained, installed, "export", "RUN", "--to", "folder", "--out", "given")
    assert "| ant | 6 | 2 |" in (trained / "given" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_installed_page_answers(installed: Path, trained: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs the extra web")
    words = [installed, "serve", "RUN", "--port", "0"]
    with subprocess.Popen(words, cwd=trained, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://[\d.:]+/", server.stdout.readline())
            assert address is not None
            with urllib.request.urlopen(address[0], timeout=60) as page:
                text = page.read().decode()
            picture = (trained / "PHOTOS" / "bee" / "bee-0.png").read_bytes()
            question = urllib.request.Request(f"{address[0]}predict", picture, {"Content-Type": "image/png"})
            with urllib.request.urlopen(question, timeout=60) as answer:
                top = json.load(answer)
        finally:
            server.terminate()
    assert "gradio" in text
    assert "ant" in json.dumps(top)
