import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.evaluate import Evaluation, measure_errors
from alexnet.evaluation.record import read_errors
from alexnet.interpretation import report
from alexnet.interpretation.curves import draw_curves
from alexnet.interpretation.drawing import in_both_themes
from alexnet.interpretation.page import headline, write_report
from alexnet.interpretation.panels import choose_mistakes, choose_panel
from alexnet.interpretation.report import report_run

HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Collects what a browser would see."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\xa0", " ").split())


def make_evaluation(names: tuple[str, ...], views: int = 1) -> Evaluation:
    labels = np.arange(20) % len(names)
    scores = np.random.default_rng(1).normal(size=(20, len(names)))
    scores[np.arange(16), labels[:16]] += 9
    probabilities = torch.from_numpy(scores).softmax(1).float()
    return measure_errors(probabilities, labels, class_names=names, num_views=views)


def render(tmp_path: Path, **changes: Any) -> str:
    content: dict[str, Any] = {
        "title": "run",
        "recipe_name": "small-data",
        "history": [],
        "evaluations": [],
        "drawings": [],
        "facts": [],
        "commands": [],
    }
    write_report(tmp_path / "report.html", **{**content, **changes})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_headline_has_error_interval_images_and_views() -> None:
    evaluation = Evaluation(500, 10, 5, 0.124, (0.098, 0.156), 0.01, (0.0, 0.02), 0.4)
    assert headline(evaluation) == "Top-1 error 12.4 % (95 % interval 9.8–15.6 %), 500 images, ten views"


def test_the_page_shows_both_tests_and_takes_the_headline_from_ten_views(tmp_path: Path) -> None:
    one = Evaluation(500, 1, 5, 0.2, (0.17, 0.24), 0.0312, (0.02, 0.05), 0.7)
    ten = Evaluation(500, 10, 5, 0.124, (0.098, 0.156), 0.01, (0.0, 0.02), 0.4321)
    page = Page(render(tmp_path, evaluations=[ten, one]))
    assert headline(ten) in page.text
    assert headline(one) not in page.text
    assert "Centre view 20.00 % 17.0–24.0 % 3.12 % 2.0–5.0 % 0.7000 Ten views 12.40 %" in re.sub(" +", " ", page.text)
    assert "about 12 get a wrong first answer" in page.text


def test_hostile_text_is_shown_and_never_interpreted(tmp_path: Path, history: list[dict[str, Any]]) -> None:
    names = (HOSTILE, '"onload=alert(1)', "b")
    drawing = in_both_themes(draw_curves, history)
    drawing.light.numbers["class"] = [HOSTILE] * len(history)  # type: ignore[index]
    text = render(
        tmp_path,
        title=HOSTILE,
        recipe_name=HOSTILE,
        trained_on=HOSTILE,
        facts=[(HOSTILE, HOSTILE)],
        commands=[HOSTILE],
        drawings=[drawing],
        history=history,
        evaluations=[make_evaluation(names)],
    )
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) == 7 + len(history)  # the title stands twice, a fact has two
    text = render(tmp_path, title="bad \udcff name", commands=["x \udcff\x1b"])
    assert "bad \\xff name" in text
    assert "x \\xff\\x1b" in text


def test_the_page_loads_nothing_and_follows_the_theme(tmp_path: Path, history: list[dict[str, Any]]) -> None:
    text = render(tmp_path, history=history, drawings=[in_both_themes(draw_curves, history)])
    page = Page(text)
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    loads = [value for _, name, value in page.attributes if name in ("src", "srcset", "href", "data", "action")]
    assert len(loads) == 2
    assert all(value.startswith("data:image/webp;base64,") for value in loads)
    assert loads[0] != loads[1]
    assert ("source", "media", "(prefers-color-scheme: dark)") in page.attributes
    assert "://" not in text
    assert not re.search(r"url\(|@import", text)
    assert [value for _, name, value in page.attributes if name == "content" and "default-src 'none'" in value]
    assert "color-scheme:light dark" in text


def test_spaces_inside_a_command_are_kept(tmp_path: Path) -> None:
    text = render(tmp_path, commands=["alexnet train 'my  store' --out run", "alexnet evaluate run"])
    shown = re.search("<pre><code>(.*?)</code></pre>", text, re.DOTALL)
    assert shown
    assert unescape(shown[1]) == "alexnet train 'my  store' --out run\nalexnet evaluate run"


def test_a_run_that_was_not_tested_says_so(tmp_path: Path) -> None:
    assert "Not tested: no images were set aside for testing." in Page(render(tmp_path)).text


def test_a_report_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    class Broken:
        def __str__(self) -> str:
            raise AssertionError

    before = render(tmp_path)
    with pytest.raises(AssertionError):
        write_report(
            tmp_path / "report.html",
            title=Broken(),  # type: ignore[arg-type]
            recipe_name="",
            history=[],
            evaluations=[],
            drawings=[],
            facts=[],
            commands=[],
        )
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_a_run_is_tested_drawn_and_written_down(
    tmp_path: Path, classifier: Classifier, store: Any, history: list[dict[str, Any]]
) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: small-data\n")
    (tmp_path / "my store").mkdir()  # that of the training, which the commands name; the one tested is another
    ticks: list[tuple[int, int]] = []
    (run / "figures").mkdir()
    (run / "figures" / "mistakes.svg").write_text("of another test")
    (run / "figures" / "own.txt").write_text("the user's")
    history[-1]["ended"] = "6 epochs, as the recipe says"
    path, evaluations = report_run(
        run, classifier, store, history, weights="w", tick=lambda done, total: ticks.append((done, total))
    )

    assert path == run / "report.html"
    assert [evaluation.num_views for evaluation in evaluations] == [1, 10]
    assert read_errors(run, "w")["tests"][1]["top1_error"] == evaluations[1].top1_error  # type: ignore[index]
    assert not (run / "tests").exists()
    (run / "figures" / "own.txt").unlink()
    figures = {file.name for file in (run / "figures").iterdir()}
    assert figures == {
        *(
            f"{name}{suffix}"
            for name in ("curves", "filters", "class-errors")
            for suffix in (".png", ".svg", ".csv", "-dark.png", "-dark.svg")
        ),
        *(
            f"{name}{suffix}"
            for name in ("predictions", "mistakes", "neighbours", "why")
            for suffix in (".png", ".csv")
        ),
    }
    for file in (run / "figures").glob("*.png"):
        with Image.open(file) as image:
            image.load()
    assert ticks[-1] == (288, 288)  # tests of 24 images in one view and in ten, and a search among 24
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)

    text = path.read_text(encoding="utf-8")
    page = Page(text)
    ten = classifier.evaluate(store, views=10)
    assert headline(ten) in page.text
    assert "my run" in page.text
    assert "Recipe small-data, 6 epochs in 3 min 18 s." in page.text
    assert "Trained on 24 images of 6 classes from store; 24 set aside (val)." in page.text
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "猫のような動物" in page.text
    assert "Seed 7" in page.text
    assert "Training ended after epoch 6: 6 epochs, as the recipe says" in page.text
    assert "The whole environment" in page.text
    for title in ("The most confident mistakes", "Images that the network finds alike", "Where the network looks"):
        assert title in page.text
    assert "Training speed 204 images/s" in page.text
    again = tmp_path / "my run-again"
    assert (
        f"alexnet train '{tmp_path}/my store' --recipe '{run}/recipe.yaml' --seed 7 --precision float32 --threads 2 "
        f"--out '{again}' alexnet evaluate '{again}' {tmp_path}/store --views 1" in page.text
    )


def test_a_store_without_validation_gives_a_report_about_the_training(
    tmp_path: Path, classifier: Classifier, store: Any, history: list[dict[str, Any]]
) -> None:
    del store.splits["val"]
    classifier.model.provenance.clear()
    path, evaluations = report_run(tmp_path, classifier, store, history, weights="w")
    assert evaluations == []
    page = Page(path.read_text(encoding="utf-8"))
    assert "Not tested" in page.text
    assert "Trained on 24 images of 6 classes from store." in page.text
    assert "alexnet evaluate" not in page.text
    assert not (tmp_path / "figures" / "predictions.png").exists()


def test_a_report_without_training_images_has_no_neighbours(
    tmp_path: Path, classifier: Classifier, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("images", "labels", "paths"):
        setattr(store["train"], name, getattr(store["train"], name)[:0])
    drawn: list[str] = []
    monkeypatch.setattr(report, "_save", lambda pair, folder: drawn.append(pair.light.name))
    monkeypatch.setattr(report, "write_report", lambda *arguments, **options: None)
    report_run(tmp_path, classifier, store, [], weights="w")
    assert drawn == ["curves", "filters", "predictions", "mistakes", "why", "class-errors"]


def test_the_surest_mistakes_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]], np.float32)
    assert choose_mistakes(probabilities, np.array([0, 1, 0, 0, 1]), 2) == [2, 3]
    assert choose_mistakes(probabilities, np.array([0, 1, 0, 0, 1]), 9) == [2, 3, 1]
    assert choose_mistakes(probabilities, probabilities.argmax(1), 9) == []


def make_probabilities(labels: np.ndarray, wrong: set[int]) -> np.ndarray:
    classes = int(labels.max()) + 1
    guesses = [(label + 1) % classes if i in wrong else label for i, label in enumerate(labels)]
    return np.eye(classes, dtype=np.float32)[guesses]


def test_a_panel_shows_two_mistakes_where_they_are_rare_and_spreads_over_classes() -> None:
    labels = np.repeat(np.arange(10), 50)
    wrong = {120, 121, 122, 444}
    panel = choose_panel(make_probabilities(labels, wrong), labels)
    assert len(set(panel)) == 8
    assert panel == sorted(panel)
    assert len(wrong & set(panel)) == 2
    assert {int(labels[i]) for i in wrong & set(panel)} == {2, 8}
    assert len({int(labels[i]) for i in panel}) == 8
    assert panel == choose_panel(make_probabilities(labels, wrong), labels)


def test_a_panel_shows_mistakes_in_their_proportion() -> None:
    labels = np.repeat(np.arange(4), 25)
    wrong = set(range(0, 100, 2))
    assert len(wrong & set(choose_panel(make_probabilities(labels, wrong), labels))) == 4


@pytest.mark.parametrize("wrong", [set(), {0}, {0, 1, 2}, set(range(6))])
@pytest.mark.parametrize("per_class", [1, 2, 3])
def test_a_panel_is_as_full_as_the_images_allow(wrong: set[int], per_class: int) -> None:
    labels = np.repeat(np.arange(2), per_class)
    present = {i for i in wrong if i < len(labels)}
    panel = choose_panel(make_probabilities(labels, present), labels)
    assert sorted(panel) == list(range(len(labels)))


def test_a_panel_prefers_no_class() -> None:
    labels = np.repeat(np.arange(100), 3)
    panel = choose_panel(make_probabilities(labels, set()), labels)
    assert [int(labels[i]) for i in panel] == [6, 18, 31, 43, 56, 68, 81, 93]


def test_with_two_classes_top_1_stands_once(tmp_path: Path) -> None:
    page = Page(render(tmp_path, evaluations=[make_evaluation(("a", "b"), views) for views in (1, 10)]))
    assert page.text.count("Top-1 error 95 % interval") == 1
    assert "Top-1 counts" not in page.text
    assert "Top-1 error 95 % interval Cross-entropy" in page.text


def test_what_is_wider_than_the_screen_says_so(tmp_path: Path) -> None:
    text = render(tmp_path)
    narrow = text[text.index("@media (max-width:40rem)") :]
    assert "figure .wide img{min-width:42rem}" in narrow
    assert 'figure .wide::after{content:"Wider than the screen: scroll it sideways →"' in narrow
    assert "no-repeat local" in text[text.index(".wide{overflow-x:auto") :]  # a shadow where a table goes on
