"""What a file is by its content, among the kinds that people hand to a program about images and networks.

Names of files are not trusted: a model saved as .bin is still a model. Nothing is executed, and of a large file only
its beginning and the headers inside it are read.
"""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alexnet.files.documents import parse_json
from alexnet.files.writing import check_file
from alexnet.text.commands import command

_BEGINNING_BYTES = 4096
_MOST_FIELDS = 100_000


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


@dataclass
class _Content:
    """The content that the tests of the table look at; the rest of a file is read when it is first needed."""

    start: bytes
    size: int
    path: Path | None
    """File with the rest; None for bytes of which only the beginning is known."""

    @cached_property
    def names(self) -> bytes | None:
        """Names inside a zip archive, a line each; empty where it is none, None where it is damaged."""
        if self.path is None or not self.start.startswith(b"PK"):
            return b""
        try:
            with zipfile.ZipFile(self.path) as archive:
                return "".join(f"{name}\n" for name in archive.namelist()).encode(errors="replace")
        except Exception:  # a damaged directory makes zipfile fail in any of a dozen ways
            return None

    @cached_property
    def fields(self) -> dict[int, int]:
        """Top-level fields of a protobuf message and the wire type of each; empty where the file is none."""
        if self.path is None:
            return {}
        found: dict[int, int] = {}
        with self.path.open("rb") as file:

            def varint() -> int:
                value = 0
                for shift in range(0, 64, 7):
                    byte = file.read(1)[0]
                    value |= (byte & 0x7F) << shift
                    if byte < 0x80:
                        return value
                raise IndexError

            try:
                for _ in range(_MOST_FIELDS):
                    if file.tell() == self.size:
                        return found
                    number, wire = divmod(varint(), 8)
                    length = varint() if wire in (0, 2) else {1: 8, 5: 4}[wire]
                    found[number] = wire
                    if wire and file.seek(length, 1) > self.size:
                        break
            except LookupError:  # the file ends, or there is no such wire type
                pass
        return {}


Test = bytes | Callable[[_Content], bool]
"""A pattern of how a file begins, or a function."""

_TEXT = rb"(?i)(\xef\xbb\xbf)?\s*"
"""Beginning of the pattern of a text, in either case of letters."""
_TENSORS = rb'.{5}\0\0\0\{"'
"""The length of a JSON object, and its beginning."""


def _begins(pattern: bytes, data: bytes) -> bool:
    return re.match(pattern, data, re.DOTALL) is not None


def _holds(pattern: bytes) -> Test:
    """Whether it is a zip archive, and the names in it are like this."""
    return lambda content: _begins(pattern, content.names or b"")


def _has_fields(test: Callable[[dict[int, int]], bool], known: set[int]) -> Test:
    """Whether it is a protobuf message with no other fields than those known, and the test holds of their types."""
    return lambda content: test(content.fields) and content.fields.keys() <= known


def _is_broken_tensors(content: _Content) -> bool:
    """A safetensors file that lacks bytes, or has some that its header does not know of."""
    if content.path is None or not _begins(_TENSORS, content.start):
        return False
    length = int.from_bytes(content.start[:8], "little")
    try:
        with content.path.open("rb") as file:
            file.seek(8)
            header = parse_json(file.read(min(length, content.size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return 8 + length + max(ends, default=0) != content.size
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return True


_AGAIN = "Obtain it again."
_IMPORT = "To use its weights: alexnet export {path} --to alexnet --out model.safetensors"
_PREPARE = "To make a store of the images in it: alexnet prepare {path} --out STORE"
_PERHAPS = "If it holds images and labels: alexnet prepare {path} --out STORE"
_MEAN = "To use it with weights: alexnet export WEIGHTS.caffemodel --mean {path} --to alexnet --out model.safetensors"
_ONNX = (
    "To run it: onnxruntime. alexnet writes ONNX and does not read it; give it the run or model file that this was "
    "exported from."
)
_PROGRAM = "To run it: torch.export.load. Give alexnet what it was made from."
_PAGE = "Open it in a browser. If it came instead of a download, that download failed: obtain it again."
_TABLE = "Any program for tables reads it."
_BESIDE = f"Beside its class stand the classes that the model held likely, best first. {_TABLE}"
_SAID = f"Beside its labels stands what the model said, and the probability of every class. {_TABLE}"
_CORRECT = "To prepare the images again with them: alexnet prepare SOURCE --corrections {path} --out STORE"
_HEIF = "To read it: pip install 'alexnet[heif]'. Or save it as JPEG, as most phones can."
_SAVE = "Save it as JPEG or PNG."
_ZIP = "a damaged zip archive, as which PyTorch and NumPy save too: its directory cannot be read"
_RAW = rb"FUJIFILMCCD-RAW|IIRO|IIRS|MMOR|IIU\0|FOVb|\0MRM|.{6}HEAPCCDR|(II\*\0|MM\0\*).{4}CR|.{4}ftypcrx "
_VIDEO = (
    rb".{4}ftyp|.{8}AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xba\xb3]|FLV\x01|OggS"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\x06\x0e\x2b\x34|\x47.{187}\x47|.{4}\x47.{191}\x47"
)
_IMAGE = rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM|II\*\0|MM\0\*|RIFF.{4}WEBP"

HEIC = FileKind("heic", "a HEIC photograph", _HEIF)
JPEG_XL = FileKind("jxl", "a JPEG XL photograph", "To read it: pip install 'alexnet[jxl]'. Or save it as JPEG or PNG.")
AVIF = FileKind("avif", "an AVIF photograph", "To read it: pip install --upgrade pillow. Or save it as JPEG or PNG.")
RAW_PHOTOGRAPH = FileKind(
    "raw", "a camera's raw file", "Develop it: save it as JPEG or TIFF with the camera's program."
)
SAFETENSORS = FileKind("safetensors", "a file of tensors of another program (safetensors)", _IMPORT)

_KINDS: tuple[tuple[Test, FileKind], ...] = (
    (lambda content: content.size == 0, FileKind("empty", "an empty file", _AGAIN, is_damaged=True)),
    (_is_broken_tensors, FileKind("damaged", "a damaged file of tensors (safetensors)", _AGAIN, is_damaged=True)),
    (_TENSORS, SAFETENSORS),
    (lambda content: content.names is None, FileKind("damaged", _ZIP, _AGAIN, is_damaged=True)),
    (_holds(rb".*/data\.pkl\n"), FileKind("pytorch", "a file of PyTorch, as torch.save writes it", _IMPORT)),
    (_holds(rb".*(/archive_format|serialized_exported_program\.json|models/model\.json)\n"),
     FileKind("program", "a program of torch.export", _PROGRAM)),
    (_holds(rb"([^\n]*\.npy\n)+\Z"),
     FileKind("npz", "an archive of NumPy arrays", f"Activations are read with numpy.load. {_PERHAPS}")),
    (rb"PK(\x03\x04|\x05\x06)", FileKind("zip", "a zip archive", _PREPARE)),
    (rb"\x80[\x02-\x05]", FileKind("pickle", "a pickle, as older versions of PyTorch write them", _IMPORT)),
    (_RAW, RAW_PHOTOGRAPH),
    (rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", HEIC),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (rb".{4}ftypavi[fs]", AVIF),
    (_VIDEO, FileKind("video", "a video", "To see what a model makes of it: alexnet predict RUN {path}")),
    (rb"%PDF", FileKind("pdf", "a PDF document", f"Take the picture out of it. {_SAVE}")),
    (rb"8BPS", FileKind("psd", "a document of Photoshop", f"Open it there. {_SAVE}")),
    (rb"%!PS|\xc5\xd0\xd3\xc6", FileKind("postscript", "a PostScript drawing", _SAVE)),
    (_TEXT + rb"<(\?xml.*<)?svg", FileKind("svg", "a drawing (SVG)", _SAVE)),
    (_IMAGE, FileKind("image", "an image", "To see what a model makes of it: alexnet predict RUN {path}")),
    (rb"\x1f\x8b|BZh|\xfd7zXZ", FileKind("compressed", "a compressed file or archive", _PREPARE)),
    (rb".{257}ustar", FileKind("tar", "a tar archive", _PREPARE)),
    (rb"PAR1", FileKind("parquet", "a Parquet file", _PERHAPS)),
    (rb"\x89HDF", FileKind("hdf5", "an HDF5 file", "Activations are read with h5py. alexnet itself reads none.")),
    (rb"\x93NUMPY", FileKind("npy", "a NumPy array", "It is read with numpy.load.")),
    (_has_fields(lambda fields: fields.get(1) == 0 and fields.get(7) == 2, {*range(1, 9), 14, 20, 25, 26}),
     FileKind("onnx", "an ONNX model", _ONNX)),
    (_has_fields(lambda fields: fields.get(5) == 2 and (fields.get(1) == 0 or 7 in fields), {*range(1, 10)}),
     FileKind("caffe-mean", "a mean file of Caffe", _MEAN)),
    (_has_fields(lambda fields: 2 in (fields.get(2), fields.get(100)) and fields.get(1, 2) == 2, {*range(1, 9), 100}),
     FileKind("caffemodel", "a network of Caffe (.caffemodel)", _IMPORT)),
    (_TEXT + rb"version https://git-lfs\.github\.com/",
     FileKind("lfs", "a Git LFS pointer", "Fetch the file that it stands for: git lfs pull")),
    (_TEXT + rb"<(!doctype|html)", FileKind("html", "a web page", _PAGE)),
    (_TEXT + rb"path,label,class_1,", FileKind("predictions", "the predictions of a test, a line an image", _BESIDE)),
    (_TEXT + rb"path,time_s,class_1,", FileKind("frames", "what a model sees in the frames of clips", _TABLE)),
    (_TEXT + rb"path,labels,said,", FileKind("predictions", "the predictions of a test, a line an image", _SAID)),
    (_TEXT + rb"name,error,(labels,)?class_1,",
     FileKind("answers", "what a model answered on the page of serve", _TABLE)),
    (_TEXT + rb"path,label,predicted,", FileKind("corrections", "corrections from the page of serve", _PREPARE)),
    (_TEXT + rb"path,label,suggested,", FileKind("suspects", "images whose labels are doubtful, worst first", _TABLE)),
    (_TEXT + rb"\"?path\"?,\"?choice\"?,", FileKind("label-corrections", "corrections of labels", _CORRECT)),
    (_TEXT + rb"variant,seeds,planned,", FileKind("results", "the results of an experiment, a line a variant", _TABLE)),
    (_TEXT + rb"path,label[,\r\n]", FileKind("table", "a table of images and their classes", _PREPARE)),
)  # fmt: skip
"""Test and kind, in the order in which they are tried: the particular before the general."""


def recognize(path: Path) -> FileKind | None:
    """Return the kind of a file by its content; None if it is unknown or cannot be read."""
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
    for test, kind in _KINDS:
        if test(content) if callable(test) else _begins(test, content.start):
            return kind
    return None
