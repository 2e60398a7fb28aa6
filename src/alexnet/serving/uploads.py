"""Pictures out of a request: the bytes as they are, a form with files, or JSON with base64. All of it in memory."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from alexnet.serving.limits import Limits, Refusal
from alexnet.text.names import escape_name

UNNAMED = "the picture"
JSON_FORM = '{"images": [{"name": "a.jpg", "base64": "…"}]}'
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came, not looked at yet."""

    name: str
    """As the client calls it, printable and cut; never used as a path."""
    data: bytes
    problem: str | None = None
    """Why there are no data, where there are none."""


async def read_uploads(request: Request, limits: Limits) -> list[Upload]:
    """Return the files of a request, in their order; at least one.

    Raises:
        Refusal: it holds none or too many, or is not what its Content-Type says.
        ClientDisconnect: it did not arrive whole.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        uploads = await _read_form(request, limits)
    elif kind == "application/json":
        uploads = _read_json(await request.body(), limits)
    else:
        uploads = [Upload(UNNAMED, await request.body())]
    if not uploads:
        raise Refusal(400, f"the request holds no file. Send a picture's bytes, a form with files, or {JSON_FORM}.")
    return uploads


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # never to the disk: the request as a whole is limited


async def _read_form(request: Request, limits: Limits) -> list[Upload]:
    parser = _InMemory(request.headers, request.stream(), max_files=limits.max_files, max_fields=limits.max_files)
    try:
        form = await parser.parse()
    except MultiPartException as problem:
        if "Too many files" in problem.message:
            raise _refuse_files(limits) from None
        raise Refusal(400, f"the form cannot be read ({problem.message.rstrip('.')}). Send it again.") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    uploads = [Upload(_show(file.filename), await file.read()) for file in files]
    await form.close()
    return uploads


def _read_json(body: bytes, limits: Limits) -> list[Upload]:
    try:
        images: list[dict[str, Any]] = json.loads(body)["images"]
        given = [(each.get("name"), each["base64"]) for each in images]
        if not all(isinstance(data, str) for _, data in given):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refusal(400, f"the JSON is not of the form {JSON_FORM}.") from None
    if len(given) > limits.max_files:
        raise _refuse_files(limits)
    uploads = []
    for name, data in given:
        try:
            uploads.append(Upload(_show(name), base64.b64decode(data, validate=True)))
        except (binascii.Error, ValueError):
            problem = f"{_show(name)}: is not base64. Encode the bytes of the file."
            uploads.append(Upload(_show(name), b"", problem))
    return uploads


def _show(name: Any) -> str:
    return escape_name(name[:_LONGEST_NAME]) if isinstance(name, str) and name else UNNAMED


def _refuse_files(limits: Limits) -> Refusal:
    return Refusal(413, f"the request holds more than {limits.max_files} files. Send them in several requests.")
