"""A soak: a training, a server and a search run side by side for hours, while an index grows. Linux, extra `web`.

    python -m faults.soak --minutes 180 --out build/soak
    python -m faults.soak --out build/soak --report          the table of what is there so far

The training is of recipe cifar-11pct on scenes that the package draws. The server answers a picture every second, and
what is alike every tenth time. The search asks the index every five seconds, in one process. Every minute a process of
its own adds pictures to the index. Every ten seconds memory, open files and threads of the three processes are sampled.

The rule, written before the first run, but for medians in place of the most in the second point: a file that is being read
when a sample is taken is no growth. The first twentieth of the time, in which libraries load, is left out; the rest
is cut into quarters.

- Memory: its slope, anonymous pages alone, exceeds 8 MiB an hour by no more than two standard errors. Files that are
  mapped, as those of an index, are the system's to keep or drop; they are shown and not judged.
- Open files and threads: the median of the last quarter is no more than that of the first.
- Rate: images per second of the training's processor time, since others may use the machine. The medians of the first
  and the last quarter of the epochs differ by no more than the interquartile range of all epochs.
- Every answer of the server equals the first one. A search finds the indexed picture itself, at distance 0, in an index
  that never shrinks. No process ends before it is told to, and none writes a traceback.

Killed, it leaves what it sampled; the same command begins anew on the same files, and the training goes on in its run.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet.data.scenes.objects import OBJECTS
from alexnet.data.scenes.scenes import draw_scene

RECIPE = ("--recipe", "cifar-11pct", "--no-report", "--threads", "1")
SAMPLE_SECONDS, ASK_SECONDS, SEARCH_SECONDS, ADD_SECONDS = 10.0, 1.0, 5.0, 60.0
MOST_GROWTH = 8 * 2**20
"""Bytes an hour of memory that may be noise of an allocator."""
ADDED = 6
"""Pictures that the index grows by."""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "alexnet", *map(str, words)]


def draw(folder: Path, numbers: range, classes: int = len(OBJECTS)) -> None:
    """Scenes of 64 px as class folders."""
    for name in list(OBJECTS)[:classes]:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            place = folder / name / f"{number:06d}.png"
            if not place.exists():
                Image.fromarray(draw_scene(name, number, size=64)).save(place)


def prepare(out: Path, per_class: int) -> None:
    """What the three processes need, where it is not there: store, model, index."""
    for words in (
        ("prepare", "PHOTOS", "--out", "STORE", "--size", 32, "--val-fraction", 0.1),
        ("train", "STORE", *RECIPE, "--epochs", 1, "--out", "MODEL"),
        ("search", "index", "MODEL", "PHOTOS/" + next(iter(OBJECTS)), "--out", "INDEX", "--threads", 1),
    ):
        if not (out / str(words[words.index("--out") + 1])).exists():
            draw(out / "PHOTOS", range(per_class))
            subprocess.run(command(*words), cwd=out, check=True, stdout=subprocess.DEVNULL)


def processor_seconds(pid: int) -> float:
    """What a process has used so far, its ended children too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def measure(pid: int) -> dict[str, float]:
    """Memory in bytes, open files, threads and processor time of a process."""
    status = dict(re.findall(r"(\w+):\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))
    return {
        "memory": 1024 * int(status["RssAnon"]), "mapped": 1024 * int(status["RssFile"]),
        "files": len(os.listdir(f"/proc/{pid}/fd")), "threads": int(status["Threads"]),
        "processor": processor_seconds(pid),
    }  # fmt: skip


class Soak:
    """What runs, and the record of it: OUT/soak.jsonl, one line for each thing that was seen."""

    def __init__(self, out: Path, share: float, add_seconds: float) -> None:
        self.out = out
        self.share = share
        self.add_seconds = add_seconds
        self.start = time.monotonic()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._port = 0
        self._file = (out / "soak.jsonl").open("w")

    def tell(self, kind: str, **values: object) -> None:
        with self._lock:
            self._file.write(json.dumps({"kind": kind, "at": round(time.monotonic() - self.start, 2), **values}) + "\n")
            self._file.flush()

    def begin(self, name: str, words: list[str]) -> None:
        with (self.out / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(words, cwd=self.out, stdout=log, stderr=subprocess.STDOUT)

    def run(self, minutes: float) -> None:
        """Begin all of it, watch it until the time is over, and end it."""
        self.begin("serve", command("serve", "MODEL", "--index", "INDEX", "--port", 0, "--threads", 1))
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", (self.out / "serve.log").read_text())):
            if self.processes["serve"].poll() is not None:
                sys.exit((self.out / "serve.log").read_text())
            time.sleep(0.1)
        self._port = int(found[1])
        self.begin("search", [sys.executable, "-m", "faults.soak", "--search", "--out", str(self.out)])
        self.begin("train", command("train", "STORE", *RECIPE, "--epochs", 100_000, "--out", "RUN"))
        threads = [threading.Thread(target=work) for work in (self._ask, self._add, self._pause, self._watch_epochs)]
        for thread in threads:
            thread.start()
        try:
            while time.monotonic() - self.start < 60 * minutes:
                for name, process in self.processes.items():
                    if process.poll() is not None:
                        said = (self.out / f"{name}.log").read_text()[-500:]
                        self.tell("fault", what=f"{name} ended with {process.returncode}: {said}")
                        return
                    self.tell("sample", process=name, **measure(process.pid))
                time.sleep(SAMPLE_SECONDS)
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
            for name, process in self.processes.items():
                process.send_signal(signal.SIGINT)
                try:
                    self.tell("end", process=name, code=process.wait(60))
                except subprocess.TimeoutExpired:
                    process.kill()
                    self.tell("fault", what=f"{name} does not end on Ctrl-C")
                text = (self.out / f"{name}.log").read_text()
                if "Traceback" in text:
                    self.tell("fault", what=f"{name} wrote a traceback: {text[-500:]}")

    def _every(self, seconds: float) -> Iterator[int]:
        number = 0
        while not self._ended.wait(seconds):
            yield number
            number += 1

    def _ask(self) -> None:
        """Send one picture again and again, each time by a connection of its own."""
        picture = next((self.out / "PHOTOS").rglob("*.png")).read_bytes()
        first: dict[str, bytes] = {}
        for number in self._every(ASK_SECONDS):
            path = "/neighbours?k=3" if number % 10 == 9 else "/predict?views=10&top=10"
            begun = time.monotonic()
            try:
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)) as server:
                    server.request("POST", path, picture)
                    response = server.getresponse()
                    body = response.read()
            except OSError as problem:
                self.tell("fault", what=f"{path} is not answered: {problem}")
                continue
            self.tell("answer", path=path, seconds=round(time.monotonic() - begun, 4))
            if response.status != 200 or body != first.setdefault(path, body):
                self.tell("fault", what=f"{path} is answered otherwise: {response.status} {body[:300]!r}")

    def _add(self) -> None:
        """Add new pictures to the index, each time by a process of its own."""
        folder = self.out / "ADDED"
        for number in self._every(self.add_seconds):
            begin = ADDED * len(list(folder.rglob("*.png"))) + 10_000
            draw(folder / f"{begin:09d}", range(begin, begin + ADDED), classes=1)
            words = command("search", "add", "INDEX", folder / f"{begin:09d}", "--threads", 1, "--json")
            done = subprocess.run(words, cwd=self.out, capture_output=True, text=True, check=False)
            if done.returncode:
                self.tell("fault", what=f"search add {number}: {done.stderr[-500:]}")
            else:
                self.tell("added", **{name: value for name, value in json.loads(done.stdout).items() if name in ("images", "added")})  # fmt: skip

    def _pause(self) -> None:
        """Stop the training in turns, so that it takes no more than its share of a core."""
        process = self.processes["train"]
        while self.share < 1 and not self._ended.is_set() and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            self._ended.wait(1 - self.share)
            process.send_signal(signal.SIGCONT)
            self._ended.wait(self.share)

    def _watch_epochs(self) -> None:
        """Note the processor time at the end of each epoch."""
        metrics, process, seen = self.out / "RUN" / "metrics.jsonl", self.processes["train"], -1
        for _ in self._every(0.05):
            if process.poll() is None and metrics.exists() and (size := metrics.stat().st_size) != seen:
                if seen >= 0:
                    self.tell("epoch", processor=processor_seconds(process.pid))
                seen = size


def search(out: Path) -> None:
    """Ask an index that others change for a picture that is in it, forever."""
    import alexnet

    asked = next((out / "PHOTOS" / next(iter(OBJECTS))).glob("*.png"))
    rows = 0
    while True:
        index = alexnet.open_index(out / "INDEX")
        nearest = alexnet.search(index, asked, k=1, threads=1, device="cpu").answers[0].hits[0]
        if nearest.distance or not Path(nearest.entry.path).samefile(asked) or len(index) < rows:
            sys.exit(f"found {nearest} in {len(index)} images, after {rows}")
        rows = len(index)
        print(rows, flush=True)
        time.sleep(SEARCH_SECONDS)


def find_slope(hours: Any, values: Any) -> tuple[float, float]:
    """Slope of values and its standard error, of the means of blocks: neighbouring samples are not independent."""
    blocks = min(12, len(values))
    cut = [
        (np.mean(x), np.mean(y))
        for x, y in zip(np.array_split(hours, blocks), np.array_split(values, blocks), strict=True)
    ]
    x, y = np.array(cut).T
    x = x - x.mean()
    slope = (x * y).sum() / (x * x).sum()
    rest = y - y.mean() - slope * x
    return slope, float(np.sqrt((rest**2).sum() / (blocks - 2) / (x * x).sum()))


def judge(out: Path) -> int:
    """Print the table and what broke the rule; return how many things did."""
    rows = [json.loads(line) for line in (out / "soak.jsonl").read_text().splitlines() if line.endswith("}")]
    faults = [row["what"] for row in rows if row["kind"] == "fault"]
    length = max(row["at"] for row in rows if row["kind"] == "sample")
    rows = [row for row in rows if row["at"] > length / 20]
    print(f"{length / 60:.0f} minutes\n\n| | First quarter | Last quarter | Slope an hour |\n|---|---|---|---|")
    for name in ("train", "serve", "search"):
        mine = [row for row in rows if row["kind"] == "sample" and row["process"] == name]
        hours = np.array([row["at"] / 3600 for row in mine])
        for what, unit in (("memory", 2**20), ("mapped", 2**20), ("files", 1), ("threads", 1)):
            values = np.array([row[what] for row in mine], float)
            quarters = np.array_split(values, 4)
            slope, error = find_slope(hours, values)
            told = what if unit == 1 else f"{what}, MiB"
            print(f"| {name}, {told} | {quarters[0].mean() / unit:.1f} | {quarters[-1].mean() / unit:.1f} | {slope / unit:+.2f} ± {error / unit:.2f} |")  # fmt: skip
            if what == "memory" and slope - 2 * error > MOST_GROWTH:
                faults.append(f"memory of {name} grows by {slope / unit:.1f} MiB an hour")
            first, *_, last = (np.median(quarter) for quarter in quarters)
            if unit == 1 and last > first:
                faults.append(f"{what} of {name} grow from {first:.0f} to {last:.0f}")
    images = json.loads((out / "STORE" / "store.json").read_text())["splits"]["train"]["count"]
    rates = images / np.diff([row["processor"] for row in rows if row["kind"] == "epoch"])
    if len(rates) < 4:
        sys.exit(f"{len(rates)} epochs were measured; the table needs four or more.")
    first, *_, last = (np.median(quarter) for quarter in np.array_split(rates, 4))
    least, low, middle, high, most = np.quantile(rates, (0, 0.25, 0.5, 0.75, 1))
    print(f"| train, images per CPU-second | {first:.1f} | {last:.1f} | |\n\n{len(rates)} epochs: median {middle:.1f} images "
          f"per CPU-second, half of them between {low:.1f} and {high:.1f}, all between {least:.1f} and {most:.1f}")  # fmt: skip
    if abs(first - last) > high - low:
        faults.append(f"the rate goes from {first:.1f} to {last:.1f}")
    for path in sorted({row["path"] for row in rows if row["kind"] == "answer"}):
        seconds = [row["seconds"] for row in rows if row["kind"] == "answer" and row["path"] == path]
        print(f"{len(seconds):,} answers of {path}: median {np.median(seconds):.3f} s")
    added = [row for row in rows if row["kind"] == "added"]
    searches = (out / "search.log").read_text().split() or ["no", "no"]
    print(f"{len(added)} times added; {len(searches):,} searches in {searches[0]} to {searches[-1]} images")
    print("\n".join(f"FAILED: {fault}" for fault in faults) or "passed")
    return len(faults)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=180.0)
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    parser.add_argument("--images", type=int, default=300, help="of each class, nine tenths of them to train on")
    parser.add_argument("--share", type=float, default=1.0, help="of a core, which the training may take")
    parser.add_argument("--add-seconds", type=float, default=ADD_SECONDS, help="between two additions to the index")
    parser.add_argument("--report", action="store_true", help="only the table, also while it runs")
    parser.add_argument("--search", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    out = options.out.resolve()
    if options.search:
        # How it is told to end, also where a shell began it in the background, with this signal ignored.
        signal.signal(signal.SIGINT, lambda *_: os._exit(0))
        search(out)
    if not options.report:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("It was told to end."))  # and ends what it began
        out.mkdir(parents=True, exist_ok=True)
        prepare(out, options.images)
        Soak(out, options.share, options.add_seconds).run(options.minutes)
    sys.exit(judge(out) > 0)


if __name__ == "__main__":
    main()
