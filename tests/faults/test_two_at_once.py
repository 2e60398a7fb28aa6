"""Two processes at once on the same files: one of them is refused with a sentence, or both are right."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet.data.store.reader import open_store
from alexnet.errors import SearchError
from alexnet.files.tensors import read_tensors
from alexnet.network.model_file import load_model
from alexnet.retrieval.index.reader import open_index
from faults.stages import SMALL, make_pictures

TESTS = Path(__file__).parents[1]
PREPARE = ("prepare", "PHOTOS", "--out", "STORE", "--size", "32", "--val-fraction", "0.34")
TRAIN = ("train", "STORE", *SMALL, "--no-report", "--threads", "1")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def begin(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "faults.command", *words], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(TESTS), "COLUMNS": "500"},
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    text = process.communicate(timeout=600)[0]
    assert "Traceback" not in text, text
    return process.returncode, text


def do(folder: Path, *words: str) -> str:
    code, text = finish(begin(folder, *words))
    assert code == 0, text
    return text


def wait_for(whether: Callable[[], bool]) -> None:
    last = time.monotonic() + 300
    while not whether():
        assert time.monotonic() < last
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_pictures(tmp_path / "PHOTOS")
    return tmp_path


def test_of_two_prepares_into_one_store_one_works_and_the_store_is_whole(folder: Path) -> None:
    ends = [finish(each) for each in [begin(folder, *PREPARE) for _ in range(3)]]
    assert any(code == 0 for code, _ in ends), ends
    for code, text in ends:
        assert code == 0 or "Another process is preparing STORE.partial." in text, text
    open_store(folder / "STORE").verify()
    assert not (folder / "STORE.partial").exists()


def test_of_two_trainings_into_one_run_one_works_and_gives_what_it_would_alone(folder: Path) -> None:
    do(folder, *PREPARE)
    do(folder, *TRAIN, "--epochs", "3", "--out", "ALONE")
    ends = [finish(each) for each in [begin(folder, *TRAIN, "--epochs", "3", "--out", "RUN") for _ in range(3)]]
    assert [code for code, _ in ends].count(0) == 1, ends
    for code, text in ends:
        assert code == 0 or "RUN: another process is training into it." in text or "holds a finished run" in text, text
    alone, together = (read_tensors(folder / name / "model.safetensors") for name in ("ALONE", "RUN"))
    assert all(np.array_equal(alone[name].numpy(), together[name].numpy()) for name in alone)
    assert len((folder / "RUN" / "metrics.jsonl").read_text().splitlines()) == 3


def test_an_index_that_is_read_while_it_grows_and_shrinks_is_whole_every_time(folder: Path) -> None:
    do(folder, *PREPARE)
    do(folder, *TRAIN, "--epochs", "1", "--out", "RUN")
    do(folder, "search", "index", "RUN", "PHOTOS/ant", "--out", "INDEX")
    script = (
        "from pathlib import Path\nfrom alexnet.evaluation.classifier import load\n"
        "from alexnet.network import dialects\nfrom faults.stages import tiny\n"
        "from alexnet.retrieval.index.images import choose_images\n"
        "from alexnet.retrieval.index.writer import add_images, remove_rows\n"
        "dialects.DIALECTS['tiny'] = tiny\nmodel = load(Path('RUN'), device='cpu')\n"
        "for _ in range(40):\n"
        "    add_images(Path('INDEX'), model, choose_images([Path('PHOTOS/bee')]))\n"
        "    remove_rows(Path('INDEX'), lambda index: index.labels.nonzero()[0] * 0 + len(index.labels) - 1)\n"
        "    remove_rows(Path('INDEX'), lambda index: __import__('numpy').arange(6, len(index.ids)))\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    sizes, refused = set(), []
    while writer.poll() is None:
        try:
            index = open_index(folder / "INDEX")
            rows = len(index.ids)
            assert rows == len(index.labels) == len(index.pixels) == sum(map(len, index.features)) == len(index.skip)
            assert (np.diff(index.ids) > 0).all()
            sizes.add(len(index))
        except SearchError as problem:
            refused.append(str(problem))
    said = writer.communicate()[1]
    assert writer.returncode == 0, said
    assert len(sizes) > 1, "it never changed under the reader"
    assert not [text for text in refused if "damaged" in text], refused[:3]


def test_a_model_in_use_stays_what_it_was_while_its_run_is_trained_anew(folder: Path) -> None:
    do(folder, *PREPARE)
    do(folder, *TRAIN, "--epochs", "1", "--out", "RUN")
    file = folder / "RUN" / "model.safetensors"
    held = load_model(file)
    before = {name: value.clone() for name, value in held.network.state_dict().items()}
    shutil.rmtree(folder / "RUN")
    again = begin(folder, *TRAIN, "--epochs", "2", "--seed", "1", "--out", "RUN")
    wait_for(lambda: file.exists() or again.poll() is not None)
    new = load_model(file)  # whole as soon as it is there
    assert finish(again)[0] == 0
    after = held.network.state_dict()
    assert all(np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)
    assert not all(np.array_equal(before[name].numpy(), new.network.state_dict()[name].numpy()) for name in before)


def test_a_training_whose_store_is_deleted_ends_with_a_sentence_and_goes_on_when_it_is_back(folder: Path) -> None:
    do(folder, *PREPARE)
    words = (*TRAIN, "--epochs", "200", "--out", "RUN", "--checkpoint-minutes", "1e-9")
    training = begin(folder, *words)
    metrics = folder / "RUN" / "metrics.jsonl"
    wait_for(lambda: training.poll() is not None or (metrics.exists() and metrics.read_bytes().count(b"\n") > 1))
    (folder / "STORE").rename(folder / "gone")
    code, text = finish(training)
    assert code == 0 or ("STORE" in text and "StoreError:" in text), text
    done = len(metrics.read_text().splitlines())
    (folder / "gone").rename(folder / "STORE")
    if code:
        assert "Continuing in epoch" in do(folder, *words)
    rows = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert rows == list(range(1, 201))
    assert done <= 200
