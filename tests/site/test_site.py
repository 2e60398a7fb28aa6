"""The documents as a site: built without a network, every link and anchor leads somewhere, and every page is found."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import alexnet

ROOT = Path(__file__).parents[2]
ELSEWHERE = re.compile(
    r"""(?:<(?:script|img|iframe|source)[^>]+src|<link[^>]+href)=["']?(?:https?:)?//|url\(["']?https?:"""
)
"""What a browser would load from another host."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(name) is None:
            pytest.skip("needs the extra site: make test-extras")
    folder = tmp_path_factory.mktemp("site")
    nowhere = "http://127.0.0.1:9"  # a proxy that there is not: what asked for another host would fail
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": nowhere, "https_proxy": nowhere}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_document_is_a_page_that_the_navigation_names(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for document in (ROOT / "docs").rglob("*.md"):
        page = document.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        page = page.replace("README", "index")
        assert (site / page).exists(), page
        assert f'href="{page}"' in start, page


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert not ELSEWHERE.search(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        assert not ELSEWHERE.search(sheet.read_text(encoding="utf-8")), sheet


def test_the_reference_has_the_contract_of_every_public_name(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in alexnet.__all__:
        if name not in ("__version__", "draw"):
            assert f"alexnet.{name}" in page, name
    assert "At most this much work is lost to a crash." in page


def test_a_broken_link_and_a_broken_anchor_end_the_build(site: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "site_hooks.py").write_bytes((ROOT / "docs" / "site_hooks.py").read_bytes())
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(settings[: settings.index("\nnav:")] + "\nnav: [index.md]\n", encoding="utf-8")
    for text, found in (
        ("[a](nowhere.md)", "'nowhere.md', but the target is not found"),
        ("[a](#nowhere)", "there is no such anchor on this page"),
        ("[a](../LICENSE)", None),
    ):
        (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
        words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "out")]
        environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (found is None), done.stderr
        assert found is None or found in done.stderr
