"""An index is given to other engines: they hold the same images and find the same neighbours."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.errors import ConfigError
from alexnet.retrieval.codes.encoding import load_codes
from alexnet.retrieval.exact import find_nearest
from alexnet.retrieval.index.exporting import ENGINES, export_index
from alexnet.retrieval.index.reader import Index, open_index
from alexnet.retrieval.index.writer import remove_rows
from alexnet.verbs import search_export


@pytest.fixture
def index(index_path: Path) -> Index:
    """The index with codes, without two of its images."""
    result = CliRunner().invoke(
        cli, ["search", "codes", str(index_path), "--bits", "16", "--method", "itq", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    remove_rows(index_path, lambda _: np.array([3, 8]))
    return open_index(index_path)


def nearest(index: Index, query: np.ndarray[Any, Any]) -> list[int]:
    found = find_nearest(index.features, query[None], 6, skip=index.skip)
    return [int(index.ids[row]) for row in found.rows[0]]


def test_a_parquet_file_holds_every_image_that_is_left(index: Index, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_index(index, "parquet", tmp_path / "images.parquet")
    table = parquet.read_table(tmp_path / "images.parquet")
    rows = index.rows()
    assert table.column_names == ["id", "path", "split", "class", "vector", "code_16"]
    assert table["id"].to_pylist() == [row for row in range(24) if row not in (3, 8)]
    assert table["path"].to_pylist() == [index.entry(row).path for row in rows.tolist()]
    assert table["class"].to_pylist() == [index.entry(row).label for row in rows.tolist()]
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float32), index.gather(rows))
    assert np.array_equal(np.array(table["code_16"].to_pylist(), np.uint8), load_codes(index, 16)[1][rows])
    made = json.loads(table.schema.metadata[b"alexnet"])
    assert made["features"]["layer"] == "fc6.relu"
    assert made["model"]["weights_sha256"] == index.header["model"]["weights_sha256"]


def test_a_lance_table_finds_the_same_by_features_and_by_codes(index: Index, tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb", reason="needs LanceDB, the extra lance")
    export_index(index, "lance", tmp_path / "table")
    assert [path.name for path in tmp_path.iterdir() if path.name != "index"] == ["table"]
    table = lancedb.connect(str(tmp_path / "table")).open_table("images")
    assert table.count_rows() == 22
    query = index.gather(np.array([5]))[0]
    by_features = table.search(query, vector_column_name="vector").distance_type("l2").limit(6).to_arrow()
    assert by_features["id"].to_pylist() == nearest(index, query)
    code = load_codes(index, 16)[1][5]
    by_codes = table.search(code, vector_column_name="code_16").distance_type("hamming").limit(22).to_arrow()
    equal = np.flatnonzero((load_codes(index, 16)[1] == code).all(1) & ~index.skip)
    assert set(by_codes["id"].to_pylist()[: len(equal)]) == set(equal.tolist())
    assert by_codes["_distance"].to_pylist()[: len(equal) + 1] != [0.0] * (len(equal) + 1)
    cats = table.search(query, vector_column_name="vector").where("class = 'cat'").limit(6).to_arrow()
    assert set(cats["class"].to_pylist()) == {"cat"}


def test_a_faiss_index_finds_the_same_ids(index: Index, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    remove_rows(index.path, lambda opened: np.arange(3))
    index = open_index(index.path)
    export_index(index, "faiss", tmp_path / "images.faiss")
    query = index.gather(np.array([5]))[0]
    _, ids = faiss.read_index(str(tmp_path / "images.faiss")).search(query[None], 6)
    assert ids[0].tolist() == nearest(index, query)


def test_the_command_says_what_it_wrote(index: Index, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    words = ["search", "export", str(index.path), "--to", "parquet", "--out", str(tmp_path / "images.parquet")]
    result = CliRunner().invoke(cli, words)
    assert result.stdout == f"{tmp_path / 'images.parquet'}: 22 images of 16 features for parquet.\n"
    again = CliRunner().invoke(cli, words)
    assert isinstance(again.exception, ConfigError)
    assert str(again.exception) == f"--out {tmp_path / 'images.parquet'}: exists. Choose another, or delete it."
    ignored = CliRunner().invoke(cli, [*words, "--faiss", "HNSW32,Flat"])
    assert ignored.exit_code == 2
    assert "--faiss says what faiss makes, and --to is parquet. Leave one of them out." in ignored.output


def test_a_missing_package_names_its_extra(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(ConfigError) as problem:
        export_index(index, "lance", tmp_path / "table")
    assert str(problem.value) == "this export needs the package lancedb. Install it: pip install 'alexnet[lance]'"
    assert not (tmp_path / "table").exists()


def test_the_command_knows_every_engine() -> None:
    assert search_export.ENGINES == ENGINES
