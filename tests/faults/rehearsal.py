"""What takes most of a run's time and changes no file is done once: importing, compiling, drawing, starting Python."""

import contextlib
import functools
import gc
import importlib
import itertools
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any


def note(file: Path) -> None:
    """Write down which modules this process has imported and which functions Numba has compiled.

    Those that compute in several threads are left out: a process with threads must not be forked.
    """
    numba = sys.modules.get("numba.core.dispatcher")
    compiled = [each for each in gc.get_objects() if numba and issubclass(type(each), numba.Dispatcher)]
    functions = [
        (each.py_func.__module__, each.py_func.__qualname__, each.signatures)
        for each in compiled
        if not each.targetoptions.get("parallel")
    ]
    file.write_bytes(pickle.dumps(([*sys.modules], functions)))


def load(file: Path) -> None:
    """Import and compile, without computing anything, what a process has noted."""
    modules, functions = pickle.loads(file.read_bytes())
    for name in modules:
        if name not in sys.modules and name != "__mp_main__":
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    for module, name, signatures in functions:
        function = getattr(sys.modules.get(module), name, None)
        for signature in signatures if function is not None else ():
            function.compile(signature)
    gc.collect()
    gc.freeze()


class Forked:
    """A training of `alexnet reproduce`, in a fork of the process that begins it in place of a new Python."""

    def __init__(self, command: list[str], stdout: IO[bytes], env: Mapping[str, str], **_: object) -> None:
        from alexnet.reproduction.worker import main

        self.returncode: int | None = None
        self._process = os.fork()
        if not self._process:
            code = 1
            try:
                os.setsid()
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                for descriptor in (1, 2):
                    os.dup2(stdout.fileno(), descriptor)
                os.environ.update(env)
                sys.argv = command[2:]
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1 if end.code else 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self._process, signal.SIGTERM)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self._process, options)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode


def start_quickly() -> None:
    """Have networks computed by plain PyTorch, and trainings forked: kernels, and Python, take long to load."""
    from alexnet import kernels
    from alexnet.kernels import choose
    from alexnet.reproduction import carry_out, engine
    from alexnet.reproduction.outlook import Cost

    engine.POLL_SECONDS = 0.1
    carry_out.measure_cost = lambda *_, **__: Cost(5.0, 0.01, {1: 0.005, 9: 0.045, 10: 0.05})
    engine.subprocess = SimpleNamespace(Popen=Forked, STDOUT=subprocess.STDOUT)  # type: ignore[assignment]
    choose._numba_failure = lambda: "it takes long to load"  # type: ignore[assignment]
    kernels.warm_up = lambda dtype: 0.0


def keep_drawings(folder: Path) -> None:
    """Draw each picture once for all processes: what is drawn is not the question, and takes most of a report's time."""
    from matplotlib.figure import Figure

    from alexnet.interpretation import drawing as drawings
    from alexnet.interpretation.drawing import Drawing

    folder.mkdir(exist_ok=True)
    style, render = drawings.styled, Drawing.render

    def keep(place: Path, data: bytes) -> bytes:
        written = place.with_suffix(f".{os.getpid()}")
        written.write_bytes(data)
        written.rename(place)
        return data

    def render_once(drawing: Drawing, form: Any) -> bytes:
        place = folder / f"{drawing.name}-{drawing.figure.get_facecolor()}.{form}"
        return place.read_bytes() if place.exists() else keep(place, render(drawing, form))

    def styled(draw: Callable[..., Drawing]) -> Callable[..., Drawing]:
        calls = itertools.count()

        @functools.wraps(draw)
        def drawn(*args: Any, **options: Any) -> Drawing:
            place = folder / f"{draw.__name__}-{next(calls)}"
            if not place.exists():
                drawing = style(draw)(*args, **options)
                figure = drawing.figure
                looks = figure.get_size_inches().tolist(), figure.get_facecolor()
                fields = {name: value for name, value in vars(drawing).items() if name not in ("figure", "_rendered")}
                keep(place, pickle.dumps((looks, fields)))
                return drawing
            (size, color), fields = pickle.loads(place.read_bytes())
            return Drawing(figure=Figure(figsize=size, facecolor=color), **fields)

        return drawn

    drawings.styled, Drawing.render = styled, render_once  # type: ignore[assignment, method-assign]
