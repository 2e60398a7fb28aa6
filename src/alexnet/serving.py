"""A model behind HTTP: a page to drop pictures on, and an address that answers programs.

- GET / is the page; it loads nothing from anywhere else.
- POST /predict with the bytes of an image file answers {"views", "predictions": [{"name", "title", "probability"},
  ...]}: how many views were averaged, and classes, best first; with something else 400 and {"error": what is wrong and
  what to do}.

Pictures go through the one decode path, are kept in memory and never written. There is no password: the server listens
to this machine alone unless told otherwise.
"""

import html
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from alexnet.data.images.decode import MAX_FILE_BYTES, decode_image
from alexnet.errors import ConfigError, ImageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble
from alexnet.text.wording import counted, say_views

MAX_UPLOAD_BYTES = min(64 * 2**20, MAX_FILE_BYTES)
"""Largest picture that is accepted."""
TIMEOUT_SECONDS = 30
"""How long a connection may be silent."""


def open_server(model: Classifier | Ensemble, host: str, port: int, *, views: int, top: int) -> ThreadingHTTPServer:
    """Return a server that listens already; `serve_forever` answers, `shutdown` from another thread ends it.

    Args:
        port: 0 for one that is free; `server_address` tells which.
        views: 1, 9 or 10, as `Classifier.predict`.
        top: Classes in an answer, at most.
    Raises:
        ConfigError: the port is taken or may not be used.
    """
    lock = threading.Lock()  # one picture at a time: each uses all threads of the machine
    wanted = model if isinstance(model, Ensemble) else model.model.preprocessing
    titles = dict(zip(model.class_names, model.class_titles, strict=True))
    file = (isinstance(model, Ensemble) and model.file) or model.path
    page = (
        _PAGE.replace("CLASSES", counted(len(titles), "class", "classes"))
        .replace("VIEWS", say_views(views))
        .replace("MODEL", html.escape(file.resolve().name))
        .encode()
    )

    def predict(data: bytes) -> dict[str, Any]:
        pixels = decode_image(data, size=wanted.image_px, name="the picture", framing=wanted.framing)
        with lock:
            (prediction,) = model.predict([pixels], views=views)
        best = [
            {"name": name, "title": titles[name], "probability": probability}
            for name, probability in prediction.top(top)
        ]
        return {"views": views, "predictions": best}

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_SECONDS
        server_version, sys_version = "alexnet", ""

        def do_GET(self) -> None:
            if self.path == "/":
                self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")
            else:
                self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}. Known: / and, by POST, /predict.")

        def do_POST(self) -> None:
            if self.path != "/predict":
                self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}. Send pictures to /predict.")
                return
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                self._refuse(
                    HTTPStatus.LENGTH_REQUIRED, "the request lacks its Content-Length. Send one picture whole."
                )
            elif int(length) > MAX_UPLOAD_BYTES:
                limit = f"at most {MAX_UPLOAD_BYTES:,} are accepted. Save a smaller copy of it."
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the picture has {int(length):,} bytes; {limit}")
            else:
                try:
                    answer = predict(self.rfile.read(int(length)))
                except ImageError as problem:
                    self._refuse(HTTPStatus.BAD_REQUEST, str(problem))
                else:
                    self._answer(HTTPStatus.OK, json.dumps(answer).encode(), "application/json")

        def _refuse(self, status: HTTPStatus, message: str) -> None:
            self.close_connection = True  # what it sent was not read
            self._answer(status, json.dumps({"error": message}).encode(), "application/json")

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Security-Policy", _POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a line for every picture would hide what matters."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ConfigError(f"cannot listen on {host}:{port} ({reason}). Choose another --port, or --host.") from None


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob:; connect-src 'self'"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>MODEL</title>
<style>
  :root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e6e9ed); --rule: light-dark(#d5dae0, #3a4048) }
  body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 40rem; margin: 3rem auto; padding: 0 1rem }
  label { display: block; border: 2px dashed var(--rule); border-radius: 8px; padding: 2.5rem 1rem; text-align: center;
          cursor: pointer }
  label:hover, label.over, label:focus-within { border-color: #1565c0 }
  input { position: absolute; opacity: 0 }
  img { display: block; max-width: 100%; max-height: 20rem; margin: 1.5rem auto; border-radius: 4px }
  .row { display: grid; grid-template-columns: 12rem 1fr 4rem; gap: 1rem; align-items: center; margin: .3rem 0 }
  .bar { background: #1565c0; height: .8rem; border-radius: 2px; min-width: 1px }
  .number { text-align: right; font-variant-numeric: tabular-nums }
</style>
<h1>MODEL</h1>
<p>CLASSES. Each picture is seen in VIEWS. Pictures stay on the machine that serves this page.</p>
<label><input type="file" accept="image/*">Drop a picture here, or choose one</label>
<img alt="" hidden><div role="status"></div>
<script>
  const label = document.querySelector("label"), input = document.querySelector("input")
  const image = document.querySelector("img"), status = document.querySelector("[role=status]")
  async function ask(file) {
    if (!file) return
    image.src = URL.createObjectURL(file); image.hidden = false; status.textContent = "Looking …"
    let answer
    try { answer = await (await fetch("predict", { method: "POST", body: file })).json() }
    catch { answer = { error: "the server does not answer. Is it still running?" } }
    if (answer.error) { image.hidden = true; status.textContent = answer.error; return }
    status.replaceChildren(...answer.predictions.map(({ title, probability }) => {
      const row = document.createElement("div"), bar = document.createElement("div")
      const name = document.createElement("span"), number = document.createElement("span")
      row.className = "row"; bar.className = "bar"; number.className = "number"
      name.textContent = title; number.textContent = (100 * probability).toFixed(1) + " %"
      bar.style.width = 100 * probability + "%"
      row.append(name, bar, number)
      return row
    }))
  }
  input.addEventListener("change", () => ask(input.files[0]))
  label.addEventListener("dragover", event => { event.preventDefault(); label.classList.add("over") })
  label.addEventListener("dragleave", () => label.classList.remove("over"))
  label.addEventListener("drop", event => {
    event.preventDefault(); label.classList.remove("over"); ask(event.dataTransfer.files[0])
  })
</script></html>
"""
