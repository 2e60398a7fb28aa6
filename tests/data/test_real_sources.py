"""The real data sets, through every form of source that fits them; each gives the same store."""

import csv
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data.cifar_strips import read_strips

from alexnet.data.prepare.prepare import PrepareReport, prepare
from alexnet.data.store.reader import Store, open_store

pytestmark = pytest.mark.slow


def make(source: Path, out: Path, **options: object) -> tuple[PrepareReport, Store]:
    report = prepare(source, out, **options)  # type: ignore[arg-type]
    store = open_store(out)
    store.verify()
    assert not report.skipped
    return report, store


def by_name(store: Store, split: str) -> dict[str, tuple[str, bytes]]:
    """File name -> class name and pixels: the same for every form of one data set."""
    listed = store[split]
    names = [store.class_names[label] for label in listed.labels.tolist()]
    return {
        path.rsplit("/", 1)[-1]: (name, image.tobytes())
        for path, name, image in zip(listed.paths, names, listed.images, strict=True)
    }


def test_imagenette_in_six_forms(shared_data: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    archive = shared_data / "imagenette2-224.tar"
    report, store = make(archive, tmp_path / "TAR", size=64)
    assert report.per_class["train"] == dict.fromkeys(store.class_names, 400)
    assert report.per_class["val"] == dict.fromkeys(store.class_names, 150)
    assert (report.duplicates["files"], dict(report.ignored)) == (0, {})  # classes.tsv was read
    assert store.class_titles[0] != store.class_names[0]  # from classes.tsv in the archive
    expected = {split: by_name(store, split) for split in ("train", "val")}

    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    root = tmp_path / "unpacked/imagenette2-224"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.JPEG"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for name in files:
            packed.writestr(f"imagenette/{name}", (root / name).read_bytes())
    with (root / "table.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "label", "split"])
        writer.writerows([name, name.split("/")[1], name.split("/")[0]] for name in files)
    names = list(store.class_names)
    features = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
    for split, word in (("train", "train"), ("val", "validation")):
        chosen = [name for name in files if name.startswith(split)]
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / f"shards/{word}-000.tar", "w") as tar:
            for name in chosen:
                tar.add(root / name, Path(name).name)
                member = tarfile.TarInfo(Path(name).stem + ".cls")
                label = name.split("/")[1].encode()
                member.size = len(label)
                tar.addfile(member, io.BytesIO(label))
        rows = pa.table({
            "image": [{"bytes": (root / name).read_bytes(), "path": Path(name).name} for name in chosen],
            "label": [names.index(name.split("/")[1]) for name in chosen],
        })  # fmt: skip
        (tmp_path / "parquet").mkdir(exist_ok=True)
        path = tmp_path / f"parquet/{word}-00000-of-00001.parquet"
        pq.write_table(rows.replace_schema_metadata(features), path, row_group_size=100)

    sources = {"folders": root, "archive": tmp_path / "set.zip", "table": root / "table.csv",
               "webdataset": tmp_path / "shards", "parquet": tmp_path / "parquet"}  # fmt: skip
    for kind, source in sources.items():
        _, other = make(source, tmp_path / f"store-{kind}", size=64)
        assert other.provenance["kind"] == kind
        assert {split: by_name(other, split) for split in ("train", "val")} == expected, kind
        np.testing.assert_array_equal(other.color_covariance, store.color_covariance)


def test_photographs_of_every_size_by_their_own_table(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "imagenet-samples-300.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    table = tmp_path / "imagenet-samples-300/table.tsv"
    text = table.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    lines = [f"{row['file'].rsplit('/')[-1]}\t{number % 5}\n" for number, row in enumerate(rows)]
    (table.parent / "five.tsv").write_text("file\tlabel\n" + "".join(lines), encoding="utf-8")
    for codec in ("raw", "jpeg"):
        report, store = make(table.parent / "five.tsv", tmp_path / codec, val_fraction=0.2, codec=codec)
        assert report.num_images == 300
        assert (store.color_mean > 90).all()
        assert (store.color_mean < 140).all()


def test_cifar_in_two_forms(shared_data: Path, tmp_path: Path) -> None:
    arrays = read_strips(shared_data / "cifar10")
    digests = [hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in ("x_train", "x_test")]
    assert digests == [  # as the copy's own page gives them
        "2f8eb8fa04d3ba95585d76213d78ae0b787a91063545c15692f2447b706ce276",
        "497e2e3f85666716cd9a6c6a1b94d91b3657d433b6b450e57b0120cf96e183dc",
    ]
    np.savez(tmp_path / "cifar.npz", **arrays)
    _, numpy = make(tmp_path / "cifar.npz", tmp_path / "NUMPY", size=32)
    assert (len(numpy), len(numpy["val"])) == (50_000, 10_000)
    (tmp_path / "batches").mkdir()
    for split, name in (("train", "data_batch_1.bin"), ("test", "test_batch.bin")):
        planes = arrays[f"x_{split}"].transpose(0, 3, 1, 2).reshape(-1, 3072)
        rows = np.concatenate([arrays[f"y_{split}"][:, None].astype(np.uint8), planes], axis=1)
        (tmp_path / "batches" / name).write_bytes(rows.tobytes())
    _, batches = make(tmp_path / "batches", tmp_path / "BATCHES", size=32)
    assert batches.class_names == numpy.class_names
    assert (batches.labels == numpy.labels).all()
    assert (batches.images[:] == numpy.images[:]).all()
    np.testing.assert_array_equal(batches.mean_image, numpy.mean_image)
    for index, value in enumerate((125.307, 122.950, 113.865)):  # the mean that the data set's page gives
        assert batches.color_mean[index] == pytest.approx(value, abs=6e-4)
