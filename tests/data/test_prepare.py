import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.data.images.decode import decode_image
from alexnet.data.prepare import run as prepare_run
from alexnet.data.prepare.partial import PartialStore
from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import Source
from alexnet.data.store import writer as store_writer
from alexnet.data.store.reader import open_store
from alexnet.data.store.writer import StoreFiles
from alexnet.errors import AlexNetError, ConfigError, ImageError, Interrupted, SourceError, StoreError
from alexnet.text.names import unescape_name
from conftest import write_oddly_named

Photos = Callable[..., Path]
TWO_SPLITS = [f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(6)]
TWO_SPLITS += [f"val/{name}/{number}.png" for name in ("cat", "dog") for number in range(2)]
REPAIR = "Copy it again from where it came, or delete it."


def message_of(kind: type[AlexNetError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_store_holds_every_image_in_the_order_of_the_source(photos: Photos, tmp_path: Path) -> None:
    root = photos(TWO_SPLITS)
    report = prepare(root, tmp_path / "STORE", size=16, shard_rows=5)
    store = open_store(tmp_path / "STORE")
    store.verify()
    assert store.class_names == ("cat", "dog")
    assert store.labels.tolist() == [0] * 6 + [1] * 6
    assert store["val"].labels.tolist() == [0, 0, 1, 1]
    assert store.paths[:] == TWO_SPLITS[:12]
    for split in store.splits.values():
        for image, path in zip(split.images, split.paths, strict=True):
            assert (image == decode_image((root / path).read_bytes(), size=16)).all()
    pixels = store.images[:].astype(np.float64)
    np.testing.assert_allclose(store.mean_image, pixels.mean(0), rtol=1e-7)
    np.testing.assert_allclose(store.color_covariance, np.cov(pixels.reshape(-1, 3).T, bias=True), rtol=1e-11)
    assert report.store == tmp_path / "STORE"
    assert report.num_images == 16
    assert report.per_class == {"train": {"cat": 6, "dog": 6}, "val": {"cat": 2, "dog": 2}}
    assert (report.skipped, report.num_continued) == ([], 0)
    assert report.seconds > 0
    assert report.images_per_second == pytest.approx(16 / report.seconds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PHOTOS", "STORE"]


def test_the_bytes_depend_neither_on_threads_nor_on_where_the_images_lie(photos: Photos, tmp_path: Path) -> None:
    root = photos({**dict.fromkeys(TWO_SPLITS), "train/cat/x.jpg": b"broken"})
    prepare(root, tmp_path / "ONE", size=16, shard_rows=5, workers=1)
    (tmp_path / "moved").mkdir()
    moved = root.rename(tmp_path / "moved" / "PHOTOS")
    prepare(moved, tmp_path / "FOUR", size=16, shard_rows=5, workers=4)
    assert contents(tmp_path / "ONE") == contents(tmp_path / "FOUR")
    assert open_store(tmp_path / "ONE").provenance["source"] == "PHOTOS"


def test_a_fraction_is_set_aside_and_recorded(photos: Photos, tmp_path: Path) -> None:
    root = photos([f"{name}/{number}.png" for name in "ab" for number in range(5)])
    report = prepare(root, tmp_path / "STORE", size=8, val_fraction=0.2, seed=3)
    assert report.per_class == {"train": {"a": 4, "b": 4}, "val": {"a": 1, "b": 1}}
    options = open_store(tmp_path / "STORE").provenance["options"]
    assert options == {
        "size": 8,
        "codec": "raw",
        "val_fraction": 0.2,
        "val_list": None,
        "seed": 3,
        "shard_rows": 524288,
    }


def test_bad_images_are_left_out_and_reported_with_their_reason(photos: Photos, tmp_path: Path) -> None:
    bad = {"train/cat/0: a.png": b"", "train/dog/9.jpg": b"text", "val/cat/9.png": b"\x89PNG\r\n\x1a\n"}
    root = photos({**dict.fromkeys(TWO_SPLITS), **bad, "train/notes.txt": b""})
    (root / "train/dog/gone.jpg").symlink_to("nowhere")
    calls: list[tuple[int, int, int]] = []
    report = prepare(root, tmp_path / "STORE", size=8, shard_rows=4, progress=lambda *call: calls.append(call))
    assert report.skipped == [
        ("train/cat/0: a.png", f"is empty (0 bytes). {REPAIR}"),
        (
            "train/dog/9.jpg",
            "is not an image of a known format (4 bytes). Known are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG "
            "2000 and AVIF.",
        ),
        (
            "train/dog/gone.jpg",
            "cannot be read (it is a link to nowhere, which does not exist). Check that it exists and its permissions.",
        ),
        ("val/cat/9.png", "has a damaged header or ends early (8 bytes). Copy it again from where it came."),
    ]
    assert report.per_class == {"train": {"cat": 6, "dog": 6}, "val": {"cat": 2, "dog": 2}}
    assert report.ignored == {"not an image": 1}
    assert [call[0] for call in calls] == list(range(1, 21))
    assert calls[-1] == (20, 20, 4)
    store = open_store(tmp_path / "STORE")
    assert len(store) == 12
    assert store.paths[:] == TWO_SPLITS[:12]
    saved = json.loads((store.path / "report.json").read_text())
    assert saved["skipped"][0] == {"path": "train/cat/0: a.png", "reason": f"is empty (0 bytes). {REPAIR}"}
    assert saved["splits"]["val"] == {"found": 5, "kept": 4, "per_class": {"cat": 2, "dog": 2}}
    assert (store.provenance["found"], store.provenance["skipped"]) == (20, 4)


def test_odd_files_are_kept_and_counted(photos: Photos, tmp_path: Path) -> None:
    from damage.zoo import encode, picture

    jpeg = encode(picture(), "JPEG")
    odd = {
        "train/cat/8.jpg": jpeg[:-2],
        "val/dog/8.jpg": jpeg + b"film",
        "val/dog/9.jpg": jpeg[:-2] + bytes(99) + jpeg[-2:],
    }
    root = photos({**dict.fromkeys(TWO_SPLITS), **odd, "train/cat/9.jpg": jpeg[:-99]})
    expected = [("train/cat/8.jpg", "no end marker"), ("val/dog/8.jpg", "data behind its end marker"),
                ("val/dog/9.jpg", "stray bytes before its end marker")]  # fmt: skip
    for codec, rows in (("raw", 4), ("jpeg", 4), ("raw", None)):
        out = tmp_path / f"STORE-{codec}-{rows}"
        report = prepare(root, out, size=8, shard_rows=rows, codec=codec)  # type: ignore[arg-type]
        assert report.odd == expected
        assert [path for path, _ in report.skipped] == ["train/cat/9.jpg"]
        assert report.notes[0] == (
            "Odd, but whole, and kept: 3 images (1 with no end marker; 1 with data behind its end marker; 1 with stray "
            "bytes before its end marker). report.json names them."
        )
        saved = json.loads((out / "report.json").read_text())
        assert saved["odd"][0] == {"path": "train/cat/8.jpg", "oddity": "no end marker"}
        assert prepare(root, out, size=8, shard_rows=rows, codec=codec).odd == expected  # type: ignore[arg-type]


def test_a_pipe_in_the_place_of_a_list_is_refused_at_once(photos: Photos, tmp_path: Path) -> None:
    root = photos([path for path in TWO_SPLITS if path.startswith("train")])
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(root / "train/cat/pipe.jpg")
    for options in (
        {"val_list": tmp_path / "pipe.csv"},
        {"class_names_file": tmp_path / "pipe.csv", "val_fraction": 0.5},
    ):
        assert message_of(SourceError, lambda options=options: prepare(root, tmp_path / "STORE", **options)) == (
            f"{tmp_path / 'pipe.csv'} cannot be read (it is a pipe, not a file). Give a file."
        )
    assert message_of(SourceError, lambda: prepare(tmp_path / "pipe.csv", tmp_path / "STORE")) == (
        f"{tmp_path / 'pipe.csv'} cannot be read (it is a pipe, not a file). Give a file."
    )
    report = prepare(root, tmp_path / "STORE", size=8, val_fraction=0.2)
    assert dict(report.ignored) == {"special file": 1}


def test_a_part_without_any_good_image_has_no_shard(photos: Photos, tmp_path: Path) -> None:
    root = photos({**dict.fromkeys(TWO_SPLITS), "train/cat/0.png": b"", "train/cat/1.png": b""})
    prepare(root, tmp_path / "STORE", size=8, shard_rows=2)
    store = open_store(tmp_path / "STORE")
    assert store.header["splits"]["train"]["shards"][0]["file"] == "train/images-00001.npy"
    assert len(store.images[:]) == 10


def test_a_bad_image_can_stop_everything(photos: Photos, tmp_path: Path) -> None:
    root = photos({**dict.fromkeys(TWO_SPLITS), "train/cat/7.png": b""})
    out = tmp_path / "STORE"
    message = message_of(ImageError, lambda: prepare(root, out, size=8, on_bad_image="stop"))
    assert message == f"train/cat/7.png: is empty (0 bytes). {REPAIR} Or leave it out: --on-bad-image skip."
    assert not out.exists()
    assert len(prepare(root, out, size=8).skipped) == 1


def test_who_stops_at_bad_images_looks_again_at_what_an_earlier_run_left_out(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = photos(TWO_SPLITS), tmp_path / "STORE"
    read = Source.read

    def refuse(self: Source, path: str) -> bytes:
        if path == TWO_SPLITS[0]:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", refuse)
        message_of(Interrupted, lambda: prepare(root, out, size=8, shard_rows=4, progress=interrupt_after(10)))
        message = message_of(ImageError, lambda: prepare(root, out, size=8, shard_rows=4, on_bad_image="stop"))
        assert message.startswith(f"{TWO_SPLITS[0]}: cannot be read (Permission denied).")
        assert message_of(ImageError, lambda: prepare(root, out, size=8, shard_rows=4, on_bad_image="stop")) == message
    assert prepare(root, out, size=8, shard_rows=4, on_bad_image="stop").num_images == 16
    open_store(out).verify()


def test_too_many_bad_images_are_too_many_again(photos: Photos, tmp_path: Path) -> None:
    paths = [f"{split}/{name}/{number:02d}.png" for split in ("train", "val") for name in "ab" for number in range(25)]
    root = photos({**dict.fromkeys(paths), **dict.fromkeys(paths[20:45], b"")})
    messages = {message_of(SourceError, lambda: prepare(root, tmp_path / "STORE", size=8)) for _ in range(4)}
    assert len(messages) == 1
    assert "more than the share of 0.1 that --max-bad allows" in messages.pop()


def test_machines_that_stop_at_bad_images_finish_no_store_without_them(photos: Photos, tmp_path: Path) -> None:
    root, out = photos({**dict.fromkeys(TWO_SPLITS), TWO_SPLITS[11]: b""}), tmp_path / "STORE"
    message_of(ImageError, lambda: prepare(root, out, size=8, part=(1, 2), on_bad_image="stop"))
    assert prepare(root, out, size=8, part=(2, 2), on_bad_image="stop").num_missing == 12
    assert not out.exists()


def test_who_is_last_waits_for_another_machine_that_leaves(tmp_path: Path) -> None:
    with PartialStore(tmp_path / "STORE", {}, turn=(1, 2)) as first:
        leaving = threading.Timer(0.2, first.__exit__)
        leaving.start()
        with PartialStore(tmp_path / "STORE", {}, turn=(2, 2)) as second:
            assert second.take_over()
        leaving.join()


def test_a_part_that_is_made_again_is_not_finished_until_it_is_whole(tmp_path: Path) -> None:
    def stop() -> Iterator[np.ndarray]:
        yield images[:1]
        raise KeyboardInterrupt

    images = np.zeros((2, 8, 8, 3), np.uint8)
    with PartialStore(tmp_path / "STORE", {}) as partial:
        partial.save_part("train", 0, images, [0, 1], ["a", "b"], [], ["0", "1"], ["", ""])
        assert partial.load_part("train", 0)
        with pytest.raises(KeyboardInterrupt):
            partial.save_part("train", 0, images, [0, 1], ["a", "b"], [], ["0", "1"], ["", ""], blocks=stop())
        assert partial.load_part("train", 0) is None


def test_a_record_of_a_part_that_is_damaged_is_made_again_and_one_of_the_work_is_refused(
    photos: Photos, tmp_path: Path
) -> None:
    root, out = photos(dict.fromkeys(TWO_SPLITS)), tmp_path / "STORE"
    message_of(Interrupted, lambda: prepare(root, out, size=8, shard_rows=2, progress=interrupt_after(4)))
    part, job = tmp_path / "STORE.partial/parts/train-00000.json", tmp_path / "STORE.partial/job.json"
    begun = job.read_bytes()
    whole = json.loads(part.read_bytes())
    forged = [
        json.dumps({**whole, name: value}).encode() for name, value in (("shard", "x"), ("labels", "abc"), ("odd", [3]))
    ]
    for text in (b"", b"[]", b'{"labels": 3}', b"[" * 100_000, *forged):
        part.write_bytes(text)
        with PartialStore(out, json.loads(begun)) as partial:
            assert partial.load_part("train", 0) is None
        job.write_bytes(text[:2])
        message = message_of(StoreError, lambda: prepare(root, out, size=8, shard_rows=2))
        assert message == (
            f"{job} is damaged, so that nobody knows what was begun there. Start over: rm -r {tmp_path}/STORE.partial"
        )
        job.write_bytes(begun)
    prepare(root, out, size=8, shard_rows=2)
    whole = prepare(root, tmp_path / "WHOLE", size=8, shard_rows=2)
    assert [path.read_bytes() for path in sorted(out.rglob("*.npy"))] == [
        path.read_bytes() for path in sorted(whole.store.rglob("*.npy"))
    ]


def test_nothing_of_a_killed_run_comes_into_the_store_or_stays(photos: Photos, tmp_path: Path) -> None:
    root, out = (
        photos({**dict.fromkeys(TWO_SPLITS), "train/cat/0.png": b"", "train/cat/1.png": b""}),
        tmp_path / "STORE",
    )
    message_of(Interrupted, lambda: prepare(root, out, size=8, shard_rows=2, progress=interrupt_after(10)))
    stale = tmp_path / "STORE.partial/scratch/1-of-1/images-00000.npy.12345"
    stale.write_bytes(b"half")
    (tmp_path / "STORE.partial/store/train/images-00000.npy").write_bytes(b"of an earlier run")
    (tmp_path / "STORE.partial/parts/train-00000.json").unlink()
    with PartialStore(out, json.loads((tmp_path / "STORE.partial/job.json").read_bytes())):
        assert not stale.exists()
    prepare(root, out, size=8, shard_rows=2)
    assert not (out / "train/images-00000.npy").exists()


@pytest.mark.parametrize("bad", [0, 7, 11])
def test_a_part_written_while_it_is_decoded_holds_what_is_left(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    monkeypatch.setattr(store_writer, "BLOCK_BYTES", 2 * 16 * 16 * 3)  # two images at a time
    root = photos(TWO_SPLITS)
    images = [decode_image((root / path).read_bytes(), size=16) for path in TWO_SPLITS[:12]]
    (root / TWO_SPLITS[bad]).write_bytes(b"")
    prepare(root, tmp_path / "STORE", size=16, workers=1)
    store = open_store(tmp_path / "STORE")
    store.verify()
    kept = np.delete(np.stack(images), bad, 0)
    assert (store.images[:] == kept).all()
    np.testing.assert_allclose(store.mean_image, kept.mean(0), rtol=1e-7)
    assert store.paths[:] == [path for path in TWO_SPLITS[:12] if path != TWO_SPLITS[bad]]


def test_a_file_that_may_not_be_read_is_left_out(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Source.read

    def refuse(self: Source, path: str) -> bytes:
        if path == "train/dog/3.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self, path)

    monkeypatch.setattr(Source, "read", refuse)
    report = prepare(photos(TWO_SPLITS), tmp_path / "STORE", size=8)
    reason = "cannot be read (Permission denied). Check that it exists and its permissions."
    assert report.skipped == [("train/dog/3.png", reason)]


def test_a_class_or_split_without_a_readable_image_is_an_error(photos: Photos, tmp_path: Path) -> None:
    root = photos({path: b"" if "train/dog" in path else None for path in TWO_SPLITS})
    assert message_of(SourceError, lambda: prepare(root, tmp_path / "A", size=8)) == (
        f"{root}: class dog has 6 images, none of which can be read. The first: train/dog/0.png: is empty (0 bytes). "
        f"{REPAIR}"
    )
    root = photos({path: b"" if "val" in path else None for path in TWO_SPLITS}, name="VAL")
    assert message_of(SourceError, lambda: prepare(root, tmp_path / "B", size=8)) == (
        f"{root}: the val split has 4 images, none of which can be read. The first: val/cat/0.png: is empty (0 bytes). "
        f"{REPAIR}"
    )
    root = photos(dict.fromkeys(TWO_SPLITS, b""), name="ALL")
    assert message_of(SourceError, lambda: prepare(root, tmp_path / "C", size=8, max_bad=1)) == (
        f"{root}: the train split has 12 images, none of which can be read. The first: train/cat/0.png: is empty (0 "
        f"bytes). {REPAIR}"
    )
    assert not any((tmp_path / name).exists() for name in "ABC")


def test_output_that_exists_is_never_touched(photos: Photos, tmp_path: Path) -> None:
    root, out = photos(TWO_SPLITS), tmp_path / "STORE"
    out.mkdir()
    prepare(root, out, size=8)  # an empty folder is no loss
    before = contents(out)
    (tmp_path / "STORE.partial").mkdir()  # as if killed between renaming and cleaning up
    assert prepare(root, out, size=8).was_complete
    assert message_of(StoreError, lambda: prepare(root, out, size=9)) == (
        f"{out} exists and was made from other images or with other options: size was 8, is 9. Choose another --out, or "
        f"remove it: rm -r {out}"
    )
    assert contents(out) == before
    assert not (tmp_path / "STORE.partial").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("")
    assert message_of(StoreError, lambda: prepare(root, tmp_path / "other", size=8)) == (
        f"{tmp_path}/other exists and is not a store. Choose another --out, or remove it first."
    )
    assert message_of(StoreError, lambda: prepare(root, root / "STORE", size=8)) == (
        f"{root}/STORE lies inside {root}, where it would be read as images. Choose another --out."
    )


def test_a_store_that_is_complete_is_reported_as_it_was_made(photos: Photos, tmp_path: Path) -> None:
    root, out = photos({**dict.fromkeys(TWO_SPLITS), "train/cat/bad.jpg": b"no image"}), tmp_path / "STORE"
    first = prepare(root, out, size=8)
    again = prepare(root, out, size=8)
    assert not first.was_complete
    assert again.was_complete
    assert (again.per_class, again.skipped, again.notes) == (first.per_class, first.skipped, first.notes)
    assert (again.num_continued, again.images_per_second) == (len(TWO_SPLITS) + 1, 0.0)
    assert message_of(ImageError, lambda: prepare(root, out, size=8, on_bad_image="stop")) == (
        f"{out} leaves out 1 image; the first is train/cat/bad.jpg: {first.skipped[0][1]} Keep it so: --on-bad-image skip."
    )


def test_a_store_of_other_images_labels_or_names_is_not_taken_for_the_same(photos: Photos, tmp_path: Path) -> None:
    tree = ["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"]
    root, out, listed = photos(tree), tmp_path / "STORE", tmp_path / "list.txt"
    listed.write_text("a/3.png\nb/3.png\n")
    prepare(root, out, size=8, val_list=listed)

    def difference(**options: Any) -> str:
        text = message_of(StoreError, lambda: prepare(root, out, **{"size": 8, "val_list": listed, **options}))
        return text.removeprefix(f"{out} exists and was made from other images or with other options: ").split(". ")[0]

    names = tmp_path / "names.tsv"
    names.write_text("a\tAnt\nb\tBee\n")
    assert difference(class_names_file=names) == (
        "the readable names of the classes are not the same (to change them alone, put the table into the store, as "
        f"{out}/classes.tsv)"
    )
    assert (
        difference(val_list=None, val_fraction=0.1) == "val fraction was none, is 0.1; val list was list.txt, is none"
    )
    listed.write_text("a/3.png\nb/2.png\nb/3.png\n")
    assert difference() == "the images are not the same"
    listed.write_text("a/3.png\nb/3.png\n")
    assert prepare(root, out, size=8, val_list=listed).was_complete
    (root / "a/4.png").write_bytes((root / "a/1.png").read_bytes())
    assert difference() == "the images are not the same"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is 0; it must be at least 1."),
        ({"workers": 0}, "workers is 0; it must be at least 1."),
        ({"on_bad_image": "ignore"}, "on_bad_image is 'ignore'; accepted are 'skip' and 'stop'."),
    ],
)
def test_impossible_options_are_refused(
    photos: Photos, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    root = photos(TWO_SPLITS)
    assert message_of(ConfigError, lambda: prepare(root, tmp_path / "STORE", **options)) == message  # type: ignore[arg-type]


def interrupt_after(count: int) -> Callable[[int, int, int], None]:
    def progress(done: int, total: int, skipped: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_is_continued_to_the_same_bytes(photos: Photos, tmp_path: Path) -> None:
    root, out = photos({**dict.fromkeys(TWO_SPLITS), "train/cat/1.png": b"x"}), tmp_path / "STORE"
    prepare(root, tmp_path / "UNDISTURBED", size=8, shard_rows=4)
    message = message_of(Interrupted, lambda: prepare(root, out, size=8, shard_rows=4, progress=interrupt_after(10)))
    written = 4 * len(list(tmp_path.glob("STORE.partial/parts/*.json")))
    assert written in (8, 12)  # the third part may be there before its last images are counted
    assert message == (
        f"Stopped after {written} of 16 images. Run the same command again to continue; what is done is in "
        f"{out}.partial."
    )
    assert message_of(StoreError, lambda: open_store(out)) == (
        f"{out}.partial is an unfinished store. Run the same prepare command again; it continues."
    )
    calls: list[tuple[int, int, int]] = []
    report = prepare(root, out, size=8, shard_rows=4, progress=lambda *call: calls.append(call))
    assert report.num_continued == written
    assert calls[0] == (written + 1, 16, 1)
    assert contents(out) == contents(tmp_path / "UNDISTURBED")
    assert not (tmp_path / "STORE.partial").exists()


def test_an_unfinished_store_of_another_job_is_refused(photos: Photos, tmp_path: Path) -> None:
    root, out = photos(TWO_SPLITS), tmp_path / "STORE"

    def run(**options: int) -> object:
        return prepare(root, out, shard_rows=4, progress=interrupt_after(10), **options)  # type: ignore[arg-type]

    message_of(Interrupted, lambda: run(size=8))
    advice = (
        f"so it cannot be continued. Run that command again, choose another --out, or start over: rm -r {out}.partial"
    )
    begun = f"{out}.partial was begun with other images or options"
    assert message_of(StoreError, lambda: run(size=9, seed=1)) == f"{begun} (seed, size changed), {advice}"
    os.utime(root / TWO_SPLITS[0], ns=(1, 1))
    assert message_of(StoreError, lambda: run(size=8)) == f"{begun} (images changed), {advice}"
    assert not out.exists()


def test_two_processes_cannot_prepare_the_same_store(photos: Photos, tmp_path: Path) -> None:
    root, out = photos(TWO_SPLITS), tmp_path / "STORE"
    with PartialStore(out, {}):
        assert message_of(StoreError, lambda: prepare(root, out, size=8)) == (
            f"Another process is preparing {out}.partial. Wait until it has finished, or choose another --out."
        )


def test_a_full_disk_keeps_what_is_done_and_says_what_is_needed(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = photos(TWO_SPLITS), tmp_path / "STORE"
    write_shard = StoreFiles.write_shard

    def fill_up(self: StoreFiles, split: str, number: int, images: np.ndarray, blocks: Any = None) -> object:
        if number == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_shard(self, split, number, images, blocks)

    with monkeypatch.context() as patch:
        patch.setattr(StoreFiles, "write_shard", fill_up)
        assert message_of(StoreError, lambda: prepare(root, out, size=8, shard_rows=4)) == (
            f"The disk is full after 4 of 16 images; the rest needs 2.3 kB. Free space and run the same command "
            f"again: it continues in {out}.partial."
        )
    assert prepare(root, out, size=8, shard_rows=4).num_continued >= 4
    open_store(out).verify()


def test_a_disk_that_is_too_small_is_refused_before_work_starts(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 200_000_000})
    monkeypatch.setattr(prepare_run.shutil, "disk_usage", lambda folder: usage)
    out = tmp_path / "STORE"
    assert message_of(StoreError, lambda: prepare(photos(TWO_SPLITS), out, size=4000)) == (
        f"The store needs 768.0 MB more and the disk of {out}.partial has 200.0 MB left. Free space and run the same "
        "command again, or choose another --out."
    )


def test_a_place_that_cannot_be_written_is_named(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: StoreFiles, *arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(StoreFiles, "write_shard", refuse)
    out = tmp_path / "STORE"
    assert message_of(StoreError, lambda: prepare(photos(TWO_SPLITS), out, size=8)) == (
        f"{out}.partial cannot be written (Read-only file system). Check the permissions of {tmp_path}, or choose "
        "another --out."
    )


def test_a_shard_that_reads_back_differently_is_made_anew(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = photos(TWO_SPLITS), tmp_path / "STORE"
    message_of(Interrupted, lambda: prepare(root, out, size=8, shard_rows=4, progress=interrupt_after(10)))
    shard = tmp_path / "STORE.partial/store/train/images-00001.npy"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert message_of(StoreError, lambda: prepare(root, out, size=8, shard_rows=4)) == (
        f"{shard} reads back differently from what was written: check the disk. Run the same command again; it makes "
        "this file anew."
    )
    assert not out.exists()
    assert prepare(root, out, size=8, shard_rows=4).num_continued in (4, 8)
    open_store(out).verify()


PROGRAM = """
import sys
from alexnet.data.prepare.prepare import prepare
prepare(sys.argv[1], sys.argv[2], size=32, shard_rows=6, workers=2)
"""


def test_killed_at_random_moments_the_same_command_ends_with_the_same_bytes(photos: Photos, tmp_path: Path) -> None:
    paths = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "abc" for number in range(40)]
    root, out = photos({**dict.fromkeys(paths), "train/b/5.png": b"broken"}), tmp_path / "STORE"
    prepare(root, tmp_path / "UNDISTURBED", size=32, shard_rows=6)
    moments = random.Random(0)
    kills = 0
    while not out.exists():
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), str(out)], stderr=subprocess.PIPE)
        folder = tmp_path / "STORE.partial"
        before = len(list(folder.glob("parts/*.json")))
        while process.poll() is None and kills < 6:  # let it come to work, then strike at any moment
            if len(list(folder.glob("parts/*.json"))) > before:
                time.sleep(moments.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.001)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    assert kills >= 2
    assert contents(out) == contents(tmp_path / "UNDISTURBED")


def test_real_photographs_are_prepared(shared_data: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(shared_data / "imagenet-samples-300.tar") as archive:
        members = [member for member in archive if member.name.endswith("JPEG")][:48]
        for number, member in enumerate(members):
            file = tmp_path / "PHOTOS" / f"class{number % 2}" / Path(member.name).name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
    report = prepare(tmp_path / "PHOTOS", tmp_path / "STORE", val_fraction=0.25)
    assert report.per_class == {"train": {"class0": 18, "class1": 18}, "val": {"class0": 6, "class1": 6}}
    assert not report.skipped
    store = open_store(tmp_path / "STORE")
    assert (store.color_mean > 80).all()
    assert (store.color_mean < 160).all()
    assert store.color_eigenvalues[0] > 5 * store.color_eigenvalues[1]  # brightness dominates in photographs
    assert (store.color_eigenvectors[:, 0] > 0.4).all()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_of_the_work_make_the_store_of_one_machine(
    photos: Photos, tmp_path: Path, order: tuple[int, ...]
) -> None:
    root = photos(TWO_SPLITS)
    prepare(root, tmp_path / "ONE", size=16, shard_rows=2)
    left = []
    for number in order:
        report = prepare(root, tmp_path / "STORE", size=16, shard_rows=2, part=(number, 3))
        left.append(report.num_missing)
        assert (tmp_path / "STORE").exists() == (number == order[-1])
    assert left[0] > left[1] > left[2] == 0
    assert contents(tmp_path / "STORE") == contents(tmp_path / "ONE")
    assert not (tmp_path / "STORE.partial").exists()
    assert prepare(root, tmp_path / "STORE", size=16, shard_rows=2, part=(2, 3)).was_complete


def test_a_part_keeps_away_from_who_does_the_same_and_who_does_all(photos: Photos, tmp_path: Path) -> None:
    root = photos(TWO_SPLITS)
    prepare(root, tmp_path / "STORE", size=16, shard_rows=2, part=(1, 2))
    job = json.loads((tmp_path / "STORE.partial" / "job.json").read_bytes())
    with PartialStore(tmp_path / "STORE", job, turn=(1, 2)) as partial:
        message = message_of(StoreError, lambda: prepare(root, tmp_path / "STORE", size=16, shard_rows=2, part=(1, 2)))
        assert message == (
            f"Another process does part 1/2 of {partial.path}. Wait until it has finished; where you give parts "
            "yourself, give each process its own --part."
        )
        assert message_of(StoreError, lambda: prepare(root, tmp_path / "STORE", size=16, shard_rows=2)) == (
            f"Another process is preparing {partial.path}. Wait until it has finished, or choose another --out."
        )
        report = prepare(root, tmp_path / "STORE", size=16, shard_rows=2, part=(2, 2))
        assert (report.num_missing, report.per_class) == (0, {})  # the other one finishes it
    prepare(root, tmp_path / "STORE", size=16, shard_rows=2, part=(1, 2))
    open_store(tmp_path / "STORE").verify()


def test_a_part_that_there_is_not_is_refused(photos: Photos, tmp_path: Path) -> None:
    call = lambda: prepare(photos(TWO_SPLITS), tmp_path / "STORE", part=(3, 2))  # noqa: E731
    assert message_of(ConfigError, call) == "part is 3/2; accepted is i/n with i from 1 to n."


def test_any_name_of_a_file_is_kept_and_written_by_one_rule(tmp_path: Path) -> None:
    files = write_oddly_named(tmp_path / "photos" / "train" / "ant")
    write_oddly_named(tmp_path / "photos" / "train" / "bee")
    (files[0].parent / "broken\n.png").write_bytes(b"no picture")
    report = prepare(tmp_path / "photos", tmp_path / "STORE", size=16, val_fraction=0.2)
    store = open_store(tmp_path / "STORE")
    expected = {f"train/{name}/{file.name}" for name in ("ant", "bee") for file in files}
    assert {path for split in store.splits.values() for path in split.paths} == expected
    assert [path for path, _ in report.skipped] == ["train/ant/broken\n.png"]
    listed = [line for file in (tmp_path / "STORE").rglob("paths.jsonl") for line in file.read_text().splitlines()]
    assert {unescape_name(json.loads(line)) for line in listed} == expected
    assert (
        json.loads((tmp_path / "STORE" / "report.json").read_text())["skipped"][0]["path"]
        == r"train/ant/broken\x0a.png"
    )
    assert r"train/ant/broken\x0a.png" in (tmp_path / "STORE" / "report.html").read_text(encoding="utf-8")
