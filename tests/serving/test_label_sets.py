"""What is served of a model that says of each class by itself whether it is there."""

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gradio", reason="needs the extra web, which make test-extras installs")

from alexnet.evaluation.classifier import Classifier
from alexnet.network.independent import Independent
from alexnet.serving.answers import Answers
from alexnet.serving.markup import Markup
from alexnet.serving.table import write_table
from alexnet.serving.visit import Picture, Visit
from serving.conftest import ask, picture, serving


def independent(load: Any, threshold: float) -> Classifier:
    """The small model, whose classes are there from this probability on."""
    one = load()
    every = (threshold,) * len(one.class_names)
    return Classifier(
        replace(one.model, independent=Independent({1: every, 10: every})), one.path, device="cpu", precision="float32"
    )


def describe(model: Classifier, pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    (prediction,) = model.predict(pixels)
    return Answers(model).describe(prediction, 2)


def test_programs_get_every_class_that_is_there(load: Any) -> None:
    for threshold, count in ((0.001, 3), (0.999, 0)):
        model = independent(load, threshold)
        with serving(model) as server:
            (told,) = ask(server.address, "POST", "/predict", picture()).json["images"]
        assert len(told["labels"]) == count
        assert len(told["top"]) == 2
        assert told["labels"][:2] == told["top"][:count]


def test_probabilities_of_views_are_the_logistics_of_their_logits(load: Any) -> None:
    model = independent(load, 0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (views,) = Answers(model).view_probabilities([pixels], 1)
    (logits,) = model.activations(pixels, [model.network.spec.layers[-1].name]).values()
    assert views[0] == pytest.approx(torch.from_numpy(logits[0]).sigmoid().numpy(), abs=1e-5)
    assert model.predict(pixels)[0].probabilities == pytest.approx(views[0], abs=1e-5)


def test_the_page_names_all_of_them_or_none(load: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pictures = []
    for number, (threshold, words) in enumerate(((0.001, "at or above its threshold"), (0.999, "None of the classes"))):
        model = independent(load, threshold)
        answer = describe(model, pixels)
        shown = Picture(number, f"{number}.png", pixels, answer=answer, chosen=answer["class"])
        html = Markup(Answers(model), takes_corrections=False).write_result(shown)
        assert words in html
        titles = [each["title"] for each in answer["labels"]]
        assert f"<h2>{', '.join(titles) or 'None of the classes'}</h2>" in html
        pictures.append(shown)
    table = Markup(Answers(model), takes_corrections=False).write_table(Visit(pictures))
    assert "None of the classes" in table
    rows = list(csv.DictReader(write_table(pictures).splitlines()))
    assert [row["labels"] for row in rows] == ["|".join(each["name"] for each in pictures[0].answer["labels"]), ""]
