"""Tables and documents that say which class a picture is of."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from damage.family import CLASSES, Samples, picture


def write_pictures(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))


def make_tables(folder: Path) -> Samples:
    write_pictures(folder)
    rows = [["path", "label", "split"], *([f"{number}.png", CLASSES[number % 2], "train"] for number in range(4))]
    good = []
    for delimiter in ",;\t":
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(rows)
        good += [text.getvalue().encode(), text.getvalue().encode("utf-16")]
    odd = [b'path,label\n"../../etc/passwd",ant\n/etc/passwd,bee\n', b'path,label\n0.png,"' + b"x" * 200_000]
    return Samples(good, odd)


def make_coco(folder: Path) -> Samples:
    write_pictures(folder)
    document = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 24, "height": 20} for number in range(4)],
        "annotations": [{"id": number, "image_id": number, "category_id": number % 2} for number in range(4)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
    }
    return Samples([json.dumps(document).encode()])


def make_fiftyone(folder: Path) -> Samples:
    write_pictures(folder / "data")
    one = {"classes": CLASSES, "labels": {str(number): number % 2 for number in range(4)}}
    named = {"classes": None, "labels": {str(number): {"label": CLASSES[number % 2]} for number in range(4)}}
    several = {"classes": CLASSES, "labels": {"0": [0], "1": [0, 1], "2": [1], "3": []}}
    deep = b'{"labels": {"0": ' + b"[" * 900 + b"]" * 900 + b"}}"
    return Samples([json.dumps(each).encode() for each in (one, named, several)], [deep])


def make_kit(folder: Path) -> Samples:
    from scipy.io import savemat

    synsets = np.zeros(2, [("ILSVRC2012_ID", float), ("WNID", object), ("words", object)])
    for number, name in enumerate(("n01", "n02"), start=1):
        synsets[number - 1] = (number, name, f"{name}, thing")
    found = []
    for compressed in (False, True):
        stream = io.BytesIO()
        savemat(stream, {"synsets": synsets}, do_compression=compressed)
        found.append(stream.getvalue())
    return Samples(found)


def read_kit(path: Path) -> None:
    from alexnet.data.sources.ilsvrc import _read_synsets

    _read_synsets(path, path.read_bytes())


def make_titles(folder: Path) -> Samples:
    return Samples(
        [
            b"ant\tAmeise\nbee\tBiene\n",
            b"n01\tant\tthe ant\nn02\tbee\tthe bee\n",
            b"\xef\xbb\xbfant\tA\r\nbee\tB\r\n",
        ]
    )


def read_titles(path: Path) -> None:
    from alexnet.text.class_names import read_titles

    read_titles(path, CLASSES)


def make_corrections(folder: Path) -> Samples:
    for number in range(8):
        (folder / f"{number}.png").write_bytes(picture(number))
    rows = b"".join(b"%d.png,%s\n" % (number, CLASSES[number % 2].encode()) for number in range(8))
    (folder / "table.csv").write_bytes(b"path,label\n" + rows)
    good = [
        b"path,choice,class\n0.png,change,bee\n1.png,keep,\n",
        b"class,path,choice,x\nbee,0.png,keep,y\n,3.png,keep\n",
    ]
    return Samples(good, [b"path,label\n0.png,bee\n", b"path,choice,class\n0.png,drop,\n1.png,drop,\n2.png,drop,\n"])


def read_corrections(path: Path) -> None:
    from alexnet.data.sources.kinds import find_images

    find_images(path.with_name("table.csv"), corrections=path, val_fraction=0.5)


def make_said(folder: Path) -> Samples:
    """What people corrected on the page of a server."""
    from alexnet.serving.corrections import Corrections

    said = Corrections(folder / "corrections.csv")
    for number, name in enumerate(CLASSES):
        pixels = np.full((8, 8, 3), 60 * number, np.uint8)
        said.add(pixels, name, predicted="ant", probability=0.5, name=f"{number}.jpg")
    return Samples([(folder / "corrections.csv").read_bytes()], [b"\xff\xfe", b'path,"' + b"x" * 200_000])


def read_said(path: Path) -> None:
    from alexnet.serving.corrections import Corrections

    said = Corrections(path)
    said.add(np.zeros((8, 8, 3), np.uint8), "bee", predicted="ant", probability=0.5, name="x.jpg")
    assert len(said)
