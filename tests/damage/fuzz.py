"""Changes good files until a reader of them does anything but read or refuse them.

    python -m damage.fuzz --seconds 60                    every family for a minute each
    python -m damage.fuzz --family store --seconds 3600
    python -m damage.fuzz --rounds 20                     one after the other, again and again

Seconds are of the processor. `python -m damage.guided` does the same, guided by what the program runs. A failure is
saved once for each place in the program, as OUT/crashes/FAMILY-…; exit code 1 if there are any. Failures are more than
10 s for one file, more than 2 GiB beside what the libraries take, an exception that is no refusal, a process that is started, and a file that is
written elsewhere. OUT/FAMILY.json adds up what was done to a family, over all calls.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError
from damage.families import FAMILIES
from damage.family import Family
from damage.test_fuzz import MUTATIONS

LONGEST_SECONDS = 10
MOST_BYTES = 2 * 2**30
WAITING_SECONDS = 600
"""What ends a process in which a file takes so long by the clock: it waits for something."""
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "0", "../../x", "/dev/zero", "\0", "\ud800", "\x1b[31m", "a" * 5000, [], {}, [[]], [None], {"": None},
    ["a", "a"], "float32", "train",
)  # fmt: skip


class Hang(BaseException):
    """One file took too long."""


class Escape(BaseException):
    """A file made the program write elsewhere, or start something."""


def refusals() -> tuple[type[BaseException], ...]:
    """What a reader may raise."""
    with contextlib.suppress(ImportError):
        from starlette.requests import ClientDisconnect

        from alexnet.serving.limits import Refusal

        return AlexNetError, OSError, Refusal, ClientDisconnect
    return AlexNetError, OSError


class Guard:
    """Watches what a reader does while it is on: nothing is started, and nothing written outside temporary files."""

    def __init__(self, folder: Path) -> None:
        self.is_on = False
        self._free = (str(folder), tempfile.gettempdir(), "/dev/null")
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event in (
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "os.fork",
            "subprocess.Popen",
            "os.kill",
            "socket.connect",
        ):
            self.is_on = False
            raise Escape(f"{event} {arguments}")
        writes = event in (
            "os.mkdir",
            "os.rename",
            "os.remove",
            "os.rmdir",
            "os.link",
            "os.symlink",
            "os.truncate",
        ) or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if writes and isinstance(arguments[0], str | bytes | os.PathLike):
            place = os.path.abspath(os.fsdecode(arguments[0]))
            if not place.startswith(self._free):
                self.is_on = False
                raise Escape(f"{event} {place}")


class Trial:
    """Reads one changed file after another of a family."""

    def __init__(self, family: Family, folder: Path) -> None:
        self.family = family
        self.folder = folder
        self.samples = family.make(folder)
        self.refused = refusals()
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0
        self.guard = Guard(folder)
        os.chdir(folder)
        family.read(family.put(self.samples.good[0], folder))  # imports and compiles, which is not what is watched

    def read(self, data: bytes) -> str | None:
        """Return how the reader failed, or None where it read or refused the file."""
        place = self.family.put(data, self.folder)
        signal.alarm(WAITING_SECONDS)
        signal.signal(signal.SIGPROF, self._hang)
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
        start = time.process_time()
        self.guard.is_on = True
        try:
            with warnings.catch_warnings(action="ignore"):
                self.family.read(place)
            outcome, failure = "read", None
        except self.refused as problem:
            outcome, failure = "refused", None
            if len(str(problem)) > 3000 or ("\x1b" in str(problem) and type(problem).__name__ == "Refusal"):
                failure = f"a long refusal, {str(problem)[:150]}"
        except Hang:
            outcome, failure = "crash", "hang"
        except BaseException as problem:
            frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "/alexnet/" in frame.filename]
            where = f" in {Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
            outcome, failure = "crash", f"{type(problem).__name__}{where}: {str(problem)[:200]}"
        finally:
            self.guard.is_on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.longest = max(self.longest, time.process_time() - start)
        if (self.folder / "EXECUTED").exists():
            (self.folder / "EXECUTED").rmdir()
            outcome, failure = "crash", "it was executed"
        self.outcomes[outcome] += 1
        return failure

    @staticmethod
    def _hang(number: int, frame: Any) -> None:
        raise Hang


def change_value(value: Any, chance: random.Random) -> Any:
    """Return a document in which one value is another, is missing, or stands twice."""
    places: list[tuple[Any, Any]] = []

    def collect(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            collect(inner[key])

    collect(value)
    if not places:
        return chance.choice(ODD_VALUES)
    holder, key = chance.choice(places)
    kind = chance.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.3:
        other, place = chance.choice(places)
        with contextlib.suppress(LookupError):
            holder[key] = json.loads(json.dumps(other[place]))
    elif kind < 0.45 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * chance.choice((-1, 2, 10**6, 0.5)) + chance.choice((-1, 0, 1))
    else:
        holder[key] = chance.choice(ODD_VALUES)
    return value


def change(family: Family, data: bytes, seed: int, other: Callable[[bytes], bytes] | None = None) -> bytes:
    """Return data changed in one or two ways; `other` changes bytes where it is given."""
    chance = random.Random(seed)
    if family.is_json and chance.random() < 0.8:
        with contextlib.suppress(ValueError, RecursionError, OverflowError):
            document = json.loads(data)
            for _ in range(chance.choice((1, 1, 1, 2))):
                document = change_value(document, chance)
            return json.dumps(document).encode()
    if other is not None and chance.random() < 0.7:
        return other(data)
    changed = bytearray(data or b"x")
    for _ in range(chance.choice((1, 1, 2))):
        if changed:
            chance.choice(MUTATIONS)(changed, chance)
    return bytes(changed)


Run = Callable[[bytes], None]
Drive = Callable[[Family, list[bytes], Run, Path, int], None]
"""Changes the files of a family forever: is given them, what reads one, a folder to keep some in, and a seed."""


def change_at_random(family: Family, files: list[bytes], run: Run, corpus: Path, seed: int) -> None:
    """Change each of the files in turn."""
    while True:
        seed += 1
        run(change(family, files[seed % len(files)], seed))


def fuzz(family: Family, folder: Path, out: Path, options: argparse.Namespace, drive: Drive) -> None:
    """Fuzz one family until its time is over, and end this process; adds to OUT/FAMILY.json all the while."""
    taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    most = 1024 * int(taken.split()[1]) + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    name = family.name.replace(" ", "-")
    record = out / f"{name}.json"
    before = json.loads(record.read_text()) if record.exists() else {"failures": {}}
    found, trial = before["failures"], Trial(family, folder)
    start = said = time.process_time()
    last = int(start + options.seconds) + 3 * LONGEST_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (last, last))  # compiled code hears no other signal

    def tell() -> None:
        counts = {kind: before.get(kind, 0) + trial.outcomes[kind] for kind in ("read", "refused", "crash")}
        seconds = round(before.get("seconds", 0) + time.process_time() - start, 1)
        longest = max(before.get("longest_seconds", 0), round(trial.longest, 2))
        row = {"family": family.name, "seconds": seconds, **counts, "longest_seconds": longest, "failures": found}
        record.write_text(json.dumps(row) + "\n")

    def run(data: bytes) -> None:
        nonlocal said
        if options.keep:
            (out / "kept" / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        failure = trial.read(data)
        if failure:
            place = failure.partition(":")[0]
            if place not in found:
                found[place] = failure
                (out / "crashes" / f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}").write_bytes(data)
                print(f"{family.name}: {failure}", file=sys.stderr, flush=True)
        now = time.process_time()
        if now - said > 1 or now - start > options.seconds:
            said = now
            tell()
        if now - start > options.seconds:
            os._exit(0)

    corpus = out / "corpus" / name
    for place in (out / "crashes", corpus, out / "kept" / name):
        place.mkdir(parents=True, exist_ok=True)
    files = [*trial.samples.good, *trial.samples.odd]
    for data in files:
        run(data)
    done = sum(before.get(kind, 0) for kind in ("read", "refused", "crash"))
    drive(family, files, run, corpus, options.seed * 10**9 + done)


def fuzz_apart(family: Family, out: Path, options: argparse.Namespace, drive: Drive) -> dict[str, Any]:
    """Fuzz one family in a process of its own, a copy of this one; return what OUT/FAMILY.json holds then."""
    name = family.name.replace(" ", "-")
    folder = Path(tempfile.mkdtemp(prefix="alexnet-fuzz-"))
    child = os.fork()
    if not child:
        try:
            fuzz(family, folder, out, options, drive)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    record = out / f"{name}.json"
    row: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {"failures": {}}
    if status:
        row["failures"][f"ended by {status}"] = "its process ended, or could not begin"
        record.write_text(json.dumps(row) + "\n")
        if (folder / family.place).exists():
            shutil.copy(folder / family.place, out / "crashes" / f"{name}-ended")
    shutil.rmtree(folder)
    return row


def main(drive: Drive = change_at_random) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=[family.name for family in FAMILIES])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--keep", action="store_true", help="every file that is read, in OUT/kept")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    import alexnet.evaluation.classifier  # noqa: F401  # once, not once for each family

    chosen = [family for family in FAMILIES if not options.family or family.name in options.family]
    for _ in range(options.rounds):
        rows = [fuzz_apart(family, out, options, drive) for family in chosen]
    print("| Family | Files read | refused | Failures | Longest, s | Time, s |\n|---|---|---|---|---|---|")
    for family, row in zip(chosen, rows, strict=True):
        print(f"| {family.name} | {row.get('read', 0):,} | {row.get('refused', 0):,} | {len(row['failures'])} | "
              f"{row.get('longest_seconds', 0)} | {row.get('seconds', 0):.0f} |")  # fmt: skip
    sys.exit(any(row["failures"] for row in rows))


if __name__ == "__main__":
    main()
