"""Stores, runs and indexes in a bucket, against a real server: whole ways, failures, writers and readers at once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import alexnet
from alexnet.cli import cli
from alexnet.errors import AddressError, Interrupted
from conftest import write_pictures
from remote.conftest import Storage

pytest.importorskip("moto")
TRAINING: dict[str, Any] = {"recipe": "cifar-80sec", "epochs": 2, "assignments": ["batches.size=4"], "report": False}
PREPARING: dict[str, Any] = {"size": 32, "shard_rows": 5}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for part, seed in (("train", 0), ("val", 1)):
        write_pictures(folder / part, per_class=6, classes=("x", "y"), seed=seed)
    return folder


def invoke(*words: object) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_whole_way_from_photographs_to_a_search_in_a_bucket(
    bucket: str, photos: Path, tmp_path: Path, another_machine: Callable[[], None]
) -> None:
    store, run, index = f"{bucket}/store", f"{bucket}/run", f"{bucket}/index"
    invoke("prepare", photos, "--out", store, "--size", 32)
    local = alexnet.prepare(photos, tmp_path / "store", size=32)
    another_machine()
    outcome = alexnet.train(store, run, **{**TRAINING, "report": True})
    own = alexnet.train(local.store, tmp_path / "run", **TRAINING)
    tensors, expected = load_file(outcome.folder / "model.safetensors"), load_file(own.folder / "model.safetensors")
    assert all(np.array_equal(tensors[name], expected[name]) for name in expected)
    another_machine()
    told = invoke("info", run)
    assert store in told
    assert str(tmp_path) not in told
    found = alexnet.evaluate(run, store, views=1)
    assert found.results[0].evaluation.images == 12
    assert not any("is not known" in doubt for doubt in found.doubts)
    assert "Report: " + run + "/report.html" in invoke("report", run)
    invoke("features", run, photos / "val", "--out", tmp_path / "features.npz")
    assert len(np.load(tmp_path / "features.npz")["paths"]) == 12
    assert invoke("search", "index", run, store, "--out", index).startswith(index)
    another_machine()
    answers = alexnet.search(index, [photos / "val" / "x" / "x-0.png"], k=3).answers
    assert answers[0].hits[0].distance == pytest.approx(0, abs=1e-3)
    assert answers[0].hits[0].entry.path == "val/x/x-0.png"
    assert "x-0.png" in invoke("predict", run, photos / "val" / "x" / "x-0.png")


def test_a_training_goes_on_from_its_address_on_another_machine_bit_for_bit(
    bucket: str, photos: Path, tmp_path: Path, another_machine: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = alexnet.prepare(photos, tmp_path / "store", **PREPARING).store
    whole = alexnet.train(store, tmp_path / "run", **TRAINING)
    from alexnet.runs.folder import Journal

    with monkeypatch.context() as killing:

        def die(journal: Journal, row: dict[str, Any]) -> None:
            raise KeyboardInterrupt

        killing.setattr(Journal, "record", die)
        with pytest.raises(Interrupted):
            alexnet.train(store, f"{bucket}/run", checkpoint_minutes=1e-9, **TRAINING)
    another_machine()
    assert "Continuing in epoch 1 after 3 batches" in invoke_training(store, f"{bucket}/run")
    continued = load_file(alexnet.load(f"{bucket}/run").path / "model.safetensors")
    expected = load_file(whole.folder / "model.safetensors")
    assert all(np.array_equal(continued[name], expected[name]) for name in expected)
    with pytest.raises(alexnet.AlexNetError, match=f"{bucket}/run: holds a finished run"):
        alexnet.train(store, f"{bucket}/run", **TRAINING)


def invoke_training(store: Path, out: str) -> str:
    return invoke(
        "train", store, "--out", out, "--recipe", "cifar-80sec", "--epochs", 2, "--set", "batches.size=4", "--no-report"
    )


@pytest.mark.parametrize("fault", ["busy", "cut", "slow"])
def test_what_may_pass_is_tried_again(fault: str, bucket: str, server: Storage, photos: Path, tmp_path: Path) -> None:
    local = alexnet.open_store(alexnet.prepare(photos, tmp_path / "store", **PREPARING).store)
    alexnet.prepare(photos, f"{bucket}/store", **PREPARING)
    server.fail({"method": "GET", "path": "images-00001.npy", "kind": fault, "times": 3, "seconds": 0.3},
                {"method": "GET", "path": "store.json", "kind": fault, "times": 2, "seconds": 0.3})  # fmt: skip
    store = alexnet.open_store(f"{bucket}/store")
    assert np.array_equal(store.images.take(range(12)), local.images.take(range(12)))
    if fault != "slow":
        assert sum("images-00001.npy" in each for each in server.log()) == 4
    server.fail({"method": "PUT", "path": ".npy", "kind": "busy", "times": 3})
    alexnet.prepare(photos, f"{bucket}/again", **PREPARING)
    assert alexnet.open_store(f"{bucket}/again").fingerprint == local.fingerprint


def test_what_does_not_pass_is_told_in_a_sentence(
    bucket: str, server: Storage, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    with pytest.raises(AddressError, match=r"^s3://no-such-bucket/store: there is nothing at this address"):
        alexnet.open_store("s3://no-such-bucket/store")
    with pytest.raises(
        AddressError,
        match=r"s3://no-such-bucket/store: cannot be written, there is no such file, folder or bucket \(The specified bucket does not exist",
    ):
        alexnet.prepare(photos, "s3://no-such-bucket/store", **PREPARING)
    server.fail(
        *({"method": method, "path": "", "kind": "forbidden", "times": 99} for method in ("GET", "HEAD", "PUT"))
    )
    for forbidden in (
        lambda: alexnet.open_store(f"{bucket}/store"),
        lambda: alexnet.prepare(photos, f"{bucket}/store", **PREPARING),
    ):
        with pytest.raises(
            AddressError,
            match=r"cannot be (read|written)\. You have no permission for it, or other credentials are needed \(",
        ):
            forbidden()
    server.fail()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(AddressError, match=r"cannot be read\. No credentials were found"):
        alexnet.open_store(f"{bucket}/store")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(AddressError, match=r"cannot be read\. It does not answer"):
        alexnet.open_store(f"{bucket}/store")


def test_a_reader_beside_a_writer_sees_nothing_or_a_whole_store(bucket: str, server: Storage, photos: Path) -> None:
    server.fail({"method": "PUT", "path": "/store.json", "kind": "slow", "seconds": 2, "times": 1})
    writer = threading.Thread(target=alexnet.prepare, args=(photos, f"{bucket}/store"), kwargs=PREPARING)
    writer.start()
    server.wait_for("PUT /store.json")
    with pytest.raises(AddressError, match="is being sent there, or its sending was interrupted"):
        alexnet.open_store(f"{bucket}/store")
    writer.join()
    store = alexnet.open_store(f"{bucket}/store")
    store.verify()
    assert len(store) == 12


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_that_opens_and_the_same_command_goes_on(
    bucket: str, server: Storage, photos: Path
) -> None:
    words = [sys.executable, "-m", "alexnet", "prepare", photos, "--out", f"{bucket}/store", "--size", "32"]
    server.fail({"method": "PUT", "path": "val/paths.jsonl", "kind": "slow", "seconds": 3, "times": 1})
    with subprocess.Popen(words, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        server.wait_for("PUT val/paths.jsonl")
        process.send_signal(signal.SIGKILL)
    with pytest.raises(AddressError, match="is being sent there, or its sending was interrupted"):
        alexnet.open_store(f"{bucket}/store")
    server.fail()
    done = subprocess.run(words, env=os.environ, capture_output=True, text=True, check=True)
    assert f"Train with: alexnet train {bucket}/store" in done.stderr
    assert "is already complete, made from these images with these options; " in done.stderr
    assert "what was missing there was sent, " in done.stderr
    sent = [each for each in server.log() if each.startswith("PUT")]
    assert not any("train/images-00000.npy" in each for each in sent)
    alexnet.open_store(f"{bucket}/store").verify()


def test_a_storage_that_is_away_for_a_while_does_not_end_a_training(
    bucket: str, server: Storage, photos: Path, tmp_path: Path
) -> None:
    store = alexnet.prepare(photos, tmp_path / "store", **PREPARING).store
    server.fail({"method": "PUT", "path": "latest.safetensors", "kind": "forbidden", "times": 1})
    told = invoke_training(store, f"{bucket}/run")
    assert "The checkpoint is saved on this machine, and sent with the next." in told
    assert len(alexnet.load(f"{bucket}/run").class_names) == 2


@pytest.mark.timeout(600)  # the engine starts twice
def test_a_cluster_of_this_machine_alone_reads_a_bucket(bucket: str, photos: Path, tmp_path: Path) -> None:
    """Files and numbers are those of one process. Other machines have another cache, and are not asked."""
    pytest.importorskip("ray")
    store, run = f"{bucket}/store", f"{bucket}/run"
    alexnet.prepare(photos, store, **PREPARING)
    alexnet.train(store, run, **TRAINING)
    options: Any = {"cluster": "local", "threads": 1}
    for place, how in (("alone", {"threads": 1}), ("nodes", options)):
        alexnet.evaluate(run, store, views=1, predictions=tmp_path / f"{place}.csv", **how)
        alexnet.index(run, store, tmp_path / place, **how)
    assert (tmp_path / "alone.csv").read_bytes() == (tmp_path / "nodes.csv").read_bytes()
    features = [sorted((tmp_path / place).rglob("features.npy")) for place in ("alone", "nodes")]
    assert features[0]
    assert [path.read_bytes() for path in features[0]] == [path.read_bytes() for path in features[1]]
    for words in (
        ("evaluate", run, store),
        ("reproduce", "views", "--store", store, "--out", tmp_path / "R"),
        ("train", store, "--folds", 2, "--out", tmp_path / "F"),
    ):
        with pytest.raises(AddressError, match=f"{bucket}/.* works on a disk. Copy it there"):
            CliRunner().invoke(
                cli, [*map(str, words), "--cluster", "host:1"], catch_exceptions=False, standalone_mode=False
            )
