"""The wheel as it is built, and environments that hold nothing else of this package."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "release", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "Dockerfile",
           "constraints.txt", "constraints-extras.txt")  # fmt: skip


@pytest.fixture(scope="session")
def source_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from, so that building leaves nothing in the repository."""
    tree = tmp_path_factory.mktemp("source") / "alexnet"
    tree.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture(scope="session")
def built(source_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel that was built from it, as `make wheel` builds them."""
    for package in ("build", "setuptools"):
        pytest.importorskip(package, reason=f"building a wheel needs {package}, of the extra dev")
    out = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source_tree)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def make_environment(folder: Path) -> Path:
    """Return the Python of a new environment that has the packages of this one, but not alexnet."""
    venv.create(folder, with_pip=False)
    (folder / "packages").mkdir()
    for place in sys.path:
        for path in Path(place).iterdir() if any(Path(place).glob("*.dist-info")) else ():
            if "alexnet" not in path.name and path.suffix != ".pth" and not (folder / "packages" / path.name).exists():
                (folder / "packages" / path.name).symlink_to(path)
    site = next((folder / "lib").glob("python3*/site-packages"))
    (site / "packages.pth").write_text(f"{folder / 'packages'}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `alexnet` of an environment in which only the wheel was installed."""
    python = make_environment(tmp_path_factory.mktemp("fresh") / "environment")
    wheel = next(built.glob("*.whl"))
    words = ["--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python.with_name("alexnet")
