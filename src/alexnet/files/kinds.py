"""What a file is by its content, among the kinds that people hand to a program about images and networks.

Names of files are not trusted: a model saved as .bin is still a model. Nothing is executed, and of a large file only
its beginning and the headers inside it are read.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alexnet.files.writing import check_file
from alexnet.text.commands import command

_BEGINNING_BYTES = 4096
_MOST_FIELDS = 100_000
_LENGTHS = {1: 8, 5: 4}
"""Wire type of protobuf -> bytes of its values, where they are fixed."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """One kind of file that is not a model file of this program."""

    name: str
    """One word, for programs."""
    what: str
    """Completes "it is …"."""
    advice: str
    """What to do with one; {path} stands for where it is, and a command ends it."""
    is_damaged: bool = False
    """Whether no program can read it."""

    def advise(self, path: Path) -> str:
        """Return the advice for the file at path."""
        sentence, colon, words = self.advice.partition(": alexnet ")
        if not colon:
            return sentence
        return f"{sentence}: {command(*(path if word == '{path}' else word for word in words.split()))}"


class _Content:
    """What the tests below look at; each part is read when it is first needed."""

    def __init__(self, start: bytes, size: int, path: Path | None) -> None:
        self.start = start
        self.size = size
        self.path = path
        """Where the rest is; None for bytes of which nothing but the beginning may be looked at."""

    @cached_property
    def text(self) -> str:
        """The beginning without leading space and in lower case; empty where it is no text."""
        data = self.start.removeprefix(b"\xef\xbb\xbf")
        if b"\x00" in data:
            return ""
        try:
            return data[: len(data) - 4 if self.size > len(data) else None].decode().lstrip().lower()
        except UnicodeDecodeError:
            return ""

    @cached_property
    def entries(self) -> list[str] | None:
        """Names inside a zip archive; empty where it is none, None where it is damaged."""
        if self.path is None or not self.start.startswith(b"PK"):
            return []
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.namelist()
        except Exception:  # a damaged directory makes zipfile fail in any of a dozen ways
            return None

    @cached_property
    def fields(self) -> dict[int, int]:
        """Top-level fields of a protobuf message and the wire type of each; empty where the file is none."""
        found: dict[int, int] = {}
        if self.path is None:
            return found
        with self.path.open("rb") as file:

            def varint() -> int:
                value = shift = 0
                while byte := file.read(1):
                    value |= (byte[0] & 0x7F) << shift
                    shift += 7
                    if byte[0] < 0x80:
                        return value
                    if shift > 63:
                        break
                raise EOFError

            try:
                for _ in range(_MOST_FIELDS):
                    if file.tell() == self.size:
                        return found
                    key = varint()
                    wire = key & 7
                    length = varint() if wire in (0, 2) else _LENGTHS[wire]
                    found[key >> 3] = wire
                    if wire != 0 and file.seek(length, 1) > self.size:
                        return {}
            except (EOFError, KeyError):
                pass
        return {}


def _starts(*beginnings: bytes) -> Callable[[_Content], bool]:
    return lambda content: content.start.startswith(beginnings)


def _has_brand(*brands: bytes) -> Callable[[_Content], bool]:
    """Whether it is of the family of MP4 and HEIC, and one of these brands is its first; any brand where none is."""
    return lambda content: content.start[4:8] == b"ftyp" and (not brands or content.start[8:12] in brands)


def _has_entry(*ends: str) -> Callable[[_Content], bool]:
    return lambda content: any(name.endswith(ends) for name in content.entries or ())


def _looks_like_tensors(content: _Content) -> bool:
    """The length of a JSON object, and its beginning."""
    return content.start[8:10] == b'{"' and content.start[5:8] == b"\0\0\0"


def _is_broken_tensors(content: _Content) -> bool:
    """A safetensors file that lacks bytes, or has some that its header does not know of."""
    if content.path is None or not _looks_like_tensors(content):
        return False
    length = int.from_bytes(content.start[:8], "little")
    try:
        with content.path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return True
    return 8 + length + max(ends, default=0) != content.size


def _is_onnx(content: _Content) -> bool:
    """Version, graph and operator sets, and no field that a ModelProto does not have."""
    fields = content.fields
    return fields.get(1) == 0 and fields.get(7) == 2 and fields.keys() <= {*range(1, 9), 14, 20, 25, 26}


def _is_caffemodel(content: _Content) -> bool:
    """Layers of either generation, and no field that a NetParameter does not have."""
    fields = content.fields
    return 2 in (fields.get(2), fields.get(100)) and fields.keys() <= {*range(1, 9), 100} and fields.get(1, 2) == 2


def _is_caffe_mean(content: _Content) -> bool:
    """Sides and packed numbers, and no field that a BlobProto does not have."""
    fields = content.fields
    return fields.get(5) == 2 and fields.keys() <= set(range(1, 10)) and (fields.get(1) == 0 or 7 in fields)


def _is_raw_photograph(content: _Content) -> bool:
    """One that is no TIFF, or a TIFF that says so where it begins; data/images/formats.py knows the rest."""
    start = content.start
    return (
        start.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM"))
        or start[6:14] == b"HEAPCCDR"
        or (start.startswith((b"II*\0", b"MM\0*")) and start[8:10] == b"CR")
        or _has_brand(b"crx ")(content)
    )


_IMPORT = "To use its weights: alexnet export {path} --to alexnet --out model.safetensors"
_PREPARE = "To make a store of the images in it: alexnet prepare {path} --out STORE"
_PREDICT = "To see what a model makes of it: alexnet predict RUN {path}"
_SAVE = "Save it as JPEG or PNG."
HEIC = FileKind(
    "heic", "a HEIC photograph", "To read it: pip install 'alexnet[heif]'. Or save it as JPEG, as most phones can."
)
JPEG_XL = FileKind("jxl", "a JPEG XL photograph", "To read it: pip install 'alexnet[jxl]'. Or save it as JPEG or PNG.")
AVIF = FileKind("avif", "an AVIF photograph", "To read it: pip install --upgrade pillow. Or save it as JPEG or PNG.")
RAW_PHOTOGRAPH = FileKind(
    "raw", "a camera's raw file", "Develop it: save it as JPEG or TIFF with the camera's program."
)
SAFETENSORS = FileKind("safetensors", "a file of tensors of another program (safetensors)", _IMPORT)

_KINDS: tuple[tuple[Callable[[_Content], bool], FileKind], ...] = (
    (lambda content: content.size == 0, FileKind("empty", "an empty file", "Obtain it again.", is_damaged=True)),
    (
        _is_broken_tensors,
        FileKind("damaged", "a damaged file of tensors (safetensors)", "Obtain it again.", is_damaged=True),
    ),
    (_looks_like_tensors, SAFETENSORS),
    (
        lambda content: content.entries is None,
        FileKind(
            "damaged",
            "a damaged zip archive, as which PyTorch and NumPy save too: its directory cannot be read",
            "Obtain it again.",
            is_damaged=True,
        ),
    ),
    (
        _has_entry("/data.pkl"),
        FileKind("pytorch", "a file of PyTorch, as torch.save writes it", _IMPORT),
    ),
    (
        _has_entry("/archive_format", "serialized_exported_program.json", "models/model.json"),
        FileKind(
            "program", "a program of torch.export", "To run it: torch.export.load. Give alexnet what it was made from."
        ),
    ),
    (
        lambda content: bool(content.entries) and all(name.endswith(".npy") for name in content.entries or ()),
        FileKind(
            "npz",
            "an archive of NumPy arrays",
            "Activations are read with numpy.load. If it holds images and labels: alexnet prepare {path} --out STORE",
        ),
    ),
    (_starts(b"PK\x03\x04", b"PK\x05\x06"), FileKind("zip", "a zip archive", _PREPARE)),
    (
        _starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        FileKind("pickle", "a pickle, as older versions of PyTorch write them", _IMPORT),
    ),
    (_is_raw_photograph, RAW_PHOTOGRAPH),
    (
        _has_brand(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"),
        HEIC,
    ),
    (_starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), JPEG_XL),
    (_has_brand(b"avif", b"avis"), AVIF),
    (
        lambda content: (
            _has_brand()(content)
            or content.start[8:12] == b"AVI "
            or content.start.startswith((b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"FLV\x01"))
        ),
        FileKind("video", "a video", "Take pictures out of it, as ffmpeg does."),
    ),
    (_starts(b"%PDF"), FileKind("pdf", "a PDF document", f"Take the picture out of it. {_SAVE}")),
    (_starts(b"8BPS"), FileKind("psd", "a document of Photoshop", f"Open it there. {_SAVE}")),
    (_starts(b"%!PS", b"\xc5\xd0\xd3\xc6"), FileKind("postscript", "a PostScript drawing", _SAVE)),
    (
        lambda content: content.text.startswith(("<svg", "<?xml")) and "<svg" in content.text,
        FileKind("svg", "a drawing (SVG)", _SAVE),
    ),
    (
        _starts(b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*"),
        FileKind("image", "an image", _PREDICT),
    ),
    (
        lambda content: content.start.startswith(b"RIFF") and content.start[8:12] == b"WEBP",
        FileKind("image", "an image", _PREDICT),
    ),
    (_starts(b"\x1f\x8b", b"BZh", b"\xfd7zXZ"), FileKind("compressed", "a compressed file or archive", _PREPARE)),
    (lambda content: content.start[257:262] == b"ustar", FileKind("tar", "a tar archive", _PREPARE)),
    (
        _starts(b"PAR1"),
        FileKind("parquet", "a Parquet file", "If it holds images and labels: alexnet prepare {path} --out STORE"),
    ),
    (
        _starts(b"\x89HDF"),
        FileKind("hdf5", "an HDF5 file", "Activations are read with h5py. alexnet itself reads none."),
    ),
    (_starts(b"\x93NUMPY"), FileKind("npy", "a NumPy array", "It is read with numpy.load.")),
    (
        _is_onnx,
        FileKind(
            "onnx",
            "an ONNX model",
            "To run it: onnxruntime. alexnet writes ONNX and does not read it; give it the run or model file that this "
            "was exported from.",
        ),
    ),
    (
        _is_caffe_mean,
        FileKind(
            "caffe-mean",
            "a mean file of Caffe",
            "To use it with weights: alexnet export WEIGHTS.caffemodel --mean {path} --to alexnet --out "
            "model.safetensors",
        ),
    ),
    (_is_caffemodel, FileKind("caffemodel", "a network of Caffe (.caffemodel)", _IMPORT)),
    (
        lambda content: content.text.startswith("version https://git-lfs.github.com/"),
        FileKind("lfs", "a Git LFS pointer", "Fetch the file that it stands for: git lfs pull"),
    ),
    (
        lambda content: content.text.startswith(("<!doctype", "<html")),
        FileKind(
            "html",
            "a web page",
            "Open it in a browser. If it came instead of a download, that download failed: obtain it again.",
        ),
    ),
)
"""Test and kind, in the order in which they are tried: the particular before the general."""


def recognize(path: Path) -> FileKind | None:
    """Return the kind of a file by its content; None where it is no kind that is known, or cannot be read."""
    try:
        size = check_file(path)
        with path.open("rb") as file:
            content = _Content(file.read(_BEGINNING_BYTES), size, path)
        return _choose(content)
    except OSError:
        return None


def recognize_bytes(data: bytes) -> FileKind | None:
    """Return the kind of a file by its bytes, as far as their beginning tells; None where that is not known."""
    return _choose(_Content(data[:_BEGINNING_BYTES], len(data), None))


def _choose(content: _Content) -> FileKind | None:
    return next((kind for is_it, kind in _KINDS if is_it(content)), None)
