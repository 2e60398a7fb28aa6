import csv
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from alexnet.errors import ConfigError
from alexnet.interpretation.drawing import (
    MARGIN_IN,
    PNG_DPI,
    Drawing,
    bare_axes,
    fit,
    in_both_themes,
    label_lines,
    measure_in,
    new_figure,
    printable,
    save_drawing,
    show_percents,
    styled,
    write,
)
from alexnet.pages.themes import THEMES, ThemeName, find_theme


def draw_text(text: str, theme: str = "light") -> Drawing:
    colors = find_theme(theme)
    figure = new_figure(2, 1, colors)
    write(bare_axes(figure, 0, 0, 2, 1), 0.5, 0.5, text, colors.ink, align="center")
    return Drawing("text", figure, {"name": [text, "b"], "value": [0.1234567, None]}, "Text", "A text.")


def relative_luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((relative_luminance(one), relative_luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_saving_writes_png_svg_and_csv_that_open(tmp_path: Path) -> None:
    paths = save_drawing(draw_text("hello"), tmp_path / "new" / "text.v1")
    assert [path.name for path in paths] == ["text.v1.png", "text.v1.svg", "text.v1.csv"]
    assert sorted(tmp_path.joinpath("new").iterdir()) == sorted(paths)  # no temporary file is left
    with Image.open(paths[0]) as image:
        assert image.size == (round((2 + 2 * MARGIN_IN) * PNG_DPI), round((1 + 2 * MARGIN_IN) * PNG_DPI))
        image.load()
    assert ElementTree.parse(paths[1]).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    rows = list(csv.reader(io.StringIO(paths[2].read_text(encoding="utf-8"))))
    assert rows == [["name", "value"], ["hello", "0.123457"], ["b", ""]]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    save_drawing(draw_text("old"), tmp_path / "text", formats=["csv"])
    before = (tmp_path / "text.csv").read_bytes()
    (tmp_path / "text.png").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="text"):
        save_drawing(draw_text("new"), tmp_path / "text", formats=["png"])
    assert (tmp_path / "text.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.csv", "text.png"]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_drawing_gives_the_same_bytes_and_leaves_settings_alone(form: str) -> None:
    before = dict(matplotlib.rcParams)
    assert draw_text("hello").render(form) == draw_text("hello").render(form)
    assert dict(matplotlib.rcParams) == before


def test_dollar_signs_and_underscores_are_letters() -> None:
    figure = new_figure(2, 1, THEMES["light"])
    text = write(bare_axes(figure, 0, 0, 2, 1), 0, 0, r"$\frac{x_1}$ and $x$", "#000000")
    assert text.get_text() == r"$\frac{x_1}$ and $x$"
    assert not text.get_parse_math()
    assert draw_text(r"$\frac{x_1}$ and $broken").render("png")


def test_letters_without_a_glyph_do_not_warn() -> None:
    assert draw_text("猫 \U0001f9ff \ue000 ꙮ").render("png")


def test_long_text_ends_with_an_ellipsis_and_fits() -> None:
    figure = new_figure(2, 1, THEMES["light"])
    text = "a rather long class name that does not fit"
    short = fit(figure, text, 1.0, size=9)
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert measure_in(figure, short, size=9) <= 1.0
    assert measure_in(figure, text[: len(short) + 1] + "…", size=9) > 1.0  # not shorter than needed
    assert fit(figure, "cat", 1.0, size=9) == "cat"
    assert fit(figure, "cat", 0.01, size=9) == "…"


def test_text_that_cannot_be_written_is_replaced() -> None:
    assert printable("two\nlines\t\x00 \udcff") == "two lines \\x00 \\xff"
    assert draw_text("bad \udcff").render("png")


def test_both_themes_have_the_same_numbers_and_different_backgrounds() -> None:
    pair = in_both_themes(draw_text, "hello")
    assert pair.light.numbers == pair.dark.numbers
    corners = [np.asarray(Image.open(io.BytesIO(drawing.render("png"))).convert("RGB"))[0, 0] for drawing in pair]
    assert ["#{:02x}{:02x}{:02x}".format(*corner) for corner in corners] == [t.background for t in THEMES.values()]


@pytest.mark.parametrize("name", THEMES)
def test_text_is_readable_in_each_theme(name: str) -> None:
    theme = find_theme(name)
    for color in (theme.ink, theme.muted, theme.training, theme.validation, theme.wrong):
        assert contrast(color, theme.background) >= 4.5  # WCAG 2 level AA
    for background in (theme.bar, theme.correct_bar, theme.raised):
        assert contrast(theme.ink, background) >= 4.5
    assert contrast(theme.on_wrong, theme.wrong) >= 4.5


def test_an_unknown_theme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        find_theme("sepia")
    assert str(caught.value) == "unknown theme 'sepia'. Known: light, dark."


def test_a_drawing_is_painted_once_for_all_formats_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, painted = draw_text("hello"), []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda *args, **options: (painted.append(1), save(*args, **options)))
    png, webp = (np.asarray(Image.open(io.BytesIO(drawing.render(form))).convert("RGB")) for form in ("png", "webp"))
    assert len(painted) == 1
    assert (png == webp).all()
    assert Image.open(io.BytesIO(drawing.render("png"))).info["Title"] == "Text"


def test_a_figure_has_the_style_of_the_house_and_leaves_settings_alone() -> None:
    before = dict(matplotlib.rcParams)

    @styled
    def draw(name: str, theme: ThemeName = "light") -> Drawing:
        figure = new_figure(3, 2, find_theme(theme))
        axes = figure.subplots()
        axes.set(title=name, xlim=(0, 1))
        show_percents(axes.xaxis)
        return Drawing("text", figure, {}, "Text", "A text.")

    (axes,) = draw("$x_1$ 50 $", theme="dark").figure.axes
    assert dict(matplotlib.rcParams) == before
    title, theme = axes.title, THEMES["dark"]
    assert not axes._left_title.get_parse_math()
    assert axes._left_title.get_text() == "$x_1$ 50 $"
    assert title.get_text() == ""
    assert axes.spines["bottom"].get_edgecolor() == to_rgba(theme.muted)
    ticks = [label for label in axes.get_xticklabels() if label.get_text()]
    assert [label.get_text() for label in ticks] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    assert {label.get_color() for label in ticks} == {theme.muted}
    assert draw("a").render("svg") == draw("a").render("svg")


def test_labels_of_lines_stand_beside_their_ends_and_apart() -> None:
    axes = new_figure(3, 2, THEMES["light"]).subplots()
    axes.set(xlim=(0, 9), ylim=(0, 1))
    label_lines(axes, [("a", (9, 0.5), "#000000"), ("b", (4, 0.5), "#111111")])
    assert [(text.get_text(), text.xy[0], text.get_color()) for text in axes.texts] == [
        ("a", 9, "#000000"),
        ("b", 4, "#111111"),
    ]
    low, high = (text.xy[1] for text in axes.texts)
    assert low == 0.5
    assert high - low == pytest.approx(0.15 * 100 / axes.bbox.height)
