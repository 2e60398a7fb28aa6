"""What nodes of a cluster do together is, to the byte, what one machine does; also where one of them is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import alexnet
from alexnet.cli import cli
from alexnet.cluster import parts
from alexnet.data.prepare.prepare import prepare
from alexnet.errors import ConfigError, StoreError
from alexnet.evaluation.confident_learning import read_out_of_fold
from alexnet.network.model_file import save_model
from alexnet.reproduction import carry_out
from alexnet.reproduction.outlook import Cost
from alexnet.reproduction.worker import run_job
from alexnet.system import available_cores
from exchange.miniature import CLASSES, everything, make_model
from retrieval.conftest import draw_picture

pytestmark = pytest.mark.timeout(900)  # a minute, where other programs leave it the cores
PARTS: dict[str, Any] = {"size": 64, "shard_rows": 2, "val_fraction": 0.25}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that take some time to decode, one of which is none."""
    root = tmp_path_factory.mktemp("photos") / "PHOTOS"
    generator = np.random.default_rng(0)
    for number in range(64):
        folder = root / ("ant", "bee")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((3600, 2400)).save(folder / f"{number:02d}.jpg")
    (root / "bee" / "no.jpg").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def alone(photos: Path) -> Path:
    prepare(photos, photos.parent / "ALONE", **PARTS)
    return photos.parent / "ALONE"


def start(photos: Path, out: Path, address: str) -> subprocess.Popen[str]:
    """Start preparing, and wait until something is finished."""
    words = ["prepare", photos, "--out", out, "--size", "64", "--val-fraction", "0.25", "--cluster", address, "--json"]
    code = "import sys; from alexnet.data.prepare import prepare; prepare.rows_per_shard = lambda size: 2; import alexnet.cli as a; a.main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    last = time.monotonic() + 300
    while len(list(Path(f"{out}.partial", "parts").glob("*.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < last
        time.sleep(0.02)
    return process


def test_a_store_is_the_same_where_a_node_is_lost_and_another_one_joins(
    nodes: Any, photos: Path, alone: Path, tmp_path: Path
) -> None:
    process = start(photos, tmp_path / "STORE", nodes.address)
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    nodes.add_node(num_cpus=1, object_store_memory=2**27)
    said, warned = process.communicate(timeout=300)
    assert process.returncode == 0, warned
    assert json.loads(said)["num_missing"] == 0
    assert len(json.loads(said)["skipped"]) == 1
    assert contents(tmp_path / "STORE") == contents(alone)
    assert not (tmp_path / "STORE.partial").exists()


def test_a_command_that_was_killed_goes_on(nodes: Any, photos: Path, alone: Path, tmp_path: Path) -> None:
    first = start(photos, tmp_path / "STORE", nodes.address)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "STORE").exists()
    told = []
    report = prepare(
        photos, tmp_path / "STORE", cluster=nodes.address, progress=lambda *each: told.append(each), **PARTS
    )
    assert report.num_continued >= 4
    assert told[-1] == (65, 65, 1)
    assert contents(tmp_path / "STORE") == contents(alone)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a store of 32 px, and pictures one of which is none."""
    root = tmp_path_factory.mktemp("scene")
    save_model(root / "model.safetensors", make_model(everything()))
    for number in range(40):
        folder = root / "PHOTOS" / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        draw_picture(number).save(folder / f"{number:02d}.png")
    (root / "PHOTOS" / "bee" / "no.png").write_bytes(b"no picture")
    prepare(root / "PHOTOS", root / "STORE", size=32, val_fraction=0.4)
    return root


def test_tests_indexes_and_features_are_those_of_one_machine(
    nodes: Any, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_IMAGES", 8)
    given: Any = (scene / "model.safetensors", scene / "PHOTOS")
    how: Any = {"threads": 1, "precision": "float32"}
    alone, shared = (alexnet.evaluate(*given, views=1, cluster=each, **how) for each in (None, nodes.address))
    assert shared.to_json() == alone.to_json()
    np.testing.assert_array_equal(shared.trial.probabilities, alone.trial.probabilities)
    for name, cluster in (("ALONE", None), ("SHARED", nodes.address)):
        alexnet.index(*given, tmp_path / name, batch_size=4, cluster=cluster, **how)
        alexnet.features(*given, tmp_path / f"{name}.npz", batch_size=4, cluster=cluster, **how)
    assert contents(tmp_path / "SHARED") == contents(tmp_path / "ALONE")
    assert (tmp_path / "SHARED.npz").read_bytes() == (tmp_path / "ALONE.npz").read_bytes()


def test_folds_and_experiments_are_those_of_one_machine(
    nodes: Any, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node is lost in the middle of the experiments' trainings."""
    monkeypatch.setattr(carry_out, "measure_cost", lambda *what: Cost(1.0, 0.01, {1: 0.01, 10: 0.1}))
    changes = ["optimization.drop_epochs=[]", "optimization.schedule=constant", "batches.size=6"]
    small = ["--recipe", "cifar-80sec", "--threads", "1", "--precision", "float32"]
    small += [word for change in changes for word in ("--set", change)]
    for name, cluster in (("alone", []), ("shared", ["--cluster", nodes.address])):
        result = call("train", scene / "STORE", "--folds", 2, "--epochs", 1, *small, "--out", tmp_path / name, *cluster)
        assert result.exit_code == 0, result.exception
    found = [read_out_of_fold(tmp_path / name).probabilities for name in ("alone", "shared")]
    np.testing.assert_array_equal(*found)
    out = tmp_path / "out"
    loss = threading.Thread(target=lose_node, args=(nodes, lambda: list(out.rglob("metrics.jsonl"))))
    loss.start()
    words = ["reproduce", "activation", "--store", scene / "STORE", "--epochs", 4, *small, "--out", out]
    result = call(*words, "--cluster", nodes.address)
    loss.join()
    nodes.add_node(num_cpus=1, object_store_memory=2**27)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Not done" not in result.output
    description = min((out / "runs").glob("*.json"))
    run_job(json.loads(description.read_bytes()) | {"folder": str(tmp_path / "again"), "device": "cpu"})
    shared, alone = (
        json.loads((folder / "result.json").read_bytes())["views"]
        for folder in (description.with_suffix(""), tmp_path / "again")
    )
    assert shared == alone


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


def lose_node(nodes: Any, when: Any) -> None:
    """Kill a node as soon as something is true, which a thread may do; adding one may not."""
    last = time.monotonic() + 300
    while not when() and time.monotonic() < last:
        time.sleep(0.05)
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)


def test_an_error_of_a_part_is_told_as_on_one_machine(nodes: Any, scene: Path, tmp_path: Path) -> None:
    shutil.copytree(scene / "STORE", tmp_path / "STORE")
    shard = max((tmp_path / "STORE").rglob("*.npy"), key=lambda path: path.stat().st_size)
    os.truncate(shard, shard.stat().st_size - 5000)
    said = []
    for cluster in (None, nodes.address):
        with pytest.raises(StoreError) as caught:
            alexnet.index(scene / "model.safetensors", tmp_path / "STORE", tmp_path / "INDEX", cluster=cluster)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_what_no_node_can_do_is_refused(nodes: Any, scene: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(scene / "PHOTOS", tmp_path / "S", size=16, val_fraction=0.4, workers=64, cluster=nodes.address)
    assert str(caught.value) == (
        "no node of the cluster has 64 cores for a part of the work; the largest has 1. Give fewer: --threads."
    )
    assert not (tmp_path / "S.partial").exists()


def test_a_cluster_of_this_machine_alone_listens_to_nobody_else() -> None:
    """And where no cluster is, the error says how to start one."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    code = (
        "import signal; from alexnet.cluster.nodes import join_cluster\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "with join_cluster('local'):\n"
        "    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN\n"
        "    import psutil; me = psutil.Process(); own = [me, *me.children(recursive=True)]\n"
        "    print(*{each.laddr.ip for one in own for each in one.net_connections('inet')})\n"
        "    print(len(own))\n"
        "with join_cluster('localhost:1'): pass"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *addresses, number = ended.stdout.split()
    assert set(addresses) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert int(number) > 3
    assert "DistributionError: --cluster localhost:1: no cluster answers there" in ended.stderr


@pytest.mark.parametrize("with_token", [False, True])
def test_a_cluster_that_was_started_by_hand_is_joined_with_its_token_if_it_has_one(
    tmp_path: Path, with_token: bool
) -> None:
    """Also by a program that was in a cluster of its own before."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment["HOME"] = str(tmp_path)
    if with_token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("ab" * 32)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        *("start", "--head", "--block", "--disable-usage-stats", f"--port={port}"),
        *("--num-cpus=3", "--include-dashboard=false", f"--object-store-memory={2**27}"),
    ]
    code = (
        "from alexnet.cluster.nodes import join_cluster\n"
        f"for address in ('local', '127.0.0.1:{port}'):\n"
        "    with join_cluster(address, threads=1) as it: print(it.slots)"
    )
    with (tmp_path / "log").open("w") as log:
        head = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), *words], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            last = time.monotonic() + 120
            while "Ray runtime started" not in (tmp_path / "log").read_text():
                assert head.poll() is None
                assert time.monotonic() < last
                time.sleep(0.2)
            ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        finally:
            head.terminate()
            head.wait(60)
    assert (ended.returncode, ended.stdout) == (0, f"{available_cores()}\n3\n"), ended.stderr
    assert (tmp_path / ".ray" / "auth_token").exists() == with_token
