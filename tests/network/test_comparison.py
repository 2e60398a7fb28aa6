"""The tables of `alexnet info` and docs/dialects.md come from the specs."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.description.describe import describe
from alexnet.description.dialects import compare
from alexnet.errors import AlexNetError
from alexnet.network.comparison import draw_taps, tabulate_costs, tabulate_differences
from alexnet.network.dialects import find_dialect

DOCS = Path(__file__).parents[2] / "docs"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


def test_the_page_of_dialects_is_what_the_code_says() -> None:
    committed = (DOCS / "dialects.md").read_text(encoding="utf-8")
    assert committed == load_generator().dialects_page(), "docs/dialects.md is out of date. Run: make docs"


def test_the_page_of_results_is_what_their_files_say() -> None:
    committed = (DOCS / "results" / "README.md").read_text(encoding="utf-8")
    assert committed == load_generator().results_page(), "docs/results/README.md is out of date. Run: make docs"
    for name in re.findall(r"\.\./(images/[^)]+)", committed):
        assert (DOCS / name).is_file(), f"docs/{name} is missing. Run: make figures"


@pytest.mark.parametrize(
    ("name", "page"),
    [("results.md", "answers_page"), ("results/speed.md", "speed_page"), ("results/retrieval.md", "retrieval_page")],
)
def test_what_is_said_of_results_is_computed_from_what_is_committed(name: str, page: str) -> None:
    committed = (DOCS / name).read_text(encoding="utf-8")
    assert committed == getattr(load_generator(), page)(), f"docs/{name} is out of date. Run: make docs"
    assert committed.count("\n") <= 150


def test_numbers_of_results_that_were_computed_by_other_means() -> None:
    """By scipy and numpy from the same files, once: they change only if the files or the method do."""
    committed = " ".join((DOCS / "results.md").read_text(encoding="utf-8").split())
    for sentence in (
        "Another seed changes a paired difference by 1.8 points (standard deviation, 20 degrees of freedom).",
        "Uncorrected, 6 of 18 contrasts on Imagenette exclude zero.",
        "it looks like 1.3 points",
        "| dropout | no dropout | imagenette | 500 (4) | 2 | -10.1 | -13.2 to -7.1 | < 0.001 | < 0.001 | lower |",
        "| pooling | pools of 2, paddings kept | imagenette | 500 (4) | 2 | +2.1 | -0.7 to +5.0 | 0.136 | 1.000 |",
        "it is at 28.69 % after 30 epochs and fell by 0.4 points an epoch over the last ten.",
        "| lower | -1.6 points (-2.0 to -1.2) | 3 averages without a common network: -1.5, -1.4, -1.8. One network has 23.96 %.",
        "without it -0.3 points in ten views, +0.5 in one; the network of 13 % -0.4, +0.9",
    ):
        assert sentence in committed, sentence
    experiments = (DOCS / "results" / "README.md").read_text(encoding="utf-8")
    assert "| pools of 2, paddings kept | 2 of 3 | 47.80 % | 0.28 % | 9.93 % | 45.67 % | +2.1 |" in experiments


def test_no_number_of_the_page_of_results_is_written_by_hand() -> None:
    """Its words have numbers of the paper, of recipes, of rules and of commands alone; measured ones are filled in."""
    words = (DOCS / "results.template").read_text(encoding="utf-8").partition("## The commands")[0]
    words = re.sub(r"\{\w+\}|\]\([^)]*\)|fc\d|CIFAR-\d+|[Ff]igure 1|[Tt]able \d|bfloat16|<!--.*?-->", "", words)
    allowed = {
        *("90", "1.2", "4,000", "0.4", "2", "0.05", "25", "11", "13"),  # the paper's, the set's and the rule's
        *("0", "1.1", "0.48", "2,048", "2012", "6", "24", "2.13", "0.01", "4"),  # of seeds, recipes, the machine
    }
    assert set(re.findall(r"\d[\d.,]*\d|\d", words)) <= allowed


def test_the_tables_of_scaling_are_what_the_records_and_the_model_say() -> None:
    committed = (DOCS / "scaling.md").read_text(encoding="utf-8")
    assert committed == load_generator().scaling_page(), "docs/scaling.md is out of date. Run: make docs"


def test_differences_are_those_of_the_sources_and_agreements_are_left_out() -> None:
    rows = {row[0]: row[1:] for row in tabulate_differences([find_dialect(n, 1000) for n in ("paper", "source-2012")])}
    assert set(rows) == {
        "conv1: then", "conv2: then", "conv5: then",
        "conv3: first weights, bias", "conv4: first weights, bias", "conv5: first weights, bias",
    }  # fmt: skip
    assert rows["conv1: then"] == [
        "relu, norm 5 (k 2, alpha 0.0001, beta 0.75), max pool 3/2",
        "norm 5 in the tower (k 2, alpha 2e-05, beta 0.75), max pool 3/2, relu",
    ]
    assert rows["conv3: first weights, bias"] == ["0.01, 0", "0.03, 0"]


def test_a_layer_that_only_one_dialect_has_stands_where_it_belongs() -> None:
    rows = tabulate_differences([find_dialect(name, 10) for name in ("paper", "paper+conv6")])
    assert [row for row in rows if row[0] == "conv6: kernels"] == [["conv6: kernels", "–", "256"]]
    assert tabulate_differences([find_dialect("paper", 10)] * 2) == []


def test_costs_add_up_and_memory_is_four_bytes_a_number() -> None:
    columns, rows = tabulate_costs(find_dialect("paper", 1000))
    assert columns == ["layer", "neurons", "parameters", "multiply-adds", "weights MiB", "per image MiB"]
    assert rows[-1] == ["total", "659,272", "60,965,224", "724,406,816", f"{60_965_224 * 4 / 2**20:.2f}", "7.34"]
    kept = 3 * 290_400 + 69_984 + 3 * 186_624 + 43_264 + 4 * 64_896 + 2 * 43_264 + 9_216 + 6 * 4_096 + 1_000
    assert rows[-1][-1] == f"{4 * kept / 2**20:.2f}"


def test_info_compares_dialects_and_says_what_it_needs() -> None:
    table = compare(["paper", "caffe+no-norm"])
    assert table.values["differences"]["input"] == ["224 x 224", "227 x 227"]
    values = describe("paper+without=conv4").values
    assert values["parameters"] == 60_301_288
    assert values["spec"]["dialect"] == "paper+without=conv4"


def test_the_picture_names_every_tap_once() -> None:
    picture = draw_taps(find_dialect("source-2012", 1000))
    assert (
        "[conv2] -> [conv2.relu] -> [conv2.norm] -> [conv2.map_norm] -> [conv2.pool]   256 x 27 x 27 -> 256 x 13 x 13"
        in picture
    )
    assert picture.count("[fc7.dropout]") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--compare", "paper"], 2, "--compare needs two dialects or more; given was paper."),
        (["paper", "caffe"], 2, "Name one thing, or give --compare with several dialects."),
        (["paper+no-norms"], 2, "unknown modifier 'no-norms'. Known: no-norm, "),
    ],
)
def test_the_command_says_what_it_needs(arguments: list[str], code: int, message: str) -> None:
    done = CliRunner().invoke(cli, ["info", *arguments])
    assert done.exit_code == (1 if isinstance(done.exception, AlexNetError) else code)
    assert message in (str(done.exception) if isinstance(done.exception, AlexNetError) else done.output)
    assert getattr(done.exception, "exit_code", code) == code


def test_the_command_compares_as_a_table_and_as_json() -> None:
    text = CliRunner().invoke(cli, ["info", "--compare", "paper", "source-2012"]).output
    assert text.startswith("Where they differ")
    values = json.loads(CliRunner().invoke(cli, ["info", "--compare", "paper", "source-2012", "--json"]).stdout)
    assert values["differences"]["conv4: first weights, bias"] == ["0.01, 1", "0.03, 1"]
