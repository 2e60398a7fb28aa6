"""Data flows down the page, and so do imports; nothing heavy is loaded before it is needed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet.batches.preprocessing import Preprocessing
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model

PACKAGE = Path(alexnet.__file__).parent

ARROWS = {
    "version": set(),
    "errors": {"text"},
    "compiling": {"startup"},
    "startup": set(),
    "text": {"files", "errors"},
    "files": {"text", "errors"},
    "pages": {"files", "text", "errors", "version"},
    "system": {"startup", "errors", "version"},
    "console": {"startup", "text"},
    "kernels": {"compiling", "system", "errors"},
    "cluster": {"startup", "text", "errors", "version"},
    "runs.folder": {"files", "errors"},
    "network": {"runs.folder", "batches", "kernels", "files", "text", "errors"},
    "data": {"startup", "cluster", "pages", "compiling", "files", "text", "errors", "version"},
    "batches": {"recipes", "data", "compiling", "errors"},
    "distribution": {"batches", "kernels", "network", "files", "system", "text", "errors"},
    "recipes": {"files", "text", "errors"},
    "training": {"runs.folder", "distribution", "batches", "network", "kernels", "recipes", "files", "text", "errors"},
    "evaluation": {"startup", "cluster", "runs.folder", "distribution", "network", "batches", "data", "files", "system", "text", "errors"},
    "temporal": {"evaluation", "network", "batches", "data", "files", "text", "errors", "version"},
    "exchange": {"cluster", "system", "evaluation", "network", "batches", "kernels", "files", "text", "errors", "version"},
    "retrieval": {"cluster", "system", "distribution", "exchange", "evaluation", "network", "data", "compiling", "files", "text", "errors"},
    "interpretation": {"pages", "runs.folder", "temporal", "retrieval", "evaluation", "network", "batches", "data", "files", "system", "console", "text", "errors", "version"},
    "serving": {"startup", "pages", "interpretation", "retrieval", "runs", "runs.folder", "evaluation", "network", "batches", "data", "files", "text", "errors", "version"},
    "reproduction": {"cluster", "batches", "pages", "startup", "interpretation", "evaluation", "benchmark", "training", "network", "data", "recipes", "runs", "runs.folder", "files", "system", "console", "text", "errors", "version"},
    "benchmark": {"startup", "serving", "retrieval", "training", "distribution", "network", "batches", "data", "kernels", "evaluation", "recipes", "files", "system", "console", "text", "errors", "version"},
}  # fmt: skip
"""Stage -> the stages it may import. What is not listed (cli, runs, demo, ...) may import anything, and nothing it."""


def imported_stages(path: Path) -> set[str]:
    stages = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "alexnet" else node.module for alias in node.names]
        stages |= {
            "runs.folder" if name.startswith("alexnet.runs.folder") else name.split(".")[1]
            for name in names
            if name.startswith("alexnet.")
        }
    return stages


@pytest.mark.parametrize("stage", ARROWS)
def test_a_stage_imports_only_what_flows_into_it(stage: str) -> None:
    module = PACKAGE / f"{stage.replace('.', '/')}.py"
    files = [module] if module.exists() else sorted((PACKAGE / stage).rglob("*.py"))
    for path in files:
        assert imported_stages(path) - {stage} <= ARROWS[stage], path


def test_nothing_imports_the_verbs_and_functions_know_no_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        stage = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        text = path.read_text(encoding="utf-8")
        assert stage in ("verbs", "cli") or not re.search(r"(from|import) alexnet\.verbs", text), path
        assert stage in ("verbs", "cli", "text") or not re.search(r"^\s*(from|import) click", text, re.MULTILINE), path


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("statement", ["import alexnet", "import alexnet.cli", "import alexnet.recipes.named"])
def test_what_starts_first_loads_nothing_heavy(statement: str) -> None:
    heavy = {"torch", "numba", "matplotlib", "PIL", "numpy"} & modules_after(statement)
    assert not heavy


def test_the_network_loads_no_plotting_and_no_numba() -> None:
    assert not {"numba", "matplotlib"} & modules_after("from alexnet import build, load, open_store, train")


def test_predicting_imports_nothing_that_compiles_networks(tmp_path: Path) -> None:
    """torch._dynamo takes as long to import as PyTorch itself, and one prediction needs neither it nor sympy."""
    network = build("cifar-80sec", 3)
    model = Model(network, ("a", "b", "c"), ("a", "b", "c"), Preprocessing(np.zeros((32, 32, 3), np.float32), 1.0), {})
    save_model(tmp_path / "model.safetensors", model)
    statement = f"import numpy, alexnet; alexnet.load({str(tmp_path / 'model.safetensors')!r}).predict([numpy.zeros((32, 32, 3), numpy.uint8)])"
    loaded = modules_after(statement)
    assert {"torch", "numba", "alexnet.kernels.operators"} <= loaded
    assert not {"torch._dynamo", "sympy", "matplotlib"} & loaded


def test_the_command_looks_for_garbage_seldom_and_not_when_it_ends() -> None:
    code = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 1000)); "
        "from alexnet.cli import main; sys.argv = ['alexnet', '--version']; main()"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "5000 True"


def test_the_public_names_are_complete_sorted_and_real() -> None:
    assert alexnet.__all__ == sorted(alexnet.__all__)
    for name in alexnet.__all__:
        assert getattr(alexnet, name) is not None
    with pytest.raises(AttributeError, match="module 'alexnet' has no attribute 'nothing'"):
        alexnet.nothing  # noqa: B018
