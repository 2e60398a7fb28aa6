"""The server: one client and many, beside testing on the same machine; and whether ten thousand answers are right.

The clients share the machine with the server, as they would on a desk; they do little else than send and receive.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from alexnet.batches.preprocessing import Preprocessing
from alexnet.benchmark.measure import Contender, Row, compare_rates, show_amounts
from alexnet.errors import ConfigError
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model
from alexnet.text.progress import Tick

MANY, ENDURING = 32, 64
"""Clients at a time: for the rate, and for the long run."""
FIRST = 1000
"""Answers of the long run after which memory is looked at for the first time."""
REQUESTS_PER_ROUND = 256
_SINGLE_REQUESTS = 32
_TOLERANCE = 0.02
"""How far a probability may lie from that of the same picture computed alone: bfloat16 rounds with the batch."""


def bench_serve(images: Sequence[bytes], rounds: int, tick: Tick, *, requests: int = 10_000) -> list[Row]:
    """Return rows of requests per second of one and of MANY clients, and of a long run of ENDURING clients.

    One client is compared with decoding and predicting in one process, without HTTP. MANY are compared with what
    `alexnet evaluate` computes of the decoded images of a store, one view, and with `alexnet predict`, which decodes
    files one after the other. A server has to decode too: its ceiling is the same computing and decoding, both on all
    cores, and nothing else. The long run counts answers that were lost or of another picture, and connections that were
    reset; its memory is compared with that after the first thousand.

    Args:
        images: Files of pictures.
        requests: Of the long run.
    Raises:
        ConfigError: the server does not start; its words are in the message.
    """
    one: list[float] = []
    many: list[float] = []
    in_process: list[float] = []
    evaluated: list[float] = []
    from_files: list[float] = []
    ceilings: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = _write_model(folder / "model.safetensors")
        (folder / "pictures").mkdir()
        for number, data in enumerate(images):
            (folder / "pictures" / f"{number:04d}").write_bytes(data)
        options = {"model": str(model), "pictures": str(folder / "pictures")}
        with (
            _server(model) as (process, port),
            Contender("ours-single-predictions", **options) as alone,
            Contender("ours-evaluation", **options) as evaluating,
        ):
            for number in range(rounds):
                in_process.append(len(images) / alone.seconds())
                one.append(ask_many(port, images, 1, _SINGLE_REQUESTS).rate)
                evaluating.seconds()
                evaluated.append(float(evaluating.value["from_store"]))
                from_files.append(float(evaluating.value["from_files"]))
                ceilings.append(1 / (1 / evaluated[-1] + 1 / float(evaluating.value["decoding"])))
                many.append(ask_many(port, images, MANY, REQUESTS_PER_ROUND).rate)
                tick(number + 1, rounds + 1)
            expected = [each[0] for each in ask_many(port, images, 1, len(images)).answers]
            first = ask_many(port, images, ENDURING, min(FIRST, requests))
            bytes_at_first = _resident_bytes(process.pid)
            rest = ask_many(port, images, ENDURING, max(0, requests - FIRST))
            bytes_at_end = _resident_bytes(process.pid)
    tick(rounds + 1, rounds + 1)
    lost = requests - sum(map(len, [*first.answers, *rest.answers]))
    exchanged = count_exchanged(expected, first.answers) + count_exchanged(expected, rest.answers)
    long_run = f"{ENDURING} clients, {requests:,} requests"
    return [
        compare_rates("1 client : in one process", one, in_process, unit="requests/s"),
        compare_rates(
            f"{MANY} clients : evaluate",
            many,
            evaluated,
            ceiling=median(ceilings),
            ceiling_of="computing and decoding",
            unit="requests/s",
        ),
        compare_rates(f"{MANY} clients : predict on files", many, from_files, unit="requests/s"),
        compare_rates(long_run, [rest.rate or first.rate], None, unit="requests/s"),
        show_amounts(f"{long_run}: lost", lost, unit="answers"),
        show_amounts(f"{long_run}: of another picture", exchanged, unit="answers"),
        show_amounts(f"{long_run}: resets", first.resets + rest.resets, unit="connections"),
        show_amounts(f"memory at the end : after {FIRST:,}", bytes_at_end / 2**30, bytes_at_first / 2**30, unit="GiB"),
    ]


def _write_model(path: Path) -> Path:
    """Write the paper's network with weights that give every picture another answer."""
    names = tuple(f"class {number}" for number in range(1000))
    preprocessing = Preprocessing(np.full((256, 256, 3), 120, np.float32), 60.0)
    save_model(path, Model(build("paper", 1000, initialization="he"), names, names, preprocessing, {}))
    return path


@contextmanager
def _server(model: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """`alexnet serve` in a process of its own, and its port."""
    command = [sys.executable, "-m", "alexnet", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r":(\d+)/", process.stdout.readline())
        try:
            if not found:
                assert process.stderr
                raise ConfigError(f"the server does not start. It says: {process.stderr.read().strip()}")
            yield process, int(found[1])
        finally:
            process.terminate()
            process.communicate()


@dataclass(slots=True)
class Load:
    """What some clients met."""

    seconds: float = 0.0
    answers: list[list[dict[str, float]]] = field(default_factory=list)
    """For each picture the answers that it got: class to probability."""
    resets: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return sum(map(len, self.answers)) / self.seconds if self.seconds else 0.0


def ask_many(port: int, images: Sequence[bytes], clients: int, requests: int) -> Load:
    """Let clients ask, each for one picture after another over a connection of its own, all pictures in turn."""
    load = Load(answers=[[] for _ in images])
    bodies: list[tuple[int, bytes]] = []
    remaining = iter(range(requests))

    async def client() -> None:
        reader: Any = None
        writer: Any = None
        for number in remaining:
            picture = number % len(images)
            head = f"POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(images[picture])}\r\n\r\n"
            try:
                while True:
                    if writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(head.encode() + images[picture])
                    said = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", said, re.IGNORECASE)
                    body = await reader.readexactly(int(length[1]) if length else 0)
                    if not said.startswith(b"HTTP/1.1 503"):
                        break
                    await asyncio.sleep(1)
                if said.startswith(b"HTTP/1.1 200"):
                    bodies.append((picture, body))
            except (OSError, asyncio.IncompleteReadError):
                load.resets += 1
                writer = None
        if writer is not None:
            writer.close()

    async def run() -> None:
        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        load.seconds = time.perf_counter() - start

    asyncio.run(run())
    for picture, body in bodies:
        best = json.loads(body)["images"][0]["top"]
        load.answers[picture].append({each["name"]: each["probability"] for each in best})
    return load


def count_exchanged(expected: Sequence[dict[str, float]], answers: Sequence[Sequence[dict[str, float]]]) -> int:
    """Return how many answers are not those of their own picture.

    Args:
        expected: The answer of each picture when it was asked for alone.
        answers: For each picture those that came later; a probability may differ by rounding.
    """

    def differs(one: dict[str, float], other: dict[str, float]) -> bool:
        best = max(one, key=one.__getitem__)
        return abs(one[best] - other.get(best, 0.0)) > _TOLERANCE

    return sum(differs(own, each) for own, got in zip(expected, answers, strict=True) for each in got)


def _resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found
    return 1024 * int(found[1])
