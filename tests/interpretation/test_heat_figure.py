from typing import Any

import numpy as np

from alexnet.interpretation.maps import draw_heat
from alexnet.pages.themes import THEMES

IMAGE = np.zeros((12, 12, 3), np.uint8)


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_heat_is_drawn_beside_its_image_with_its_class() -> None:
    maps = [np.full((12, 12), value, np.float32) for value in (0.0, 1.0, 2.0)]
    titles = ["cat", "dog", "a very " * 20]
    drawing = draw_heat([IMAGE] * 3, maps, ["bee", "", "cat"], titles, ["90 %"] * 3, list("abc"), shows="what it does")
    (page,) = drawing.figure.axes
    assert len(page.images) == 6
    assert texts(page)[:4] == ["bee", "cat", "90 %", ""]
    assert texts(page)[7].endswith("…")
    own, explained, *_ = page.texts  # the class of the image below it, as in the panel of predictions
    assert own.get_weight() == "bold"
    assert own.get_position()[0] == 0 < explained.get_position()[0]
    assert own.get_position()[1] == explained.get_position()[1]
    assert list(drawing.numbers) == ["image", "class", "y", "x", "heat"]
    assert len(drawing.numbers["heat"]) == 3 * 144
    assert drawing.numbers["heat"][-1] == 2
    assert drawing.numbers["class"][0] == "cat"
    assert drawing.caption.startswith("Each image with its class, and beside it what it does. Each image has its own")
    assert drawing.render("png")


def test_towers_stand_before_their_sum_on_its_scale_and_what_is_negative_is_empty() -> None:
    towers = np.zeros((2, 12, 12), np.float32)
    towers[0], towers[1, :, 6:] = 1, -0.5
    heat = np.maximum(towers.sum(0), 0)
    drawing = draw_heat(
        [IMAGE + 255] * 2,
        [heat] * 2,
        ["bee"] * 2,
        ["cat"] * 2,
        ["1 %"] * 2,
        ["p", "q"],
        shows="s",
        towers=[towers] * 2,
        over_picture=True,
    )
    (page,) = drawing.figure.axes
    assert len(page.images) == 8
    assert texts(page)[:5] == ["bee", "tower a", "tower b", "cat", "1 %"]
    _, first, second, both = (np.asarray(image.get_array()) for image in page.images[:4])
    background = [int(THEMES["light"].background[i : i + 2], 16) for i in (1, 3, 5)]
    assert background == [255, 255, 255]  # over a white picture, heat of zero is white as well
    assert (second == 255).all()
    assert (first[0, 0] == both[0, 0]).all()
    assert both[0, 11].mean() > both[0, 0].mean() > 0  # half the heat is paler
    assert drawing.numbers["tower_b"][0] == 0
    assert drawing.numbers["tower_b"][11] == -0.5
    assert drawing.numbers["heat"][11] == 0.5
    assert "Each tower has a map; the last is their sum, on the same scale." in drawing.caption
