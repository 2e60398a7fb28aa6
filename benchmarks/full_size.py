"""Every stage at ImageNet's size on one machine: time, processor time, peak memory, files and bytes.

    python benchmarks/full_size.py make PHOTOS --images 1281167
    python benchmarks/full_size.py run PHOTOS WORK --stages all
    python benchmarks/full_size.py record WORK [WORK ...] --out benchmarks/records

`make` draws the pictures (full_size_pictures.py says how). `run` calls the command `alexnet` for each stage, with one
thread, and appends a line to WORK/stages.jsonl; a stage that is there already is not run again. Stages with kills are
stopped by SIGKILL that often, and called again. Peak memory is VmHWM of the processes at work, looked at five times a
second; "anonymous", the largest that was seen, leaves out files that are mapped into memory, whose pages the system
takes back when it needs them.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from full_size_pictures import CLASSES, make_pictures, plan_copies

from alexnet.benchmark.suite import write_record
from alexnet.errors import AlexNetError
from alexnet.runs.folder import CHECKPOINTS, LATEST, MODEL
from alexnet.training.progress import read_progress

RECORD = "stages.jsonl"
SIZE_PX, DIALECT, LAYER, BITS = 40, "cifar-80sec", "conv3.pool", 128
LIST = "import sys; from alexnet.data.sources.kinds import find_images; find_images(sys.argv[1])"
PAUSE_S = 0.2

Reached = Callable[[], bool]


@dataclass
class Usage:
    """What a command took, over all of its attempts."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    anonymous_mib: float = 0.0
    kills: int = 0
    output: str = field(default="", repr=False)


def call(words: Sequence[object], log: Path, kept: Path, kills: Sequence[Reached] = ()) -> Usage:
    """Run a command until it ends by itself; it is killed once when each of `kills` is reached, and called again.

    Args:
        kept: What the attempts took so far, should this program be stopped too.
    """
    usage = Usage(**json.loads(kept.read_text(encoding="ascii"))) if kept.exists() else Usage()
    waiting = list(kills)[usage.kills :]
    while True:
        started = time.perf_counter()
        with log.open("ab") as errors, kept.with_suffix(".out").open("wb+") as output:
            process = subprocess.Popen(list(map(str, words)), stdout=output, stderr=errors, start_new_session=True)
            status: int | None = None
            while status is None:
                time.sleep(PAUSE_S)
                resident, anonymous = measure_tree(process.pid)
                usage.peak_mib = max(usage.peak_mib, resident)
                usage.anonymous_mib = max(usage.anonymous_mib, anonymous)
                if waiting and waiting[0]():
                    os.killpg(process.pid, signal.SIGKILL)
                pid, code, used = os.wait4(process.pid, os.WNOHANG)
                status = code if pid else None
            output.seek(0)
            usage.output = output.read().decode()
        usage.seconds += time.perf_counter() - started
        usage.cpu_seconds += used.ru_utime + used.ru_stime
        if status == 0:
            kept.unlink(missing_ok=True)
            return usage
        if not (os.WIFSIGNALED(status) and waiting):
            raise SystemExit(f"{' '.join(map(str, words))} ended with {status}; see {log}")
        del waiting[0]
        usage.kills += 1
        kept.write_text(json.dumps(vars(usage)), encoding="ascii")


def measure_tree(pid: int) -> tuple[float, float]:
    """Return the peaks of resident memory of a process and all below it, and their anonymous memory now, in MiB."""
    sums = [0.0, 0.0]
    for each in list_tree(pid):
        try:
            status = Path(f"/proc/{each}/status").read_text(encoding="ascii")
        except OSError:
            continue
        lines = dict(line.split(":", 1) for line in status.splitlines())
        for place, name in enumerate(("VmHWM", "RssAnon")):
            sums[place] += int(lines.get(name, "0").split()[0]) / 1024
    return sums[0], sums[1]


def list_tree(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in children:
        yield from list_tree(int(child))


def measure_files(path: Path) -> tuple[int, int]:
    """Files below a folder, and their bytes."""
    if path.is_file():
        return 1, path.stat().st_size
    sizes = [os.path.getsize(f"{top}/{name}") for top, _, names in os.walk(path) for name in names]
    return len(sizes), sum(sizes)


class Rehearsal:
    """The stages on one set of pictures, in a folder of their own."""

    def __init__(self, photos: Path, work: Path) -> None:
        self.photos, self.work = photos, work
        self.images: int = json.loads(photos.with_suffix(".json").read_text(encoding="ascii"))["images"]
        self.store, self.run, self.index = work / "store", work / "run", work / "index"

    def stages(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """Name -> the stage, in their order."""
        return {
            "list": self.list_files,
            "prepare": self.prepare,
            "verify": lambda: self.measure("verify", "info", self.store, "--verify"),
            "train": self.train,
            "train again": self.train_again,
            "evaluate": self.evaluate,
            "report": lambda: self.measure("report", "report", self.run, "--threads", 1, made=self.run / "report.html"),
            "index": self.make_index,
            "codes": lambda: self.measure("codes", "search", "codes", self.index, "--bits", BITS, "--threads", 1),
            "query": lambda: self.query(),
            "query codes": lambda: self.query("--bits", BITS),
            "duplicates": self.find_duplicates,
            "describe": self.describe,
        }

    def measure(
        self, stage: str, *words: object, made: Path | None = None, kills: Sequence[Reached] = (), more: Any = None
    ) -> dict[str, Any]:
        """Run `alexnet` with these words and return the row of the stage."""
        usage = call([sys.executable, "-m", "alexnet", *words], self.work / "log", self.work / f"{stage}.json", kills)
        return self.row(stage, usage, made, **(more(usage.output) if more else {}))

    def row(self, stage: str, usage: Usage, made: Path | None = None, **more: Any) -> dict[str, Any]:
        """Return what a stage took, and what it left."""
        files, size = measure_files(made) if made else (0, 0)
        return {
            "what": stage,
            "images": self.images,
            **{name: round(value, 1) for name, value in vars(usage).items() if isinstance(value, float)},
            "kills": usage.kills,
            "files": files,
            "bytes": size,
            "load": round(os.getloadavg()[0], 1),
            **more,
        }

    def list_files(self) -> dict[str, Any]:
        """List the pictures as prepare does, and nothing else."""
        return self.row(
            "list", call([sys.executable, "-c", LIST, self.photos], self.work / "log", self.work / "list.json")
        )

    def prepare(self) -> dict[str, Any]:
        """Make the store; killed after a fifth, two and three fifths of its parts, or as soon as it has begun."""
        parts = -(-self.images // (96 * 2**20 // (SIZE_PX * SIZE_PX * 3))) + 1
        partial = self.work / "store.partial"

        def reached(share: float) -> bool:
            done = sum(1 for _ in partial.glob("parts/*.json"))
            return partial.exists() and done >= int(share * parts)

        words = ("prepare", self.photos, "--out", self.store, "--size", SIZE_PX)
        kills = [lambda share=share: reached(share) for share in (0.2, 0.4, 0.6)]
        row = self.measure("prepare", *words, made=self.store, kills=kills)
        found = json.loads((self.store / "report.json").read_bytes())["duplicates"]
        planted = plan_copies(self.images)
        return {**row, "found": found["files"], "planted": len(planted.copies) + len(planted.copies_across_splits)}

    def _train(self, stage: str, out: Path, kills: Sequence[Reached]) -> dict[str, Any]:
        minutes = 0.02 if self.images <= 100_000 else 0.5
        words = ("train", self.store, "--recipe", DIALECT, "--epochs", 1, "--no-report", "--threads", 1, "--out", out)
        return self.measure(stage, *words, "--checkpoint-minutes", minutes, made=out, kills=kills)

    def train(self) -> dict[str, Any]:
        """Train for an epoch; killed after a third and two thirds of it."""

        def reached(share: float) -> bool:
            try:
                return read_progress(self.run / CHECKPOINTS / LATEST).images >= share * self.images
            except (OSError, AlexNetError):
                return False

        return self._train("train", self.run, [lambda: reached(1 / 3), lambda: reached(2 / 3)])

    def train_again(self) -> dict[str, Any]:
        """The same without interruption; says whether the weights have the same bytes."""
        again = self.work / "run-again"
        row = self._train("train again", again, ())
        return {**row, "equal": (self.run / MODEL).read_bytes() == (again / MODEL).read_bytes()}

    def evaluate(self) -> dict[str, Any]:
        """Test on the validation images with ten views."""
        words = ("evaluate", self.run, self.store, "--views", 10, "--threads", 1, "--json")
        return self.measure("evaluate", *words, more=lambda out: {"tested": json.loads(out)["images"], "views": 10})

    def make_index(self) -> dict[str, Any]:
        """Index the training images; killed once when half of the parts are there."""
        half = self.images * 4096 // 2**28 // 2

        def reached() -> bool:
            return (self.index / "index.json").exists() and sum(1 for _ in self.index.glob("part-*")) > half

        words = ("search", "index", self.run, self.store, "--split", "train", "--layer", LAYER, "--out", self.index)
        return self.measure("index", *words, "--threads", 1, made=self.index, kills=[reached])

    def query(self, *options: object) -> dict[str, Any]:
        """Ask for the six nearest images of a picture that is in the index."""
        picture = next((self.photos / "train" / "n00000500").iterdir())
        stage = "query codes" if options else "query"
        words = ("search", "query", self.index, picture, *options, "--threads", 1, "--json")

        def first(out: str) -> dict[str, Any]:
            nearest = json.loads(out)["queries"][0]["neighbours"][0]
            return {"finds itself": picture.name == Path(nearest["path"]).name and nearest["distance"] == 0}

        return self.measure(stage, *words, more=first)

    def find_duplicates(self) -> dict[str, Any]:
        """Look for near-identical images; says how many of the planted pairs are in one group."""

        def count(out: str) -> dict[str, Any]:
            groups = json.loads(out)["groups"]
            group_of = {image["path"]: place for place, group in enumerate(groups) for image in group["images"]}
            planted = plan_copies(self.images)
            hits = {
                kind: [sum(group_of.get(a, -1) == group_of.get(b, -2) for a, b in pairs), len(pairs)]
                for kind, pairs in (("copies", planted.copies), ("near copies", planted.near_copies))
            }
            return {"groups": len(groups), **hits}

        words = ("search", "duplicates", self.index, "--threads", 1, "--json")
        return self.measure("duplicates", *words, more=count)

    def describe(self) -> dict[str, Any]:
        """Ask what store, run and index are."""
        return self.measure("describe", "info", self.index)


def make(photos: Path, images: int, processes: int) -> None:
    """Draw the pictures, and note beside them how many there are."""
    with ProcessPoolExecutor(processes) as pool:
        for each in [
            pool.submit(make_pictures, photos, images, range(n, CLASSES, processes)) for n in range(processes)
        ]:
            each.result()
    files, size = measure_files(photos)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {"images": images, "files": files, "bytes": size, "cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}
    photos.with_suffix(".json").write_text(json.dumps(facts))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    maker = verbs.add_parser("make")
    maker.add_argument("photos", type=Path)
    maker.add_argument("--images", type=int, required=True)
    maker.add_argument("--processes", type=int, default=1)
    runner = verbs.add_parser("run")
    runner.add_argument("photos", type=Path)
    runner.add_argument("work", type=Path)
    runner.add_argument("--stages", default="all", help="names, separated by semicolons")
    recorder = verbs.add_parser("record")
    recorder.add_argument("works", type=Path, nargs="+")
    recorder.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.verb == "make":
        make(options.photos, options.images, options.processes)
    elif options.verb == "record":
        rows = [json.loads(line) for work in options.works for line in (work / RECORD).read_text().splitlines()]
        print(write_record(options.out, "full-size", rows, "python benchmarks/full_size.py run PHOTOS WORK"))
    else:
        options.work.mkdir(parents=True, exist_ok=True)
        record = options.work / RECORD
        done = {json.loads(line)["what"] for line in record.read_text().splitlines()} if record.exists() else set()
        stages = Rehearsal(options.photos, options.work).stages()
        for name in stages if options.stages == "all" else options.stages.split(";"):
            if name not in done:
                row = stages[name]()
                with record.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
