"""Data flows down the page, and so do imports; nothing heavy is loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import alexnet

PACKAGE = Path(alexnet.__file__).parent

ARROWS = {
    "version": set(),
    "json_documents": set(),
    "commands": set(),
    "recipe_text": set(),
    "errors": set(),
    "compiling": set(),
    "wording": set(),
    "file_record": set(),
    "files": set(),
    "class_names": {"files", "errors"},
    "file_kinds": {"commands"},
    "tensor_files": {"file_record", "file_kinds", "files", "json_documents", "errors"},
    "system": {"errors", "version"},
    "pace": set(),
    "terminal": {"pace"},
    "kernels": {"compiling", "errors"},
    "network": {"commands", "class_names", "kernels", "tensor_files", "wording", "errors"},
    "data": {"commands", "class_names", "compiling", "file_record", "files", "json_documents", "wording", "errors", "version"},
    "batches": {"data", "compiling", "errors"},
    "distribution": {"batches", "kernels", "network", "files", "system", "wording", "errors"},
    "recipe_fields": set(),
    "recipes": {"recipe_fields", "recipe_text", "wording", "errors"},
    "training": {"commands", "distribution", "batches", "network", "kernels", "recipes", "files", "json_documents", "tensor_files", "wording", "errors"},
    "evaluation": {"commands", "class_names", "distribution", "network", "batches", "data", "files", "json_documents", "system", "wording", "errors", "file_record", "tensor_files"},
    "exchange": {"commands", "class_names", "evaluation", "network", "batches", "kernels", "files", "tensor_files", "wording", "errors", "version"},
    "retrieval": {"commands", "class_names", "file_record", "distribution", "exchange", "evaluation", "network", "data", "compiling", "files", "json_documents", "tensor_files", "wording", "errors"},
    "interpretation": {"commands", "retrieval", "evaluation", "network", "batches", "data", "files", "system", "terminal", "wording", "errors", "version"},
    "reproduction": {"commands", "pace", "interpretation", "evaluation", "benchmark", "training", "network", "data", "recipes", "runs", "files", "json_documents", "system", "terminal", "wording", "errors", "version"},
    "benchmark": {"retrieval", "training", "distribution", "network", "batches", "data", "kernels", "evaluation", "recipes", "files", "system", "terminal", "errors", "version"},
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
        stages |= {name.split(".")[1] for name in names if name.startswith("alexnet.")}
    return stages


@pytest.mark.parametrize("stage", ARROWS)
def test_a_stage_imports_only_what_flows_into_it(stage: str) -> None:
    files = [PACKAGE / f"{stage}.py"] if (PACKAGE / f"{stage}.py").exists() else sorted((PACKAGE / stage).rglob("*.py"))
    for path in files:
        assert imported_stages(path) - {stage} <= ARROWS[stage], path


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("statement", ["import alexnet", "import alexnet.cli", "import alexnet.recipes"])
def test_what_starts_first_loads_nothing_heavy(statement: str) -> None:
    heavy = {"torch", "numba", "matplotlib", "PIL", "numpy"} & modules_after(statement)
    assert not heavy


def test_the_network_loads_no_plotting_and_no_numba() -> None:
    assert not {"numba", "matplotlib"} & modules_after("from alexnet import build, load, open_store, train")


def test_the_public_names_are_complete_sorted_and_real() -> None:
    assert alexnet.__all__ == sorted(alexnet.__all__)
    for name in alexnet.__all__:
        assert getattr(alexnet, name) is not None
    with pytest.raises(AttributeError, match="module 'alexnet' has no attribute 'nothing'"):
        alexnet.nothing  # noqa: B018
