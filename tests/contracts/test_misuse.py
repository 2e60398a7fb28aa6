"""Whatever is typed where a number, a recipe or an ensemble is meant: one short sentence, and exit code 2 for misuse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from alexnet import system
from alexnet.cli import cli
from alexnet.description.describe import describe
from alexnet.errors import ConfigError, RecipeError, WeightsError
from alexnet.evaluation.ensemble import load_ensemble
from alexnet.files.documents import parse_json
from alexnet.recipes.named import Recipe, check_batch, find_recipe, read_recipe
from alexnet.verbs import options

ODD = [
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "true",
    "",
    "²",
    "1_0e9",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "[" * 100_000,
]
"""What is no number that any option takes."""
SHORT = 250


def numeric_options(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from numeric_options(command, (*words, name))
            continue
        for option in command.params:
            if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
                yield (*words, name), option.opts[0]


@pytest.mark.parametrize(
    ("words", "option"), [pytest.param(*each, id=each[0][-1] + each[1]) for each in numeric_options()]
)
def test_every_numeric_option_refuses_what_is_no_number_of_its_kind(words: tuple[str, ...], option: str) -> None:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    (parameter,) = [each for each in command.params if option in each.opts]
    for typed in ODD:
        with pytest.raises(click.BadParameter) as problem:
            parameter.type.convert(typed, parameter, None)
        assert problem.value.exit_code == 2
        assert len(problem.value.message) < 100
    assert isinstance(parameter.type, options.Whole | options.Number)


def test_a_shell_meets_the_same_sentences(tmp_path: Path) -> None:
    for typed, said in (
        (["--checkpoint-minutes", "nan"], "Invalid value for '--checkpoint-minutes': nan is not a number up to"),
        (["--threads", "99999"], "Invalid value for '--threads': 99999 is not in the range 1<=x<=1024."),
    ):
        result = CliRunner().invoke(cli, ["train", "STORE", "--out", str(tmp_path / "run"), *typed])
        assert result.exit_code == 2
        assert said in result.output
        assert not (tmp_path / "run").exists()


def test_the_threads_of_the_command_line_are_those_of_the_library() -> None:
    assert options.MOST_THREADS == system.MOST_THREADS
    with pytest.raises(ConfigError, match=r"^threads is 99999; accepted is 1 to 1,024\.$"):
        system.set_threads(99_999)


def numeric_fields() -> list[str]:
    return [
        f"{group}.{name}"
        for group, values in Recipe().model_dump().items()
        if isinstance(values, dict)
        for name, value in values.items()
        if not isinstance(value, bool | str)
    ]


@pytest.mark.parametrize("field", numeric_fields())
def test_every_numeric_field_refuses_what_is_no_number_of_its_kind(field: str) -> None:
    for value in (
        "true",
        "[true]",
        "{conv1: true}",
        ".nan",
        "-1",
        "1e300",
        f"0x{9000 * 'f'}",
        500 * "[",
        "2020-01-01",
    ):
        with pytest.raises(RecipeError) as problem:
            find_recipe("paper", [f"{field}={value}"])
        assert len(str(problem.value)) < SHORT
        assert field.partition(".")[2] in str(problem.value)


def test_numbers_that_people_write_are_read() -> None:
    found = find_recipe(
        "paper", ["optimization.learning_rate=1e-3", "batches.size=32", "batches.divisor=[58, 57.5, 60]"]
    )
    assert (found.optimization.learning_rate, found.batches.size) == (0.001, 32)
    assert found.batches.divisor == (58, 57.5, 60)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ("{" * 100_000, "it is nested too deeply"),
        ("- " * 40_000, "it is nested too deeply"),
        ("batches:\n  size: 3\n  size: 4\n", "line 3: the key 'size' stands twice"),
        ("name: a\nname: b\n", "line 2: the key 'name' stands twice"),
        (BOMB, "line 2: aliases (*name) are not read"),
        ("x" * 200_000, "it is longer than 100,000 characters"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("name: !!bool maybe", "a value in it cannot be read"),
        ("name: 2001-99-99", "a value in it cannot be read"),
        ("? [a]\n: b", "line 1: a key is a list or a mapping"),
        ("name: \x01", "it is not YAML"),
    ],
    ids=range(12),
)
def test_a_recipe_file_from_a_stranger_is_refused_in_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as problem:
        describe(str(path))
    assert str(problem.value) == (f"{path}: cannot be read as a recipe ({reason}). Name a recipe or give a YAML file.")


def test_long_names_are_not_printed_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for text in ("network: {dialect: " + "p" * 9000 + "}", f"'{'k' * 900}': 1", "name: [" + "x," * 9000 + "]"):
        path.write_text(text)
        with pytest.raises(RecipeError) as problem:
            read_recipe(path)
        assert len(str(problem.value)) < SHORT + len(str(path))
    for assignment in ("x" * 9000, f"a.{'x' * 9000}=1", f"network.dialect={'p' * 9000}"):
        with pytest.raises(RecipeError) as problem:
            find_recipe("paper", [assignment])
        assert len(str(problem.value)) < SHORT


def test_a_file_that_is_no_utf8_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match=r"\(it is not UTF-8\)"):
        read_recipe(path)


def test_a_batch_that_was_asked_for_is_no_larger_than_the_images(small_store_path: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli, ["train", str(small_store_path), "--set", "batches.size=60000", "--out", str(tmp_path / "run")]
    )
    assert isinstance(result.exception, RecipeError)
    assert result.exception.exit_code == 2
    assert str(result.exception) == "--set batches.size=60000: there are 24 training images. Give 24 or less."
    assert not (tmp_path / "run").exists()
    check_batch(find_recipe("paper"), [], 24)  # a recipe's own is no request


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([{"path": "a", "sha256": "", "weight": True}], "a weight is not a number of 0 or more"),
        ([{"path": "a", "sha256": "", "weight": "1"}], "a weight is not a number of 0 or more"),
        ([{"path": "a", "sha256": "", "weight": float("nan")}], "a weight is not a number of 0 or more"),
        ([{"path": "a", "sha256": "", "weight": -1}], "a weight is not a number of 0 or more"),
        ([{"path": "a", "sha256": "", "weight": 10**400}], "a weight is not a number of 0 or more"),
        ([{"path": "a", "sha256": "", "weight": 0}], "no member has a weight above 0"),
        ([], "no member has a weight above 0"),
        ([{"path": "a" * 9000, "sha256": "", "weight": 1}], "a member's path is no path"),
        ([{"path": 1, "sha256": "", "weight": 1}], "a member's path is no path"),
        ([{"path": "a", "weight": 1}], "'sha256' is missing"),
    ],
    ids=range(10),
)
def test_an_ensemble_file_from_a_stranger_is_refused_in_one_sentence(
    tmp_path: Path, members: list[dict[str, Any]], reason: str
) -> None:
    path = tmp_path / "e.json"
    path.write_text(json.dumps({"kind": "alexnet ensemble", "format": 1, "members": members}))
    with pytest.raises(WeightsError) as problem:
        load_ensemble(path)
    assert str(problem.value).startswith(f"{path}: cannot be read as an ensemble ({reason}). Make it again: ")


def test_json_of_strangers_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for text, reason in (
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        (b"\xff\xfe\xff", "it is not UTF-8"),
    ):
        with pytest.raises(ValueError, match=r"^.{1,120}$") as problem:
            parse_json(text)
        assert str(problem.value) == reason
    (tmp_path / "e.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match=r"\(it is nested too deeply\)"):
        load_ensemble(tmp_path / "e.json")
