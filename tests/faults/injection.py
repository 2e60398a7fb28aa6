"""Processes in which one call that changes files fails: the library faults.c, the calls it saw, and what became of it.

This process runs under the library already, has imported the program, and forks: what is tested is a process of its own
and may be killed, yet starts in milliseconds.
"""

import ctypes
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
LONGEST_SECONDS = 900.0
"""A process that takes longer hangs; half a second of work may take minutes on a busy machine."""

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
    return [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []


def find_points(calls: Sequence[Sequence[str]]) -> list[Point]:
    counts: Counter[tuple[str, str]] = Counter()
    points = []
    for call, path, _ in calls:
        counts[call, path] += 1
        points.append(Point(call, path, counts[call, path]))
    return points


def find_unflushed(calls: Sequence[Sequence[str]]) -> list[str]:
    """Return the files that got their name before their bytes were on the disk, or whose name may not be there yet.

    Until the system is told to flush, a power cut may leave a file with its name and without its bytes.
    """
    loose: set[str] = set()
    """Files with bytes, and folders with names, that were not flushed since."""
    wrong = []
    for call, path, before in calls:
        if call == "write":
            loose.add(path)
        elif call == "fsync":
            loose.discard(path)
        elif call == "remove":  # a folder only when nothing is in it, whatever name that had there
            loose = {each for each in loose if each != path and not each.startswith(f"{path}/")}
        elif call == "rename":
            wrong += [path for file in loose if file == before or file.startswith(f"{before}/")]
            loose.add(str(Path(path).parent))
    named = {str(Path(path).parent) for call, path, _ in calls if call == "rename"}
    return wrong + sorted(named & loose)


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
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)
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
    _end_orphans()
    return Ended(code_or_none, output.read_text(errors="replace"))


def adopt_orphans() -> None:
    """Become the parent of processes whose parent ends, as it may before those that it has started."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _end_orphans() -> None:
    while processes := Path("/proc/thread-self/children").read_text().split():
        for process in map(int, processes):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def seen_by_strace(trace: str, folder: Path) -> set[tuple[str, str]]:
    """Return (call, path) of what `strace -f -y` saw change files below a folder, in the words of the library."""
    names = {
        "open": "open", "openat": "open", "write": "write", "pwrite64": "write", "writev": "write", "pwritev": "write",
        "pwritev2": "write", "sendfile": "write", "copy_file_range": "write", "ftruncate": "truncate",
        "truncate": "truncate", "fallocate": "truncate", "fsync": "fsync", "fdatasync": "fsync", "mkdir": "mkdir",
        "mkdirat": "mkdir", "unlink": "remove", "unlinkat": "remove", "rmdir": "remove", "rename": "rename",
        "renameat": "rename", "renameat2": "rename", "chmod": "chmod", "fchmodat": "chmod", "fchmod": "chmod",
        "mmap": "map", "link": "link", "linkat": "link", "symlink": "link", "symlinkat": "link",
    }  # fmt: skip
    found = set()
    for line in trace.splitlines():
        call = re.search(r"(\w+)\((.*)", line)
        if not call or call[1] not in names or " = -1 " in line:
            continue
        name, words = names[call[1]], call[2]
        if (name == "open" and not re.search("O_(WRONLY|RDWR|CREAT|TRUNC)", words)) or (
            name == "map" and not re.search("PROT_WRITE.*MAP_SHARED", words)
        ):
            continue
        quoted = re.findall(r'"([^"]*)"', words) if name != "write" else []
        at = re.search(r"(?:AT_FDCWD|\d+)<([^>]*)>", words)
        path = quoted[-1] if quoted else at[1] if at else ""
        if quoted and at and not path.startswith("/"):
            path = f"{at[1]}/{path}"
        if path.startswith(f"{folder}/"):
            found.add((name, path.removeprefix(f"{folder}/")))
    return found
