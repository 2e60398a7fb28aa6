"""A cable is pulled: two processes in network namespaces, and the link between them goes down."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from alexnet.distribution.launch import launch_variables

SECONDS = 150


def load_limited_link() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "limited_link.py"
    spec = importlib.util.spec_from_file_location("limited_link", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_processes_that_lose_the_link_end_with_one_message_each(small_store_path: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        pytest.skip("network namespaces need root and iproute2")
    link = load_limited_link()
    out = tmp_path / "run"
    command = [sys.executable, "-m", "alexnet", "train", str(small_store_path), "--out", str(out), "--timeout", "4",
               "--recipe", "cifar-80sec", "--set", "optimization.schedule=constant", "--set",
               "optimization.drop_epochs=[]", "--set", "optimization.total_epochs=1000", "--set", "batches.size=6",
               "--threads", "1", "--checkpoint-minutes", "1e-9"]  # fmt: skip
    with link.limited_link(1000) as names:
        processes = []
        for rank, name in enumerate(names):
            place = launch_variables(rank, 2, 29400, link.ADDRESSES[0]) | {
                "LOCAL_RANK": "0",
                "LOCAL_WORLD_SIZE": "1",
                "TORCHELASTIC_USE_AGENT_STORE": "False",
                "GLOO_SOCKET_IFNAME": link.DEVICE,
            }
            inside = ["ip", "netns", "exec", name, *command]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            processes.append(subprocess.Popen(inside, env=place, text=True, **pipes))
        try:
            end = time.monotonic() + SECONDS
            while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").read_text().count("\n") < 2:
                assert time.monotonic() < end
                time.sleep(0.1)
            link.ip("link", "set", link.DEVICE, "down", within=names[1])
            cut = time.monotonic()
            said = [process.communicate(timeout=SECONDS)[1] for process in processes]
            assert time.monotonic() - cut < 60
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    assert [process.returncode for process in processes] == [1, 1]
    for other, written in zip((1, 0), said, strict=True):
        assert "Traceback" not in written
        message = (
            f"DistributionError: rank {other} of 2 is gone, or has not answered for 4 s. The same command continues"
        )
        assert written.count(message) == 1, written
    assert (out / "checkpoints" / "latest.safetensors").exists()
