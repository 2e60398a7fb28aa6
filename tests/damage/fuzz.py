"""Changes good files until a reader of them does anything but read or refuse them.

    python -m damage.fuzz --seconds 60                    every family for a minute each
    python -m damage.fuzz --family store --seconds 3600

Where atheris is installed, what runs new lines of the program is kept and changed further; elsewhere only good files
are changed. A crash is saved once for each place in the program, as OUT/crashes/FAMILY-…; exit code 1 if there are any.
A hang is more than 10 s of processor time for one file, and memory ends at 2 GiB.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import subprocess
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
from damage.families import FAMILIES, Family
from damage.test_fuzz import MUTATIONS

LONGEST_SECONDS = 10
MOST_BYTES = 2 * 2**30
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "0", "../../x", "/dev/zero", "\0", "\ud800", "\x1b[31m", "a" * 5000, [], {}, [[]], [None], {"": None},
    ["a", "a"], "float32", "train",
)  # fmt: skip


class Hang(BaseException):
    """One file took too long."""


class Escape(BaseException):
    """A file made the program write elsewhere, or start something."""


def _refusals() -> tuple[type[BaseException], ...]:
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
        self.good = family.make(folder)
        self.place = folder / family.place
        self.refused = _refusals()
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0
        self.guard = Guard(folder)
        os.chdir(folder)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.place.write_bytes(family.seal(self.good[0], folder))
        with contextlib.suppress(*self.refused):
            family.read(self.place)  # imports and compiles, which is not what is watched

    def read(self, data: bytes) -> str | None:
        """Return how the reader failed, or None where it read or refused the file."""
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.place.write_bytes(self.family.seal(data, self.folder))
        signal.signal(signal.SIGPROF, self._hang)
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
        start = time.process_time()
        self.guard.is_on = True
        try:
            with warnings.catch_warnings(action="ignore"):
                self.family.read(self.place)
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


def fuzz(family: Family, out: Path, seconds: float, seed: int) -> None:
    """Fuzz one family in this process; writes OUT/FAMILY.json all the while."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    crashes = out / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    trial = Trial(family, Path(tempfile.mkdtemp(prefix="alexnet-fuzz-")))
    found: dict[str, str] = {}
    start = said = time.monotonic()

    def tell() -> None:
        row = {"family": family.name, "seconds": round(time.monotonic() - start, 1), **trial.outcomes,
               "longest_seconds": round(trial.longest, 2), "guided": bool(atheris), "failures": found}  # fmt: skip
        (out / f"{family.name.replace(' ', '-')}.json").write_text(json.dumps(row) + "\n")

    def run(data: bytes) -> None:
        nonlocal said
        failure = trial.read(data)
        if failure:
            place = failure.partition(":")[0]
            if place not in found:
                found[place] = failure
                name = f"{family.name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}".replace(" ", "-")
                (crashes / name).write_bytes(data)
                print(f"{family.name}: {failure}", flush=True)
        if time.monotonic() - said > 2:
            said = time.monotonic()
            tell()
        if time.monotonic() - start > seconds:
            tell()
            os._exit(0)

    for data in trial.good:
        run(data)
    if atheris:
        corpus = out / "corpus" / family.name.replace(" ", "-")
        corpus.mkdir(parents=True, exist_ok=True)
        for data in trial.good:
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            return change(family, data, seed, lambda data: atheris.Mutate(data, most))[:most]

        words = [sys.argv[0], "-print_final_stats=0", "-verbosity=0", "-timeout=30", "-rss_limit_mb=0", f"-seed={seed}",
                 "-max_len=300000", "-len_control=0", f"-artifact_prefix={crashes}/{family.name}-", str(corpus)]  # fmt: skip
        atheris.Setup(words, run, custom_mutator=mutate)
        atheris.Fuzz()
    number = seed * 10**9
    while True:
        number += 1
        run(change(family, trial.good[number % len(trial.good)], number))


atheris: Any = None


GUIDED = (
    "alexnet.data.sources", "alexnet.data.store", "alexnet.description", "alexnet.evaluation", "alexnet.exchange",
    "alexnet.files", "alexnet.network.model_file", "alexnet.recipes", "alexnet.retrieval.index", "alexnet.serving",
    "alexnet.text",
)  # fmt: skip
"""What reports which of its lines are run; compiled kernels cannot."""


def load_atheris() -> None:
    """Have the program report which of its lines are run, where atheris is installed."""
    global atheris
    if importlib.util.find_spec("atheris"):
        import atheris as found

        atheris = found
        for name in [name for name in sys.modules if name.startswith(GUIDED)]:
            del sys.modules[name]
        found.instrument_imports(include=list(GUIDED)).__enter__()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=[family.name for family in FAMILIES])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--here", action="store_true", help="in this process, of one family")
    options = parser.parse_args()
    out = options.out.resolve()
    chosen = [family for family in FAMILIES if not options.family or family.name in options.family]
    if options.here:
        load_atheris()
        fuzz(chosen[0], out, options.seconds, options.seed)
    guided = (
        {"NUMBA_DISABLE_JIT": "1"} if importlib.util.find_spec("atheris") else {}
    )  # Numba compiles no lines that report
    lost = 0
    print("| Family | Files read | refused | Failures | Longest, s | Time, s |\n|---|---|---|---|---|---|")
    for family in chosen:
        words = ["-m", "damage.fuzz", "--here", "--family", family.name, "--seconds", str(options.seconds)]
        ended = subprocess.run(
            [sys.executable, *words, "--seed", str(options.seed), "--out", str(out)],
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | guided, stderr=subprocess.PIPE, stdout=sys.stderr, text=True,
            timeout=options.seconds * 3 + 300, check=False,
        )  # fmt: skip
        record = out / f"{family.name.replace(' ', '-')}.json"
        row = json.loads(record.read_text()) if record.exists() else {"failures": {}}
        if ended.returncode:
            row["failures"]["ended"] = f"exit code {ended.returncode}: {ended.stderr[-1500:]}"
            print(ended.stderr[-3000:], file=sys.stderr)
        lost += len(row["failures"])
        print(f"| {family.name} | {row.get('read', 0):,} | {row.get('refused', 0):,} | {len(row['failures'])} | "
              f"{row.get('longest_seconds', 0)} | {row.get('seconds', 0):.0f} |", flush=True)  # fmt: skip
    for place in Path(tempfile.gettempdir()).glob("alexnet-fuzz-*"):
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
