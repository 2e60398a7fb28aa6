"""Images with their labels in one file: arrays, archives, tables of bytes, batches."""

import gzip
import io
import json
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from damage.family import CLASSES, Bomb, Samples, picture


def read_source(path: Path, *, val_fraction: float | None = 0.5) -> None:
    from alexnet.data.images.decode import decode_image
    from alexnet.data.sources.kinds import find_images
    from alexnet.errors import ImageError

    found = find_images(path, val_fraction=val_fraction)
    for entries in found.splits.values():
        for entry in entries[:3]:
            try:
                decode_image(found.read(entry.path), size=16, name=entry.path)
            except (ImageError, OSError):
                continue
    assert list(found.describe_files()) is not None


def make_npz(folder: Path) -> Samples:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    good = []
    for labels in (np.arange(4) % 2, np.array(["a", "b", "a", "b"])):
        stream = io.BytesIO()
        np.savez(stream, images=images, labels=labels)
        good.append(stream.getvalue())
    odd = []
    for more in ({"labels": np.array([Bomb()] * 4, object)}, {"labels": np.arange(4), "x": np.zeros((10**5, 30))}):
        stream = io.BytesIO()
        np.savez_compressed(stream, images=images, **more, allow_pickle=True)
        odd.append(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("images", "labels"):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 8, 8, 3)}
            )
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(100))
    return Samples(good, [*odd, stream.getvalue()])


def make_tars(folder: Path) -> Samples:
    good = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
            names = (
                "ant/0.png",
                "ant/1.png",
                "bee/0.png",
                "bee/1.png",
                "bee/1.png",
                "../bee/9.png",
                "/ant/9.png",
                "x" * 90,
            )
            for number, name in enumerate(names):
                _add(tar, name, picture(number))
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                entry = tarfile.TarInfo(f"ant/{kind.decode('latin-1')}.png")
                entry.type, entry.linkname = kind, "../../etc/passwd"
                tar.addfile(entry)
        good.append(stream.getvalue())
    sparse = tarfile.TarInfo("ant/sparse.png")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "ant/s.png",
                          "GNU.sparse.realsize": str(2**50)}  # fmt: skip
    old = tarfile.TarInfo("ant/old-sparse.png")
    old.type = tarfile.GNUTYPE_SPARSE
    odd = []
    for entry in (sparse, old):
        stream = io.BytesIO(good[2][: -2 * 512])
        stream.seek(0, io.SEEK_END)
        stream.write(entry.tobuf(tarfile.PAX_FORMAT if entry is sparse else tarfile.GNU_FORMAT) + bytes(1024))
        odd.append(stream.getvalue())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        _add(tar, "ant/bomb.png", bytes(20_000_000))
    return Samples([*good, gzip.compress(good[0])], [*odd, gzip.compress(stream.getvalue())])


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def make_zips(folder: Path) -> Samples:
    good = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings(action="ignore"):
            names = (
                "ant/0.png",
                "ant/1.png",
                "bee/0.png",
                "bee/1.png",
                "bee/1.png",
                "../x.png",
                "C:\\x.png",
                "/ant/2.png",
            )
            for number, name in enumerate(names):
                archive.writestr(name, picture(number))
            link = zipfile.ZipInfo("ant/link.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
            archive.writestr("ant/bomb.png", bytes(300_000))
        good.append(stream.getvalue())
    overlapping = bytearray(good[0])  # every entry of the directory leads to the first file
    place = -1
    while (place := overlapping.find(b"PK\x01\x02", place + 1)) >= 0:
        overlapping[place + 42 : place + 46] = bytes(4)
    return Samples(good, [bytes(overlapping)])


def make_shards(folder: Path) -> Samples:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number in range(4):
            for suffix, data in (("png", picture(number)), ("cls", b"%d" % (number % 2)), ("json", b'{"a": 1}')):
                _add(tar, f"{number:04d}.{suffix}", data)
    return Samples([stream.getvalue()])


def make_tables(folder: Path | None = None) -> list[Any]:
    """Tables of Arrow: images with the metadata of Hugging Face, as bytes alone, and one with a row without a class."""
    import pyarrow

    images = [{"bytes": picture(number), "path": f"{number}.png"} for number in range(4)]
    known = {
        "info": {"features": {"label": {"_type": "ClassLabel", "names": list(CLASSES)}, "image": {"_type": "Image"}}}
    }
    schema = {b"huggingface": json.dumps(known).encode()}
    data = [each["bytes"] for each in images]
    return [
        pyarrow.table({"image": images, "label": [0, 1, 0, 1]}).replace_schema_metadata(schema),
        pyarrow.table({"image": data, "label": ["a", "b", "a", "b"]}),
        pyarrow.table({"image": data, "label": ["a", "b", "a", None]}),
    ]


def make_parquet(folder: Path) -> Samples:
    from pyarrow import parquet

    found = []
    for table in make_tables():
        stream = io.BytesIO()
        parquet.write_table(table, stream)
        found.append(stream.getvalue())
    return Samples(found[:2], found[2:])


def make_arrow(folder: Path) -> Samples:
    """The file of one split that save_to_disk wrote; beside it what names it."""
    import pyarrow

    (folder / "SAVED" / "train").mkdir(parents=True)
    (folder / "SAVED" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (folder / "SAVED" / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    found = []
    for table in make_tables():
        stream = io.BytesIO()
        with pyarrow.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        found.append(stream.getvalue())
    return Samples(found[:2], found[2:])


def read_arrow(path: Path) -> None:
    read_source(path.parent.parent)


def make_arrow_state(folder: Path) -> Samples:
    (data, *_), _ = make_arrow(folder)
    place = folder / "SAVED" / "train"
    (place / "data.arrow").write_bytes(data)
    return Samples(
        [(place / "state.json").read_bytes()],
        [b'{"_data_files": [{"filename": "../../x.arrow"}]}', b'{"_data_files": [{"filename": "/etc/passwd"}]}'],
    )


def make_cifar(folder: Path) -> Samples:
    rows = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {b"data": rows, b"labels": [0, 1, 0, 1], b"filenames": [b"a", b"b", b"c", b"d"]}
    (folder / "CIFAR").mkdir()
    (folder / "CIFAR" / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"ant", b"bee"]}, 2))
    (folder / "CIFAR" / "test_batch").write_bytes(pickle.dumps(batch, 2))
    good = [pickle.dumps(batch, protocol) for protocol in (0, 2, 4)]
    return Samples(good, [pickle.dumps({b"data": Bomb(), b"labels": []}, 2), b"\x80\x02" + b"]" * 100_000 + b"."])


def read_cifar(path: Path) -> None:
    """The folder of the batches; those of the test are for validation."""
    read_source(path.parent, val_fraction=None)
