import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image

from alexnet.errors import ConfigError
from alexnet.evaluation.evaluate import Evaluation, measure_errors
from alexnet.evaluation.metrics import wilson_interval
from alexnet.evaluation.prediction import Prediction
from alexnet.interpretation.drawing import MARGIN_IN, PNG_DPI
from alexnet.interpretation.figures import (
    draw_class_errors,
    draw_filters,
    draw_predictions,
    rank_classes,
    tile_kernels,
    whole_percent,
)
from alexnet.network.alexnet import AlexNet
from alexnet.network.rows import Dense, Spec
from alexnet.pages.themes import THEMES
from alexnet.text.wording import counted

PICTURE = np.zeros((16, 16, 3), np.uint8)


def predict(*probabilities: float, names: tuple[str, ...] | None = None) -> Prediction:
    values = np.array(probabilities, np.float32)
    return Prediction("a.png", names or tuple(f"class {i}" for i in range(len(values))), values)


def evaluate(class_images: list[int], class_errors: list[float]) -> Evaluation:
    names = tuple(f"class {i}" for i in range(len(class_images)))
    count, errors = sum(class_images), sum(class_errors)
    rate, interval = errors / max(1, count), wilson_interval(errors, count)
    return Evaluation(count, 1, 5, rate, interval, 0, (0, 1), 1, names, tuple(class_images), tuple(class_errors))


def texts(axes: object) -> list[str]:
    return [text.get_text() for text in axes.texts]  # type: ignore[attr-defined]


def test_the_numbers_of_the_filters_are_the_weights(make_network: Callable[..., AlexNet]) -> None:
    network = make_network(kernels=40)
    drawing = draw_filters(network)
    weights = network.layers["conv1"].weight
    columns = drawing.numbers
    assert len(columns["kernel"]) == 40 * 5 * 5
    for place in (0, 7, 26, 999):
        kernel, y, x = (int(columns[name][place]) for name in ("kernel", "y", "x"))  # type: ignore[arg-type]
        for channel, color in enumerate(("red", "green", "blue")):
            assert columns[color][place] == weights[kernel - 1, channel, y, x].item()
        assert columns["tower"][place] == ("a" if kernel <= 20 else "b")


def test_filters_are_drawn_in_exact_squares_on_one_scale(make_network: Callable[..., AlexNet]) -> None:
    network = make_network(kernels=64)
    with torch.no_grad():
        network.layers["conv1"].weight.mul_(0.1)
        network.layers["conv1"].weight[0, :, 0, 0] = torch.tensor([-1.0, 0.0, 3.0])  # the ends of the scale
        network.layers["conv1"].weight[63, :, 4, 4] = 1.0
    picture = np.asarray(Image.open(io.BytesIO(draw_filters(network).render("png"))).convert("RGB"))
    square, margin, heading = 1920 // (16 * 6 - 1), round(MARGIN_IN * PNG_DPI), round(0.3 * PNG_DPI)
    assert picture.shape[1] == square * (16 * 6 - 1) + 2 * margin
    first = picture[margin + heading :, margin:][:square, :square].reshape(-1, 3)
    assert np.unique(first, axis=0).tolist() == [[0, 64, 255]]
    last = picture[:-margin, :-margin][-square:, -square:].reshape(-1, 3)
    assert np.unique(last, axis=0).tolist() == [[128, 128, 128]]


def test_kernels_are_tiled_in_rows_with_a_gap_between_them() -> None:
    kernels = np.stack([np.full((2, 2, 3), value) for value in (0.0, 0.5, 1.0)])
    plate = tile_kernels(kernels, 2, gap="#0a0b0c", magnify=1)
    assert plate.shape == (5, 5, 3)
    assert plate[:, :, 2].tolist() == [
        [0, 0, 12, 128, 128],
        [0, 0, 12, 128, 128],
        [12, 12, 12, 12, 12],
        [255, 255, 12, 12, 12],
        [255, 255, 12, 12, 12],
    ]
    assert tile_kernels(kernels, 2, gap="#0a0b0c", magnify=3).shape == (15, 15, 3)


@pytest.mark.parametrize(("kernels", "towers", "window"), [(1, 1, 3), (6, 2, 11), (34, 2, 3), (96, 1, 3), (9, 3, 5)])
def test_any_number_of_kernels_and_towers_can_be_drawn(
    make_network: Callable[..., AlexNet], kernels: int, towers: int, window: int
) -> None:
    drawing = draw_filters(make_network(kernels=kernels, towers=towers, window=window), "dark")
    assert drawing.render("png")
    assert len(set(drawing.numbers["tower"])) == towers
    assert ("one tower" in drawing.caption) == (towers == 2)


def test_equal_weights_are_grey(make_network: Callable[..., AlexNet]) -> None:
    network = make_network(kernels=2)
    torch.nn.init.constant_(network.layers["conv1"].weight, 0.3)
    assert draw_filters(network.bfloat16()).render("png")


def test_a_network_without_kernels_is_refused() -> None:
    network = AlexNet(Spec(dialect="flat", input_px=4, layers=(Dense(name="fc1", units=2),)))
    with pytest.raises(ConfigError) as caught:
        draw_filters(network)
    assert str(caught.value) == (
        "layer fc1 of dialect flat has no kernels to draw; its first layer is not a convolution."
    )


def test_predictions_list_the_five_best_and_colour_the_correct_one() -> None:
    prediction = predict(0.05, 0.3, 0.02, 0.4, 0.2, 0.03)
    drawing = draw_predictions([PICTURE], [prediction], [4])
    assert drawing.numbers["class"] == ["class 3", "class 1", "class 4", "class 0", "class 5"]
    assert drawing.numbers["probability"] == pytest.approx([0.4, 0.3, 0.2, 0.05, 0.03])
    assert drawing.numbers["is_label"] == [0, 0, 1, 0, 0]
    assert drawing.numbers["place_of_label"] == [3] * 5
    (page,) = drawing.figure.axes
    assert texts(page)[:4] == ["class 4", "wrong", "class 3", "40 %"]
    widths = np.array([patch.get_width() for patch in page.patches])
    assert widths / page.images[0].get_extent()[1] == pytest.approx([0.4, 0.3, 0.2, 0.05, 0.03])  # parts of the image's
    light = THEMES["light"]
    expected = [light.correct_bar if i == 2 else light.bar for i in range(5)]
    drawn = ["#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in p.get_facecolor()[:3])) for p in page.patches]
    assert drawn == expected


def test_a_correct_prediction_is_not_marked_wrong() -> None:
    (page,) = draw_predictions([PICTURE], [predict(0.1, 0.9)], [1]).figure.axes
    assert texts(page) == ["class 1", "class 1", "90 %", "class 0", "10 %"]


def test_a_label_outside_the_five_is_said_in_words() -> None:
    probabilities = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.04, 0.01])
    drawing = draw_predictions([PICTURE], [predict(*probabilities)], [6])
    assert drawing.numbers["is_label"] == [0] * 5
    assert drawing.numbers["place_of_label"] == [7] * 5
    assert texts(drawing.figure.axes[0])[-1] == "correct class: place 7, 1 %"


def test_equal_names_are_told_apart_by_their_class() -> None:
    drawing = draw_predictions([PICTURE], [predict(0.6, 0.4, names=("crane", "crane"))], [1])
    assert drawing.numbers["is_label"] == [0, 1]
    assert texts(drawing.figure.axes[0])[:2] == ["crane", "wrong"]


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_fewer_classes_give_fewer_bars(classes: int) -> None:
    drawing = draw_predictions([PICTURE], [predict(*np.full(classes, 1 / classes))], [0])
    assert drawing.numbers["place"] == list(range(1, classes + 1))
    assert f"its {classes} most probable" in drawing.caption


@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_images_stand_in_rows_of_four(count: int) -> None:
    names = ("猫のような動物", "a_b$c$d", "long " * 30, "\u05d7\u05ea\u05d5\u05dc", "x\ny")
    images = [np.full((size, size, 3), 90, np.uint8) for size in range(16, 16 + count)]
    predictions = [predict(0.1, 0.2, 0.3, 0.3, 0.1, names=names) for _ in images]
    drawing = draw_predictions(images, predictions, [i % 5 for i in range(count)], "dark")
    assert drawing.render("png")
    (page,) = drawing.figure.axes
    tops = {image.get_extent()[3] for image in page.images}
    assert len(tops) == (1 if count <= 4 else 2)
    long = [text for text in texts(page) if text.startswith("long")]
    assert all(text.endswith("…") for text in long)
    assert drawing.numbers["class"][:2] == ["long " * 30, "\u05d7\u05ea\u05d5\u05dc"]


def test_images_without_labels_are_drawn_without_a_verdict() -> None:
    drawing = draw_predictions([PICTURE, PICTURE], [predict(0.6, 0.4)] * 2)
    assert drawing.numbers["label"] == [None] * 4
    assert drawing.numbers["is_label"] == [None] * 4
    assert "red" not in drawing.caption
    mixed = draw_predictions([PICTURE, PICTURE], [predict(0.6, 0.4)] * 2, [None, 0])
    assert mixed.numbers["is_label"] == [None, None, 1, 0]


def test_probabilities_that_are_not_numbers_can_be_drawn() -> None:
    assert draw_predictions([PICTURE], [predict(np.nan, np.nan)], [1]).render("png")


@pytest.mark.parametrize(("images", "predictions", "labels"), [(0, 0, 0), (2, 1, 2), (1, 1, 2)])
def test_panels_that_do_not_fit_together_are_refused(images: int, predictions: int, labels: int) -> None:
    with pytest.raises(ConfigError) as caught:
        draw_predictions([PICTURE] * images, [predict(1.0, 0.0)] * predictions, [0] * labels)
    assert str(caught.value) == (
        f"{counted(images, 'image')} with {counted(predictions, 'prediction')} and {counted(labels, 'label')} cannot be "
        "drawn; there must be one of each for at least one image."
    )


def test_ranking_keeps_the_order_of_equal_classes() -> None:
    assert rank_classes(np.array([0.2, 0.4, 0.4], np.float32), 2) == ([1, 2, 0], 2)
    assert rank_classes(np.array([0.2, 0.4, 0.4], np.float32), None, k=1) == ([1], None)


def test_class_errors_are_sorted_and_have_wilson_intervals() -> None:
    drawing = draw_class_errors(evaluate([10, 20, 0, 10], [1, 10, 0, 9]))
    assert drawing.numbers["class"] == ["class 3", "class 1", "class 0"]
    assert drawing.numbers["images"] == [10, 20, 10]
    assert drawing.numbers["errors"] == [9, 10, 1]
    assert drawing.numbers["top1_error"] == pytest.approx([0.9, 0.5, 0.1])
    assert drawing.numbers["lower"][1] == pytest.approx(wilson_interval(10, 20)[0])
    assert drawing.numbers["upper"][1] == pytest.approx(wilson_interval(10, 20)[1])
    (axes,) = drawing.figure.axes
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([0.9, 0.5, 0.1])
    (whiskers,) = axes.collections
    first, *_ = whiskers.get_segments()
    assert first[:, 0].tolist() == pytest.approx(wilson_interval(9, 10))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["class 3", "class 1", "class 0"]
    (notes,) = axes.child_axes
    assert "50 % (10 of 20)" in [text.get_text() for text in notes.get_yticklabels()]
    assert "Without images here, and left out: 1 of 4 classes." in drawing.caption
    assert drawing.render("svg")


@pytest.mark.parametrize(("classes", "bars", "hidden"), [(40, 40, 0), (41, 40, 1), (300, 40, 260)])
def test_many_classes_are_drawn_as_the_worst_and_the_best(classes: int, bars: int, hidden: int) -> None:
    drawing = draw_class_errors(evaluate([classes] * classes, list(range(classes))))
    (axes,) = drawing.figure.axes
    assert len(axes.patches) == bars
    assert axes.patches[0].get_width() == pytest.approx((classes - 1) / classes)
    assert axes.patches[-1].get_width() == 0
    assert (
        f"… {counted(hidden, 'more class', 'more classes')} between these …" in [t.strip() for t in texts(axes)]
    ) == (hidden > 0)
    assert len(drawing.numbers["class"]) == classes


def test_the_scale_of_class_errors_holds_every_whisker() -> None:
    evaluation = measure_errors(torch.eye(3), np.array([0, 1, 2]), class_names=("a", "b", "c"), num_views=1)
    (axes,) = draw_class_errors(evaluation).figure.axes
    assert axes.get_xlim()[1] >= wilson_interval(0, 1)[1]


def test_class_errors_without_images_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        draw_class_errors(evaluate([0, 0], [0, 0]))
    assert str(caught.value) == "no class has an image; there are no errors to draw."


def test_percents_are_whole_but_never_falsely_certain() -> None:
    rates = (0.0, 0.001, 0.005, 0.5, 0.994, 0.996, 1.0, float("nan"))
    assert [whole_percent(rate) for rate in rates] == ["0 %", "< 1 %", "0 %", "50 %", "99 %", "> 99 %", "100 %", "–"]


def test_red_means_wrong_and_nothing_else() -> None:
    for name, theme in THEMES.items():
        drawing = draw_predictions([PICTURE], [predict(0.3, 0.25, 0.2, 0.1, 0.1, 0.05)], [5], name)
        assert [
            text.get_text() for axes in drawing.figure.axes for text in axes.texts if text.get_color() == theme.wrong
        ] == []
        (badge,) = [text for axes in drawing.figure.axes for text in axes.texts if text.get_text() == "wrong"]
        assert badge.get_bbox_patch().get_facecolor() == to_rgba(theme.wrong)
        red, green, blue = to_rgba(theme.correct_bar)[:3]
        assert abs(red - green) < 0.2 < green - blue  # yellow
