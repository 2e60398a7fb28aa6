"""errors.json: what it holds, and that everything is computed from it again."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from alexnet.errors import RunError
from alexnet.reproduction.contrasts import Published, judge, read_published
from alexnet.reproduction.experiments import EXPERIMENTS
from alexnet.reproduction.image_errors import (
    ERRORS,
    ImageErrors,
    VariantTests,
    pack,
    read_image_errors,
    unpack,
    write_errors,
)
from alexnet.reproduction.results import Outcome, read_results, summarise, write_results


def wrong_on(name: str, seed: int, wrong: list[int]) -> ImageErrors:
    errors = np.zeros(20)
    errors[wrong] = 1
    return ImageErrors((name,), (seed,), 10, 2, errors, errors / 2)


def test_errors_are_a_bit_for_each_image_the_first_highest_and_ties_stand_apart() -> None:
    errors = np.array([1, 0, 0, 0, 0, 0, 0, 1, 0.5, 1])
    packed = pack(errors)
    assert base64.b64decode(packed["wrong"]) == bytes([0b10000001, 0b01000000])
    assert packed["ties"] == {"8": 0.5}
    assert unpack(packed, 10).tolist() == errors.tolist()


def test_what_is_written_is_read_and_a_test_stands_once(tmp_path: Path) -> None:
    one, other = wrong_on("a", 0, [1, 2]), wrong_on("b", 1, [3])
    write_errors(tmp_path, [VariantTests("x", (one, other), (one,)), VariantTests("y", (other,))], "f" * 64)
    found = read_image_errors(tmp_path)
    assert found is not None
    assert [[test.seeds for test in each.tests] for each in found] == [[(0,), (1,)], [(1,)]]
    assert found[0].one_view[0].top1.tolist() == one.top1.tolist()
    assert found[1].tests[0].topk.tolist() == other.topk.tolist()
    document = json.loads((tmp_path / ERRORS).read_text())
    assert (len(document["tests"]), document["images"], document["split"]) == (2, 20, "val")


def test_results_are_computed_from_errors_by_image_where_they_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "here" / "dropout"
    first = VariantTests("the paper's network", (wrong_on("a", 0, [0, 1, 2, 3]), wrong_on("b", 1, [0, 1])))
    second = VariantTests("no dropout", (wrong_on("c", 0, [0]), wrong_on("d", 1, [0])))
    outcomes = [summarise(first, None, 2, seconds=60), summarise(second, first, 2, seconds=60)]
    recipe = {"name": "modern", "batches": {"size": 4}, "optimization": {"total_epochs": 3}}
    conditions = {"seeds": 2, "store": {"fingerprint": "f", "train": 10}, "recipe": recipe}
    write_results(folder, EXPERIMENTS["dropout"], outcomes, conditions)
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text.replace("-0.15", "0.9"))  # a figure that is wrong is not believed
    write_errors(folder, [first, second], "f")
    again = read_results(folder)[1][1]
    assert (again.values, again.difference, again.topk) == ((0.05, 0.05), pytest.approx(-0.1), pytest.approx(0.025))
    assert again.differences == pytest.approx((-0.15, -0.05))
    (contrast,) = judge(read_published(tmp_path))
    assert (contrast.error, contrast.baseline, contrast.seeds) == (0.05, pytest.approx(0.15), (0, 1))
    assert (contrast.epochs, contrast.updates, contrast.verdict) == (3, 9, "undecided")


@pytest.mark.parametrize("damage", ['"format": 2', '"images": 99', '"wrong": "***"'])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    write_errors(tmp_path, [VariantTests("x", (wrong_on("a", 0, [1]),))], "f")
    path = tmp_path / ERRORS
    name = damage.split(":")[0]
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if name in line)
    lines[place] = damage + ("," if lines[place].endswith(",") else "")
    path.write_text("\n".join(lines))
    with pytest.raises(RunError, match=r"errors\.json: is no table of errors by image .* writes it again\."):
        read_image_errors(tmp_path)


def published(values: tuple[tuple[float, ...], ...], *, seeds: int, experiment: str = "dropout") -> Published:
    names = [variant.name for variant in EXPERIMENTS[experiment].variants]
    outcomes = tuple(
        Outcome(name, tuple(range(len(each))), seeds, each, float(np.mean(each)), None, None, (-0.001, 0.001))
        for name, each in zip(names, values, strict=True)
    )
    recipe = {"name": "modern", "batches": {"size": 128}, "optimization": {"total_epochs": 4}}
    document = {
        "experiment": experiment,
        "seeds": seeds,
        "store": {"fingerprint": "f", "train": 4000},
        "recipe": recipe,
    }
    return Published("here", document, outcomes)


def test_one_seed_gets_no_verdict_and_says_why() -> None:
    (contrast,) = judge([published(((0.4,), (0.2,)), seeds=1)])
    assert (contrast.verdict, contrast.both, contrast.updates) == ("undecided (one seed)", None, 128)


def test_means_are_over_the_seeds_that_both_have() -> None:
    (contrast,) = judge([published(((0.40, 0.50, 0.90), (0.42, 0.52)), seeds=3)])
    assert (contrast.error, contrast.baseline) == (pytest.approx(0.47), pytest.approx(0.45))
    assert contrast.difference == pytest.approx(0.02)


def test_experiments_with_the_same_baseline_share_its_spread_and_the_correction() -> None:
    dropout = published(((0.40, 0.45), (0.30, 0.352)), seeds=2)
    activation = published(((0.40, 0.45), (0.40, 0.451)), seeds=2, experiment="activation")
    alone = judge([dropout])[0]
    together = judge([dropout, activation])
    assert [each.spread.freedom for each in (alone, *together)] == [1, 2, 2]
    assert together[0].both is not None
    assert together[0].corrected == pytest.approx(2 * together[0].both.p_value)
    assert [each.verdict for each in together] == ["lower", "undecided"]


def test_the_example_in_the_description_of_the_format_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import base64\n.*?)```", page, re.DOTALL)
    tied = wrong_on("a", 0, [0, 9, 19])
    tied.top1[4] = 0.25
    write_errors(tmp_path, [VariantTests("x", (tied,))], "f")
    monkeypatch.chdir(tmp_path)
    found: dict[str, np.ndarray] = {}
    exec(example, found)
    assert found["errors"].tolist() == tied.top1.tolist()
