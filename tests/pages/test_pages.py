"""Every page that is written: whole, escaped, self-contained, one look."""

import tomllib
from dataclasses import fields
from fnmatch import fnmatch
from html import escape
from pathlib import Path

import jinja2
import numpy as np
import pytest
import torch

import alexnet
from alexnet.data.prepare import report
from alexnet.data.prepare.report import Overview
from alexnet.evaluation.evaluate import measure_errors
from alexnet.interpretation.page import Thumbnail, explain, write_report
from alexnet.pages.themes import THEMES
from alexnet.pages.writing import build_page, embed, write_page

NAME = "<b>&\"'"
ESCAPED = "&lt;b&gt;&amp;&#34;&#39;"
PACKAGE = Path(alexnet.__file__).parent


def make_pages(folder: Path, name: str = NAME) -> dict[str, str]:
    """Return the text of one page of each kind, on which every text that users choose is `name`."""
    evaluation = measure_errors(torch.eye(2), np.array([0, 1]), class_names=(name, "b"), num_views=1)
    row = (name, name)
    write_report(
        folder / "run.html",
        title=name,
        recipe_name=name,
        history=[],
        evaluations=[evaluation],
        drawings=[],
        facts=[row],
        commands=[name],
        trained_on=name,
        environment=[row],
    )
    write_page(
        folder / "test.html",
        "test.html",
        kicker=name,
        title=name,
        lead=name,
        result=explain(evaluation),
        models=[row, row],
        head=("Model", name),
        compared="Top-1 error",
        differences=[row],
        notes=[name],
        figures=[],
        class_head=("Class", "Images"),
        classes=[row],
        commands=[name],
    )
    pictures = [Thumbnail(b"JPEG", name, differs=True), Thumbnail(None, name)]
    rows = [(name, pictures)]
    write_page(folder / "pictures.html", "pictures.html", kicker=name, title=name, lead=name, rows=rows)
    overview = Overview([(name, "1")], [(name, [b"JPEG"])], b"JPEG", [(b"PNG", name)], name)
    found = {
        "splits": {name: {"kept": 1200, "found": 1201}},
        "notes": [name],
        "ignored": {name: 1},
        "skipped": [{"path": name, "reason": name}],
        "duplicates": {"groups": [[name, name]]},
    }
    (folder / "prepared.html").write_bytes(report.build_page(name, found, overview, name, lambda path: path.encode()))
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


def test_what_users_name_is_escaped_on_every_page(tmp_path: Path) -> None:
    pages = make_pages(tmp_path)
    assert {name: text.count(ESCAPED) for name, text in pages.items()} == {
        "run": 9,  # title twice, lead twice over, a fact and the environment in two cells each, a command
        "test": 18,
        "pictures": 8,
        "prepared": 16,
    }
    for text in pages.values():
        assert NAME not in text
        assert "<b>" not in text.replace("<b>Top-1", "")
    plain = make_pages(tmp_path, "name")
    assert {name: text.replace(ESCAPED, "name") for name, text in pages.items()} == plain


def test_pages_need_nothing_and_share_one_stylesheet(tmp_path: Path) -> None:
    pages = make_pages(tmp_path)
    style = (PACKAGE / "pages/templates/style.css").read_text(encoding="utf-8").strip()
    for text in pages.values():
        assert text.startswith("<!doctype html>\n")
        assert text.count(style) == text.count("<style>") == 1
        for theme in THEMES.values():
            colors = [getattr(theme, field.name) for field in fields(theme) if field.type == "str" or field.type is str]
            assert all(f":{color};" in text for color in colors)
        assert "default-src 'none'" in text
        assert not any(loads in text for loads in ("://", "<script", "<link", "url(", "@import"))
        assert "width=device-width" in text
        assert "@media print" in text


def test_what_steers_a_screen_is_escaped_and_a_percent_sign_stays_with_its_number() -> None:
    content = {"kicker": "", "title": "a\x1b[2J\udcff", "lead": "5 %", "description": "", "rows": []}
    page = build_page("pictures.html", **content)
    assert r"<h1>a\x1b[2J\xff</h1>" in page
    assert "5\N{NO-BREAK SPACE}%" in page
    assert page == build_page("pictures.html", **content)


def test_a_page_that_lacks_content_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'kicker' is undefined"):
        write_page(tmp_path / "page.html", "pictures.html", title="t", lead="", description="", rows=[])
    assert not list(tmp_path.iterdir())


def test_pictures_are_part_of_the_page() -> None:
    assert embed(b"\xff\xd8", "jpeg") == "data:image/jpeg;base64,/9g="
    assert escape(embed(b"\xff" * 9, "webp"), quote=True) == embed(b"\xff" * 9, "webp")


def test_an_installed_package_has_every_file() -> None:
    declared = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    files = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()]
    others = [name for name in files if "__pycache__" not in name and not name.endswith(".py")]
    assert "pages/templates/style.css" in others
    assert [name for name in others if not any(fnmatch(name, pattern) for pattern in declared["alexnet"])] == []
