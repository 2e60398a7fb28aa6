import pytest

from alexnet.interpretation import fonts
from alexnet.interpretation.drawing import bare_axes, new_figure, write
from alexnet.pages.themes import THEMES


def test_plain_letters_need_no_further_font() -> None:
    assert fonts.families("cat") == fonts.families()
    assert fonts.can_write("tabby, Äpfel, кошка")


def test_names_in_letters_without_a_font_stand_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_find_family", lambda code: None)
    names = ("cat", "\U00012000\U00012001", "dog \U0001f415", "\U00012002")
    assert fonts.legible(names) == ["cat", "class 2", "dog \U0001f415", "class 4"]  # a symbol is not a letter
    assert fonts.explain_stand_ins(names, [0, 2]) == ""
    assert fonts.explain_stand_ins(names, [3, 1, 3]) == (
        " No font installed here has the letters of some names, so they stand by number: class 4 is \U00012002; class 2 is "
        "\U00012000\U00012001."
    )
    many = ["\U00012000"] * 12
    assert fonts.explain_stand_ins(many, range(12)).endswith("; and 4 more in the CSV file.")


def test_an_installed_font_that_has_the_letters_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts.families.cache_clear()
    monkeypatch.setattr(fonts, "_find_family", lambda code: "DejaVu Serif" if code == 0x12000 else None)
    assert fonts.families("a\U00012000") == (*fonts.families(), "DejaVu Serif")
    assert fonts.can_write("\U00012000")
    text = write(bare_axes(new_figure(1, 1, THEMES["light"]), 0, 0, 1, 1), 0, 0, "\U00012000", "#000000")
    assert text.get_fontfamily()[-1] == "DejaVu Serif"
    fonts.families.cache_clear()


def test_fonts_for_formulas_and_of_last_resort_are_not_taken() -> None:
    assert not any("Last Resort" in entry.name or entry.name.startswith("cm") for entry in fonts._installed())
    assert fonts._find_family(0x10FFFD) is None
