"""Parts of work on the nodes of a cluster, by Ray: it finds a node for each and does again what is lost with one.

Nothing of the work is Ray's. What a part does, which bytes come of it and what is told of an error is the same code as
on one machine; Ray carries arguments and results.
"""

import os
import re
import secrets
import signal
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import xxhash

from alexnet.cluster.parts import P, R, Work
from alexnet.errors import AlexNetError, ConfigError, DistributionError
from alexnet.startup import available_cores
from alexnet.text.wording import counted
from alexnet.version import __version__

_ADDRESS = re.compile(r"local|auto|(?!local:)[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}")
LOCAL = "local"
"""Address of a cluster that is started for this command: this machine."""
QUIET = {
    "RAY_usage_stats_enabled": "0",  # nothing is sent to anybody
    "RAY_worker_niceness": "0",  # a part is no less urgent than the command; Ray would let all others go first
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning about what Ray will do with GPUs later
}
TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Variables by which Ray knows who may use a cluster."""
STORE_BYTES = 2**30
"""Memory of Ray on this machine for results that wait to be read."""
MOST_CORES = 8
"""Cores of a part, where the user gives none; a larger node does several side by side."""
TRIES = 10
"""Times that a part is begun before it is given up, where its process or node is lost."""
AHEAD = 2
"""Parts that are given to Ray for each that can be done at a time."""
REACH_SECONDS = 10.0
"""How long a cluster has to answer at all."""
SAVING_SECONDS = 30.0
"""How long parts that are interrupted have to save their work."""
SEES_SECONDS = 5.0
"""Time within which a shared disk shows everywhere what was written on one machine."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the command was given: every node goes there, so that paths and messages are the same."""

    folder: str
    host: str
    version: str
    marks: tuple[tuple[str, str], ...]
    """Files that all must see, each with what is in it."""

    @classmethod
    def here(cls, reads: Sequence[Path]) -> "Place":
        """Return the place of this process."""
        return cls(os.getcwd(), os.uname().nodename, __version__, tuple((str(path), _mark(path)) for path in reads))

    def enter(self) -> None:
        """Go there, in another process.

        Raises:
            DistributionError: its machine has another disk or another version of this program.
        """
        own = os.uname().nodename
        if self.version != __version__:
            raise DistributionError(
                f"node {own} has alexnet {__version__}, and {self.host} has {self.version}. Install the same on all."
            )
        try:
            os.chdir(self.folder)
        except OSError:
            raise DistributionError(self._explain(self.folder, own)) from None
        last = time.monotonic() + SEES_SECONDS
        for path, mark in self.marks:
            while _mark(Path(path)) != mark:
                if time.monotonic() > last:
                    raise DistributionError(self._explain(path, own))
                time.sleep(0.1)

    def _explain(self, path: str, own: str) -> str:
        return (
            f"{path}: node {own} does not see what {self.host} sees there. All nodes of a cluster need the same files "
            "under the same paths: put them on a disk that all of them mount, and give the command in a folder of it."
        )


def _mark(path: Path) -> str:
    """Return what tells a file from another one: its size and its beginning; of none, or a folder, whether it is."""
    try:
        with path.open("rb") as file:
            return f"{os.fstat(file.fileno()).st_size} {xxhash.xxh3_128_hexdigest(file.read(2**20))}"
    except OSError as problem:
        return type(problem).__name__


class Cluster:
    """Nodes that do parts; an `Executor`.

    Args:
        threads: Cores of each part; of the smallest node, but at most MOST_CORES, where None.
        device: "cpu", or "cuda" for a GPU for each part; "auto" takes one where the cluster has some.
    Raises:
        ConfigError: no node has so many cores, or a GPU.
    """

    def __init__(self, ray: Any, *, threads: int | None, device: str) -> None:
        self._ray = ray
        nodes = self._nodes()
        self._gpus = int(device.startswith("cuda") or (device == "auto" and any(node.get("GPU") for node in nodes)))
        self.device = "cuda" if self._gpus else "cpu"
        # Cores of a part on each node; of one with GPUs, those of a GPU.
        fitting = [
            max(1, int(node["CPU"] // (max(1, node.get("GPU", 0)) if self._gpus else 1)))
            for node in nodes
            if node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= self._gpus
        ]
        self.threads = threads or min([MOST_CORES, *fitting])
        """Cores of each part."""
        if not self.slots:
            cores = int(max((node.get("CPU", 0) for node in nodes), default=0))
            raise ConfigError(
                f"no node of the cluster has {counted(self.threads, 'core')}{' and a GPU' if self._gpus else ''} for a "
                f"part of the work; the largest has {cores}. Give fewer: --threads{', or --device cpu' * self._gpus}."
            )

    @property
    def slots(self) -> int:
        """Parts that can be done at a time now; nodes come and go."""
        return int(
            sum(
                min(node.get("CPU", 0) // self.threads, node.get("GPU", 0) if self._gpus else node.get("CPU", 0))
                for node in self._nodes()
            )
        )

    def run(self, work: Work[P, R], parts: Sequence[P]) -> Iterator[R]:
        """As `Executor.run`; parts that are not wanted any more are stopped."""
        give = self.giver(work)
        waiting: deque[Any] = deque()
        rest = iter(parts)
        try:
            while True:
                while len(waiting) <= AHEAD * self.slots:
                    try:
                        waiting.append(give(next(rest)))
                    except StopIteration:
                        break
                if not waiting:
                    return
                yield self.result(waiting[0])
                waiting.popleft()
        finally:
            for each in waiting:
                self.stop(each)
            if waiting:
                self._ray.wait(list(waiting), num_returns=len(waiting), timeout=SAVING_SECONDS)

    def giver(self, work: Work[P, R], *, tries: int = TRIES) -> Callable[[P], Any]:
        """Return what gives a part to Ray; what that returns is for `is_done`, `result` and `stop`."""
        remote = self._ray.remote(
            num_cpus=self.threads, num_gpus=self._gpus, max_retries=tries - 1, scheduling_strategy="SPREAD"
        )(_do)
        key, place = uuid.uuid4().hex, Place.here(work.reads)
        return lambda part: remote.remote(key, work, place, part)

    def is_done(self, given: Any) -> bool:
        """Whether a part is done, or failed."""
        return bool(self._ray.wait([given], timeout=0)[0])

    def result(self, given: Any) -> Any:
        """Wait for a part and return its result, or raise what it raised.

        Raises:
            DistributionError: it was lost with its process again and again.
        """
        errors = self._ray.exceptions
        while not self._ray.wait([given], timeout=1.0)[0]:
            pass  # so that Ctrl-C is heard
        try:
            result, problem = self._ray.get(given)
        except errors.RayTaskError:
            raise  # a fault of this program: with its traceback
        except errors.RayError as lost:
            raise DistributionError(
                f"a part of the work was begun {TRIES} times, and each time its process or node was lost "
                f"({type(lost).__name__}; often: out of memory, or a cluster that asks for no token where this machine "
                "has one, as in ~/.ray/auth_token: then give RAY_AUTH_MODE=disabled). What is finished is kept; give "
                "the same command again."
            ) from None
        if problem is not None:
            raise problem
        return result

    def stop(self, given: Any) -> None:
        """Interrupt a part as Ctrl-C does."""
        self._ray.cancel(given, force=False)

    def _nodes(self) -> list[dict[str, float]]:
        """Return what each node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


@contextmanager
def join_cluster(address: str, *, threads: int | None = None, device: str = "cpu") -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine, which ends with the context.

    Args:
        address: "local", or where Ray was started: HOST:PORT, or "auto" on one of its machines.
        threads, device: See `Cluster`.
    Raises:
        ConfigError: Ray is not installed, or the address is none; or see `Cluster`.
        DistributionError: no cluster answers.
    """
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(f"--cluster {address[:200]!r}: give HOST:PORT, auto or {LOCAL}.")
    before = {name: os.environ.get(name) for name in TOKEN}
    # Before Ray is imported, which reads them then.
    os.environ |= {name: value for name, value in (QUIET | _find_token(address)).items() if name not in os.environ}
    try:
        import ray
    except ImportError:
        raise ConfigError(
            f"--cluster {address}: several machines are shared by Ray. Install it: pip install 'alexnet[cluster]', or "
            "leave --cluster out."
        ) from None
    with ExitStack() as stack:
        if not ray.is_initialized():  # else by the program that calls this
            stack.callback(_leave, ray, address, before, several=ray._private.ray_constants.ENABLE_RAY_CLUSTER)
            _enter(ray, address)
        # Ray tells of lost nodes on standard output, which is for results; that nothing is lost by it is our task.
        ray._private.worker._worker_logs_enabled = False
        yield Cluster(ray, threads=threads, device=device)


def _enter(ray: Any, address: str) -> None:
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        # Ray would count cores that a batch scheduler has not given to this process.
        where |= {"include_dashboard": False, "object_store_memory": STORE_BYTES, "num_cpus": available_cores()}
        # Ray's switch for clusters of several machines; without it, it listens on the loopback address alone.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    # Ray keeps the token of the cluster that this process was in before; this is how its own tests make it forget.
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
    try:
        _reach(address)
        with _own_signals():
            ray.init(**where, log_to_driver=False, logging_level="CRITICAL", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
        raise DistributionError(
            f"--cluster {address}: no cluster answers there ({str(problem).splitlines()[0][:200]}). Start one on a "
            "machine: ray start --head --disable-usage-stats; on the others: ray start --address HOST:6379; or use "
            f"this machine: --cluster {LOCAL}. One that asks for a token wants RAY_AUTH_MODE=token and the token "
            "everywhere, one that does not RAY_AUTH_MODE=disabled."
        ) from None


def _leave(ray: Any, address: str, before: Mapping[str, str | None], *, several: bool) -> None:
    """Leave a cluster; of one of this machine alone nothing stays.

    Args:
        before: The variables of TOKEN before it was entered; the next cluster has a token of its own, or none.
        several: Ray's switch for clusters of several machines, as it was before.
    """
    node = ray._private.worker._global_node
    logs = None if node is None else node.get_session_dir_path()
    ray.shutdown()
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = several
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if address == LOCAL and logs:
        rmtree(logs, ignore_errors=True)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep Ray's handlers out, and let Ctrl-C wait until Ray has started: before, its processes would stay behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        raise KeyboardInterrupt


def _find_token(address: str) -> dict[str, str]:
    """Return the variables of the environment by which Ray knows who may use a cluster.

    One of this machine alone gets a token for this command, so that Ray writes none into the home folder, where later
    clusters would find it. For other clusters the token of this machine is used, if it has one.
    """
    if address == LOCAL:
        return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    given = set(TOKEN[1:]) & os.environ.keys()
    return {"RAY_AUTH_MODE": "token"} if given or Path("~/.ray/auth_token").expanduser().exists() else {}


def _reach(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT, for which Ray would wait a minute and more."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host, int(port)), timeout=REACH_SECONDS):
            pass


_begun: dict[str, Callable[[Any], Any]] = {}
"""The work that this process has opened: its key, and what does a part."""


def _do(key: str, work: Work[Any, Any], place: Place, part: Any) -> tuple[Any, BaseException | None]:
    """Do a part in a process of Ray's; return its result, or what users can cause."""
    try:
        if key not in _begun:
            _begun.clear()
            place.enter()
            _begun[key] = work.begin(*work.arguments)
        return _begun[key](part), None
    except (AlexNetError, OSError) as problem:
        return None, problem
