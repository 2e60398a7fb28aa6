"""Processes in which one call that changes files fails: the library faults.c, the calls it saw, and what became of it.

This process runs under the library already, has imported the program, and forks: what is tested is a process of its own
and may be killed, yet starts in milliseconds.
"""

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("faults.c")
LONGEST_SECONDS = 60.0

KILLS = ("kill-before", "kill-after")
FAILURES: dict[str, tuple[str, ...]] = {
    "open": ("ENOSPC", "EIO", "EACCES", "EROFS", "EMFILE"),
    "write": ("ENOSPC", "EIO", "half"),
    "truncate": ("ENOSPC", "EIO"),
    "fsync": ("ENOSPC", "EIO"),
    "rename": ("ENOSPC", "EIO", "EACCES", "EROFS"),
    "link": ("ENOSPC", "EIO", "EACCES", "EROFS"),
    "mkdir": ("ENOSPC", "EIO", "EACCES", "EROFS"),
    "remove": ("EIO", "EACCES", "EROFS"),
    "chmod": ("EIO", "EACCES", "EROFS"),
}
"""Call -> the errors that the system may give it. EROFS stays, as a file system that has turned read-only does; after
half of a write the disk stays full."""
FAULTS = {call: (*errors, *KILLS) for call, errors in FAILURES.items()}


class Point(NamedTuple):
    """One call of a run."""

    call: str
    path: str
    """Below the folder of the run, with process numbers as PID."""
    turn: int
    """Which of the calls of this name with this path, from 1."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int | None
    """Exit code, negative for a signal; None where it had to be killed because it hung."""
    text: str
    """Standard output and standard error."""


def find_compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def build(folder: Path) -> Path:
    """Compile the library; returns it."""
    library = folder / "libfaults.so"
    command = [find_compiler(), "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run([str(word) for word in command], check=True)
    return library


def read_log(log: Path) -> list[list[str]]:
    """Return the calls of a run: name, path, and the name before a rename."""
    text = re.sub(r"\.tmp\w{6}\b", ".tmpRANDOM", log.read_text()) if log.exists() else ""
    return [line.split("\t") for line in text.splitlines()]


def find_points(calls: Sequence[Sequence[str]]) -> list[Point]:
    counts: Counter[tuple[str, str]] = Counter()
    points = []
    for call, path, _ in calls:
        counts[call, path] += 1
        points.append(Point(call, path, counts[call, path]))
    return points


def environment(folder: Path, log: Path | None, point: Point | None = None, how: str = "") -> dict[str, str]:
    """Return what the library is told."""
    found = {"FAULTS_UNDER": str(folder)}
    if log:
        found["FAULTS_LOG"] = str(log)
    if point:
        if how not in KILLS:
            kind = {"half": "half", "EROFS": "stays"}.get(how, "errno")
            how = f"{kind}:{errno.ENOSPC if how == 'half' else getattr(errno, how)}"
        state = folder.with_name(f"{folder.name}.count")
        state.unlink(missing_ok=True)
        found |= {"FAULTS_CALL": point.call, "FAULTS_PATH": point.path, "FAULTS_TURN": str(point.turn),
                  "FAULTS_HOW": how, "FAULTS_STATE": str(state)}  # fmt: skip
    return found


def was_met(folder: Path, point: Point) -> bool:
    """Whether the call that was to fail has come."""
    state = folder.with_name(f"{folder.name}.count")
    return state.exists() and int(state.read_text().strip("\0") or 0) >= point.turn


def run(work: Callable[[], None], folder: Path, told: dict[str, str]) -> Ended:
    """Do work in a fork of this process, whose current folder is this one; its uncaught exceptions are printed."""
    output = folder.with_name(f"{folder.name}.output")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        code = 70
        try:
            os.setsid()
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.chdir(folder)
            os.environ.update(told)
            try:
                work()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1 if end.code else 0
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    last = time.monotonic() + LONGEST_SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code_or_none: int | None = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > last:
            code_or_none = None
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):  # what it started
        os.killpg(child, signal.SIGKILL)
    return Ended(code_or_none, output.read_text(errors="replace"))


def seen_by_strace(trace: str, folder: Path) -> set[tuple[str, str]]:
    """Return (call, path) of what strace -f -y saw change below a folder, in the words of the library."""
    names = {
        "write": "write", "pwrite64": "write", "writev": "write", "pwritev": "write", "pwritev2": "write",
        "sendfile": "write", "copy_file_range": "write", "ftruncate": "truncate", "fallocate": "truncate",
        "fsync": "fsync", "fdatasync": "fsync",
    }  # fmt: skip
    found = set()
    for line in trace.splitlines():
        call = re.search(r"(\w+)\((?:AT_FDCWD<[^>]*>, )?(\d+<([^>]+)>|\"([^\"]+)\")", line)
        if not call:
            continue
        path = call[3] or call[4]
        if call[1] in ("open", "openat") and not re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", line):
            continue
        name = {"open": "open", "openat": "open", "mkdir": "mkdir", "unlink": "remove", "rmdir": "remove"}.get(
            call[1]
        ) or names.get(call[1])
        if name and path.startswith(f"{folder}/"):
            found.add((name, path.removeprefix(f"{folder}/")))
    return found
