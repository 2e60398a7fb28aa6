"""Files that strangers may hand over, by family: good ones to begin from, and what reads everything in them.

A header with a checksum gets the right one after every change: who may write the file may write that too.
"""

import csv
import io
import json
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet.files.record import header_checksum

CLASSES = ("ant", "bee")


def _take(data: bytes, folder: Path) -> bytes:
    return data


@dataclass(frozen=True)
class Family:
    """One kind of file."""

    name: str
    place: str
    """Where it lies in its folder."""
    make: Callable[[Path], list[bytes]]
    """Puts into a folder what belongs to such a file; returns good ones, and some that are odd on purpose."""
    read: Callable[[Path], object]
    """Reads all of it, as the program would."""
    seal: Callable[[bytes, Path], bytes] = _take
    """Gives a changed file what makes it believable."""
    is_json: bool = False
    """Whether values of a document are changed, not only bytes."""


class Bomb:
    """Runs code when it is unpickled: a folder appears."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__("os").mkdir, ("EXECUTED",)


def picture(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def seal_json(data: bytes, folder: Path) -> bytes:
    try:
        header = json.loads(data)
        if isinstance(header, dict) and "checksum" in header:
            header["checksum"] = header_checksum(header)
            data = json.dumps(header).encode()
    except (ValueError, RecursionError):
        pass
    return data


# Stores, indexes, models


def make_store(folder: Path) -> list[bytes]:
    from conftest import write_store

    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    write_store(folder / "STORE", {"train": (images, labels), "val": (images[:2], labels[:2])}, CLASSES)
    write_store(folder / "SETS", {"train": (images, np.eye(2, dtype=bool)[labels])}, CLASSES)
    return [(folder / name / "store.json").read_bytes() for name in ("STORE", "SETS")]


def read_store(path: Path) -> None:
    from alexnet.data.store.reader import open_store
    from alexnet.description.describe import describe

    describe(str(path.parent))
    store = open_store(path.parent)
    for split in store.splits.values():
        assert isinstance(split.targets, np.ndarray)
        assert list(split.paths[:3]) or not len(split)
        for number in range(min(3, len(split))):
            assert split.images[number].shape == (store.size, store.size, 3)
    assert store.mean_image.ndim == 3
    assert store.color_axes.shape == store.color_covariance.shape
    assert repr(store)
    assert store.color_mean.ndim
    store.verify()


def make_index(folder: Path) -> list[bytes]:
    from alexnet.evaluation.classifier import load
    from alexnet.network.model_file import save_model
    from alexnet.retrieval.index.images import choose_images
    from alexnet.retrieval.index.writer import make_index, remove_rows
    from exchange.miniature import everything, make_model

    save_model(folder / "model.safetensors", make_model(everything()))
    for number in range(6):
        place = folder / "pictures" / CLASSES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(picture(number))
    model = load(folder / "model.safetensors", device="cpu", precision="float32")
    make_index(model, choose_images([folder / "pictures"]), folder / "INDEX")
    first = (folder / "INDEX" / "index.json").read_bytes()
    remove_rows(folder / "INDEX", lambda index: np.array([1]))
    return [(folder / "INDEX" / "index.json").read_bytes(), first]


def read_index(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.retrieval.index.reader import open_index

    describe(str(path.parent))
    index = open_index(path.parent)
    assert len(index) >= 0
    assert repr(index)
    for name in ("features", "ids", "labels", "pixels", "skip"):
        getattr(index, name)
    index.verify()


def make_model_document(folder: Path) -> list[bytes]:
    import safetensors.torch

    from alexnet.network.model_file import save_model
    from exchange.miniature import everything, make_model

    save_model(folder / "good.safetensors", make_model(everything()))
    with safetensors.safe_open(folder / "good.safetensors", framework="pt") as file:
        text = file.metadata()["alexnet"]
    odd = json.loads(text)
    odd |= {"temperatures": {"1": 1.5, "10": 1.25}, "rejection": {"share": 0.05, "thresholds": {"1": 2.0, "10": 3.0}}}
    return [text.encode(), json.dumps(odd).encode()]


def seal_model(data: bytes, folder: Path) -> bytes:
    import safetensors.torch

    tensors = safetensors.torch.load_file(folder / "good.safetensors")
    text = seal_json(data, folder).decode("utf-8", "replace")
    return safetensors.torch.save(tensors, {"alexnet": text})


def read_model(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.network.model_file import load_model

    describe(str(path))
    load_model(path)


def make_model_file(folder: Path) -> list[bytes]:
    make_model_document(folder)
    return [(folder / "good.safetensors").read_bytes()]


def make_ensemble(folder: Path) -> list[bytes]:
    from alexnet.evaluation.classifier import load
    from alexnet.evaluation.ensemble import Ensemble, save_ensemble
    from alexnet.network.model_file import save_model
    from exchange.miniature import everything, make_model

    for name, seed in (("a", 1), ("b", 2)):
        save_model(folder / f"{name}.safetensors", make_model(everything(), divisor=50.0 + seed))
    members = [load(folder / f"{name}.safetensors", device="cpu", precision="float32") for name in "ab"]
    save_ensemble(folder / "two.json", Ensemble(members, [1.0, 2.0], temperatures={1: 1.5, 10: 1.2}))
    return [(folder / "two.json").read_bytes()]


def read_ensemble(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.evaluation.ensemble import load_ensemble

    describe(str(path))
    load_ensemble(path, device="cpu", precision="float32")


# Recipes


def make_recipe(folder: Path) -> list[bytes]:
    from alexnet.recipes.named import RECIPES

    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    odd = [bomb, "batches:\n\tsize: 5\n", "&x [*x]\n", "!!python/object/apply:os.mkdir [EXECUTED]\n", "<<: 1\n",
           "optimization: {learning_rate: .inf, total_epochs: 1e400}\n", "name: 2001-99-99\n", "[" * 5000,
           "batches: {size: 0x" + "f" * 6000 + "}\n"]  # fmt: skip
    return [*(recipe().to_yaml().encode() for recipe in RECIPES.values()), *(text.encode() for text in odd)]


def read_recipe(path: Path) -> None:
    from alexnet.recipes import named

    recipe = named.read_recipe(path)
    assert named.Recipe.model_validate(recipe.model_dump()) == recipe


# Other programs' weights


def make_caffe(folder: Path) -> list[bytes]:
    from exchange.caffe_files import NORM, blob, field, layer

    ones = np.ones((2, 3, 3, 3), np.float32)
    found = []
    for generation in (0, 1, 2):
        blobs = [blob(ones, old=generation < 2), blob(np.ones(2, np.float32), old=generation < 2)]
        found.append(field(1, b"net") + layer("conv1", "Convolution", blobs, generation=generation)
                     + layer("norm1", "LRN", generation=generation, norm=NORM))  # fmt: skip
    return [*found, blob(np.ones((1, 3, 4, 4), np.float32), old=True)]


def read_caffe(path: Path) -> None:
    from alexnet.errors import AlexNetError
    from alexnet.exchange.caffe import read_caffemodel, read_mean_file
    from alexnet.exchange.importing import open_model

    for read in (read_mean_file, read_caffemodel, open_model):
        try:
            read(path)
        except AlexNetError as problem:
            last = problem
    raise last


def make_pickles(folder: Path) -> list[bytes]:
    import torch

    state = {"features.0.weight": torch.ones(2, 3), "classifier.1.bias": torch.zeros(2, dtype=torch.float64)}
    found = []
    for values in (state, OrderedDict(state_dict=state, epoch=3), {"x": Bomb()}):
        for old in (False, True):
            stream = io.BytesIO()
            torch.save(values, stream, _use_new_zipfile_serialization=not old)
            found.append(stream.getvalue())
    return [
        *found,
        pickle.dumps(Bomb()),
        pickle.dumps({"a.weight": Bomb()}, 2),
        b"\x80\x02cos\nmkdir\nX\x01\x00\x00\x00a\x85R.",
    ]


def read_pickle(path: Path) -> None:
    from alexnet.exchange.importing import open_model

    open_model(path)


# Images with their labels


def read_source(path: Path) -> None:
    from alexnet.data.images.decode import decode_image
    from alexnet.data.sources.kinds import find_images
    from alexnet.errors import ImageError

    found = find_images(path, val_fraction=0.5)
    for entries in found.splits.values():
        for entry in entries[:3]:
            try:
                decode_image(found.read(entry.path), size=16, name=entry.path)
            except (ImageError, OSError):
                continue
    assert list(found.describe_files()) is not None


def make_npz(folder: Path) -> list[bytes]:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    found = []
    for labels in (np.arange(4) % 2, np.array(["a", "b", "a", "b"])):
        stream = io.BytesIO()
        np.savez(stream, images=images, labels=labels)
        found.append(stream.getvalue())
    stream = io.BytesIO()
    np.savez(stream, images=images, labels=np.array([Bomb()] * 4, object), allow_pickle=True)
    return [*found, stream.getvalue()]


def make_tars(folder: Path) -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
            for number, name in enumerate(
                (
                    "ant/0.png",
                    "ant/1.png",
                    "bee/0.png",
                    "bee/1.png",
                    "bee/1.png",
                    "../bee/9.png",
                    "/ant/9.png",
                    "x" * 90,
                )
            ):
                entry = tarfile.TarInfo(name)
                entry.size = len(picture(number))
                tar.addfile(entry, io.BytesIO(picture(number)))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
                entry = tarfile.TarInfo(f"ant/{kind.decode('latin-1')}.png")
                entry.type, entry.linkname = kind, "../../etc/passwd"
                tar.addfile(entry)
        found.append(stream.getvalue())
    return found


def make_zips(folder: Path) -> list[bytes]:
    found = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as archive:
            for number, name in enumerate(
                ("ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png", "../x.png", "C:\\x.png")
            ):
                archive.writestr(name, picture(number))
            link = zipfile.ZipInfo("ant/link.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
            archive.writestr("ant/bomb.png", bytes(3_000_000))
        found.append(stream.getvalue())
    return found


def make_shards(folder: Path) -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number in range(4):
            for suffix, data in (("png", picture(number)), ("cls", b"%d" % (number % 2)), ("json", b'{"a": 1}')):
                entry = tarfile.TarInfo(f"{number:04d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return [stream.getvalue()]


def make_parquet(folder: Path) -> list[bytes]:
    import pyarrow
    import pyarrow.parquet

    images = [{"bytes": picture(number), "path": f"{number}.png"} for number in range(4)]
    found = []
    for table in (
        pyarrow.table({"image": images, "label": [0, 1, 0, 1]}),
        pyarrow.table({"image": [each["bytes"] for each in images], "label": ["a", "b", "a", None]}),
    ):
        stream = io.BytesIO()
        pyarrow.parquet.write_table(table, stream)
        found.append(stream.getvalue())
    return found


def make_kit(folder: Path) -> list[bytes]:
    from scipy.io import savemat

    synsets = np.zeros(2, [("ILSVRC2012_ID", float), ("WNID", object), ("words", object)])
    for number, name in enumerate(("n01", "n02"), start=1):
        synsets[number - 1] = (number, name, f"{name}, thing")
    found = []
    for compressed in (False, True):
        stream = io.BytesIO()
        savemat(stream, {"synsets": synsets}, do_compression=compressed)
        found.append(stream.getvalue())
    return found


def read_kit(path: Path) -> None:
    from alexnet.data.sources.ilsvrc import _read_synsets

    _read_synsets(path, path.read_bytes())


def make_tables(folder: Path) -> list[bytes]:
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))
    rows = [["path", "label", "split"], *([f"{number}.png", CLASSES[number % 2], "train"] for number in range(4))]
    found = []
    for delimiter in ",;\t":
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(rows)
        found += [text.getvalue().encode(), text.getvalue().encode("utf-16")]
    return [*found, b'path,label\n"../../etc/passwd",ant\n/etc/passwd,bee\n', b'path,label\n0.png,"' + b"x" * 200_000]


def make_coco(folder: Path) -> list[bytes]:
    make_tables(folder)
    document = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 24, "height": 20} for number in range(4)],
        "annotations": [{"id": number, "image_id": number, "category_id": number % 2} for number in range(4)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
    }
    return [json.dumps(document).encode()]


def make_cifar(folder: Path) -> list[bytes]:
    rows = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {b"data": rows, b"labels": [0, 1, 0, 1], b"filenames": [b"a", b"b", b"c", b"d"]}
    (folder / "CIFAR").mkdir()
    (folder / "CIFAR" / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"ant", b"bee"]}, 2))
    (folder / "CIFAR" / "test_batch").write_bytes(pickle.dumps(batch, 2))
    return [pickle.dumps(batch, protocol) for protocol in (0, 2, 4)] + [
        pickle.dumps({b"data": Bomb(), b"labels": []}, 2)
    ]


def read_folder(path: Path) -> None:
    read_source(path.parent)


def make_titles(folder: Path) -> list[bytes]:
    return [
        b"ant\tAmeise\nbee\tBiene\n",
        b"n01\tant\tthe ant\nn02\tbee\tthe bee\n",
        b"\xef\xbb\xbfant\tA\r\nbee\tB\r\n",
    ]


def read_titles(path: Path) -> None:
    from alexnet.text.class_names import read_titles

    read_titles(path, CLASSES)


def make_corrections(folder: Path) -> list[bytes]:
    make_tables(folder)
    (folder / "table.csv").write_bytes(
        b"path,label\n" + b"".join(b"%d.png,%s\n" % (n, CLASSES[n % 2].encode()) for n in range(4))
    )
    return [b"path,label\n0.png,bee\n1.png,\n", b"path;label\n0.png;new\n"]


def read_corrections(path: Path) -> None:
    from alexnet.data.sources.kinds import find_images

    find_images(path.with_name("table.csv"), corrections=path, val_fraction=0.5)


def make_requests(folder: Path) -> list[bytes]:
    form = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\nContent-Type: image/png\r\n\r\n%s\r\n'
        % (name, picture(number)) for number, name in enumerate((b"a.png", b"../../b.png"))
    )  # fmt: skip
    import base64

    text = {"images": [{"name": "a.png", "base64": base64.b64encode(picture()).decode()}]}
    return [
        b"multipart/form-data; boundary=b\n" + form + b"--b--\r\n",
        b"application/json\n" + json.dumps(text).encode(),
        b"image/png\n" + picture(),
    ]


def read_request(path: Path) -> None:
    """The body of a request, whose first line stands for its Content-Type."""
    import asyncio

    from starlette.requests import Request

    from alexnet.data.images.decode import decode_image
    from alexnet.errors import ImageError
    from alexnet.serving.limits import Limits
    from alexnet.serving.uploads import read_uploads

    kind, _, body = path.read_bytes().partition(b"\n")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive)
    for upload in asyncio.run(read_uploads(request, Limits())):
        try:
            decode_image(upload.data, size=16, name=upload.name)
        except ImageError:
            continue


FAMILIES = (
    Family("store", "STORE/store.json", make_store, read_store, seal_json, is_json=True),
    Family("index", "INDEX/index.json", make_index, read_index, seal_json, is_json=True),
    Family("model document", "model.safetensors", make_model_document, read_model, seal_model, is_json=True),
    Family("model file", "model.safetensors", make_model_file, read_model),
    Family("ensemble", "two.json", make_ensemble, read_ensemble, seal_json, is_json=True),
    Family("recipe", "recipe.yaml", make_recipe, read_recipe),
    Family("Caffe", "net.caffemodel", make_caffe, read_caffe),
    Family("pickle", "weights.pth", make_pickles, read_pickle),
    Family("NumPy", "images.npz", make_npz, read_source),
    Family("tar", "PHOTOS.tar", make_tars, read_source),
    Family("zip", "PHOTOS.zip", make_zips, read_source),
    Family("WebDataset", "shard-000000.tar", make_shards, read_source),
    Family("Parquet", "train.parquet", make_parquet, read_source),
    Family("MATLAB kit", "meta.mat", make_kit, read_kit),
    Family("table", "table.csv", make_tables, read_source),
    Family("COCO", "instances.json", make_coco, read_source, is_json=True),
    Family("CIFAR", "CIFAR/data_batch_1", make_cifar, read_folder),
    Family("class names", "classes.tsv", make_titles, read_titles),
    Family("corrections", "corrections.csv", make_corrections, read_corrections),
    Family("HTTP body", "body", make_requests, read_request),
)
