"""Doubtful labels from the folder of folds to the CSV file, the page, and back into a store."""

import base64
import csv
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.store.reader import Store
from alexnet.errors import AlexNetError, RunError
from alexnet.evaluation.confident_learning import OutOfFold, find_suspects
from alexnet.interpretation import page as suspects_page
from conftest import write_store

HOSTILE = "<script>alert('x')</script>"
CLASSES = ("ant", 'b"ee', HOSTILE)
LABELS = [0, 0, 0, 1, 1, 2, 2]
PATHS = ["0.png", HOSTILE, "2,\n.png", "3.png", "4.png", "5.png", "6.png"]
PROBABILITIES = np.array(
    [
        [0.8, 0.2, 0.0],
        [0.1, 0.0, 0.9],
        [0.8, 0.2, 0.0],
        [0.1, 0.9, 0.0],
        [0.7, 0.3, 0.0],
        [0.0, 0.1, 0.9],
        [0.0, 0.1, 0.9],
    ],
    np.float32,
)
"""Image 1 is taken for the last class, image 4 for the first one."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    images = np.repeat(np.arange(7, dtype=np.uint8) * 30, 8 * 8 * 3).reshape(7, 8, 8, 3)
    splits: dict[str, Any] = {"train": (images, LABELS), "val": (images[:1], [0])}
    return write_store(tmp_path / "store", splits, CLASSES, paths={"train": PATHS, "val": ["v"]})


@pytest.fixture
def folds(store: Store, tmp_path: Path) -> Path:
    (tmp_path / "folds").mkdir()
    rows = np.arange(7) % 2
    OutOfFold(PROBABILITIES, store.labels, rows, store.paths, store.class_names, store.fingerprint).write(
        tmp_path / "folds"
    )
    return tmp_path / "folds"


def call(*words: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, words)))
    if isinstance(result.exception, AlexNetError):
        raise result.exception
    return result.output


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and not self.scripts:
            self.scripts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_doubtful_labels_are_listed_worst_first(store: Store, folds: Path, tmp_path: Path) -> None:
    said = call("evaluate", folds, store.path, "--suspects", tmp_path / "suspects.csv")
    rows = list(csv.reader((tmp_path / "suspects.csv").read_text().splitlines()))
    assert rows == [
        ["path", "label", "suggested", "score"],
        [HOSTILE, "ant", HOSTILE, "0.100000"],
        ["4.png", 'b"ee', "ant", "0.300000"],
    ]
    assert "2 labels of 7 training images in doubt, 28.57 %." in said
    said = call("evaluate", folds, store.path, "--suspects", tmp_path / "suspects.csv", "--json")
    told = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert told == {
        "images": 7,
        "suspects": 2,
        "pairs": [
            {"label": "ant", "suggested": HOSTILE, "images": 1},
            {"label": 'b"ee', "suggested": "ant", "images": 1},
        ],
    }


def test_the_page_shows_them_escaped_with_a_choice_each_and_one_script(
    store: Store, folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    call("evaluate", folds, store.path, "--suspects", tmp_path / "s.csv", "--html", path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert HOSTILE not in text
    assert [each["data-path"] for each in page.all("fieldset")] == [HOSTILE, "4.png"]
    assert [each["value"] for each in page.all("input") if each.get("type") == "radio"] == [
        "keep",
        "change",
        "drop",
    ] * 2
    assert [each["value"] for each in page.all("input") if "list" in each] == [HOSTILE, "ant"]
    assert [each["value"] for each in page.all("option")] == list(CLASSES)
    assert sum(str(each["src"]).startswith("data:image/jpeg;base64,/9j/") for each in page.all("img")) == 2
    (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    allowed = base64.b64encode(sha256(page.scripts[0].encode()).digest()).decode()
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'")
    assert len(page.all("script")) == 1
    assert not any(name in page.all("script")[0] for name in ("src", "type"))
    assert "least doubtful" not in text
    monkeypatch.setattr(suspects_page, "MOST_PICTURES", 1)
    call("evaluate", folds, store.path, "--suspects", tmp_path / "s.csv", "--html", path)
    assert re.search(r"The 1 least doubtful are in the CSV file only\.", path.read_text(encoding="utf-8"))


def test_other_images_are_refused(store: Store, folds: Path, tmp_path: Path) -> None:
    images = np.zeros((7, 8, 8, 3), np.uint8)
    other = write_store(tmp_path / "other", {"train": (images, LABELS), "val": (images[:1], [0])}, CLASSES)
    with pytest.raises(RunError) as caught:
        find_suspects(folds, other)
    assert str(caught.value) == (
        f"{folds / 'out-of-fold.npz'}: tells of the images of another store than {other.path}. Give the store that the "
        "folds were trained on, or train on this one with train --folds."
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["folds", "store", "--suspects", "s.csv", "--views", "1"], "--views does"),
        (["folds", "store", "--suspects", "s.csv", "--average", "--top", "2"], "--top, --average does"),
        (["folds", "folds", "store", "--suspects", "s.csv"], "a second MODEL does"),
    ],
)
def test_what_tests_a_model_does_not_go_with_suspects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = " ".join(call("evaluate", *words).split())
    assert (
        f"--suspects reads what train --folds predicted and tests nothing: {what} not go with it. Write: evaluate FOLDS "
        "STORE --suspects FILE.csv --html PAGE.html"
    ) in said
    assert not list(tmp_path.iterdir())
