"""moto's S3 server as a process of its own, which fails where a test asks it to.

`python server.py PORT` serves. POST /_faults takes a list of {"method", "path", "kind", "times"}: the next so many
requests of this method, whose path ends so, fail. GET /_log tells what was asked.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_faults: list[dict[str, Any]] = []
_log: list[str] = []
_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>as the test asked</Message></Error>"


class Faulty:
    """The server behind one that looks for a fault first."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "/_faults":
            _faults[:] = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            _log.clear()
            start("200 OK", [])
            return [b""]
        if path == "/_log":
            start("200 OK", [])
            return [json.dumps(_log).encode()]
        _log.append(f"{method} {path}")
        fault = next(
            (each for each in _faults if each["times"] and each["method"] == method and path.endswith(each["path"])),
            None,
        )
        if fault is None:
            return self._application(environ, start)
        fault["times"] -= 1
        if fault["kind"] == "slow":
            time.sleep(fault["seconds"])
            return self._application(environ, start)
        if fault["kind"] == "cut":
            return _cut(self._application(environ, start))
        status, code = {"busy": ("503 Slow Down", b"SlowDown"), "forbidden": ("403 Forbidden", b"AccessDenied")}[
            fault["kind"]
        ]
        start(status, [("Content-Type", "application/xml")])
        return [] if method == "HEAD" else [_ERROR % code]


def _cut(answer: Iterable[bytes]) -> Iterable[bytes]:
    """Yield half of an answer; the server then closes the connection."""
    data = b"".join(answer)
    yield data[: len(data) // 2]
    raise ConnectionResetError


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), Faulty(DomainDispatcherApplication(create_backend_app)), threaded=True)
