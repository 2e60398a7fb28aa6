"""The soak: what its rule lets pass and what not, and that it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults.soak import judge

TESTS = Path(__file__).parents[1]


def write_record(out: Path, *, leak: float = 0, more_files: int = 0, slower: float = 0, fault: str = "") -> None:
    """An hour of samples; leak is in bytes an hour, slower in processor seconds that an epoch takes more at the end."""
    rows: list[dict[str, Any]] = [{"kind": "fault", "at": 5.0, "what": fault}] if fault else []
    used = 0.0
    for number in range(360):
        at = 10.0 * number
        noise = 1000 * (number * 7919 % 13)
        for name in ("train", "serve", "search"):
            rows.append({"kind": "sample", "at": at, "process": name, "memory": 2**28 + noise + leak * at / 3600,
                         "mapped": 2**27, "files": 9 + more_files * (number > 300), "threads": 3})  # fmt: skip
        used += 2 + 0.1 * (number % 5) + slower * number / 360
        rows.append({"kind": "epoch", "at": at, "processor": used})
        rows.append({"kind": "answer", "at": at, "path": "/predict", "seconds": 0.02})
    (out / "soak.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "sam')
    (out / "STORE").mkdir()
    (out / "STORE" / "store.json").write_text('{"splits": {"train": {"count": 600}}}')
    (out / "search.log").write_text("6\n12\n")


def test_what_stays_as_it_is_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path, leak=2**20)
    assert judge(tmp_path) == 0
    told = capsys.readouterr().out
    assert "| train, files | 9.0 | 9.0 | +0.00 ± 0.00 |" in told
    assert "2 searches in 6 to 12 images\npassed\n" in told


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"leak": 20 * 2**20}, "FAILED: memory of serve grows by 20.0 MiB an hour"),
        ({"more_files": 1}, "FAILED: files of train grow from 9 to 10"),
        ({"slower": 1.0}, "FAILED: the rate goes from "),
        ({"fault": "/predict is answered otherwise"}, "FAILED: /predict is answered otherwise"),
    ],
)
def test_what_grows_or_breaks_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], what: str
) -> None:
    write_record(tmp_path, **given)
    assert judge(tmp_path) > 0
    assert what in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_minute_of_it_trains_serves_searches_and_grows(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    words = ["--minutes", "1.5", "--images", "20", "--add-seconds", "5", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "faults.soak", *words], env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "soak.jsonl").read_text().splitlines()]
    assert not [row for row in rows if row["kind"] == "fault"], done.stderr
    kinds = [row["kind"] for row in rows]
    assert min(kinds.count(kind) for kind in ("answer", "epoch", "added")) > 0
    assert [row["process"] for row in rows if row["kind"] == "end"] == ["serve", "search", "train"]
    assert "| train, images per CPU-second |" in done.stdout
