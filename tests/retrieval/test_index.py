"""The index: what it holds, how it grows and shrinks, what an interruption leaves, and how damage is told."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.errors import SearchError, SourceError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.files.record import hash_file
from alexnet.network.model_file import save_model
from alexnet.retrieval.index import changes as index_changes
from alexnet.retrieval.index import reader as index_reader
from alexnet.retrieval.index import writer as index_writer
from alexnet.retrieval.index.format import write_header
from alexnet.retrieval.index.images import Originals, StoreImages, choose_images
from alexnet.retrieval.index.reader import Index, open_index
from alexnet.retrieval.index.writer import add_images, make_index, remove_rows
from alexnet.text.commands import COMMAND
from exchange.miniature import everything, make_model
from retrieval.conftest import LAYER, draw_picture, open_model, pictures


def names(index: Index) -> list[str]:
    return sorted(Path(index.entry(row).path).name for row in index.rows().tolist())


def test_rows_are_the_features_of_the_images_in_order(scene: Path, classifier: Classifier) -> None:
    index = open_index(scene / "index")
    files = pictures(scene)
    assert [index.entry(row).path for row in range(24)] == [str(path) for path in files]
    expected = classifier.activations(files, [LAYER])[LAYER]
    np.testing.assert_allclose(np.concatenate(index.features), expected, rtol=1e-5, atol=1e-6)
    entry = index.entry(23)
    assert (entry.id, entry.label, entry.split) == (23, files[23].parent.name, "val")
    assert index.header["model"]["weights_sha256"] == hash_file(scene / "model.safetensors")
    assert index.header["preprocessing"]["crop_px"] == 28
    assert index.fingerprint == json.loads((scene / "index" / "index.json").read_text())["checksum"]
    index.verify()


def test_it_is_read_with_numpy_alone(scene: Path) -> None:
    header = json.loads((scene / "index" / "index.json").read_text())
    (part,) = header["parts"]
    features = np.load(scene / "index" / part["features"]["file"], mmap_mode="r")
    lines = (scene / "index" / part["images"]["file"]).read_text().splitlines()
    labels = np.load(scene / "index" / part["labels"]["file"])
    assert features.shape == (24, 16)
    assert json.loads(lines[0])["path"] == str(pictures(scene)[0])
    assert header["class_names"][labels[0]] == pictures(scene)[0].parent.name


def test_float16_takes_half_and_agrees(scene: Path, classifier: Classifier, tmp_path: Path) -> None:
    make_index(classifier, choose_images([scene / "pictures"]), tmp_path / "half", layer=LAYER, dtype="float16")
    half = open_index(tmp_path / "half")
    assert half.features[0].dtype == np.float16
    np.testing.assert_allclose(half.features[0], open_index(scene / "index").features[0], rtol=1e-3, atol=1e-4)


def test_a_store_is_indexed_by_splits(small_store_path: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", make_model(everything(), image_px=256))
    classifier = open_model(tmp_path)
    make_index(classifier, choose_images([small_store_path], ["val"]), tmp_path / "index", layer=LAYER)
    index = open_index(tmp_path / "index")
    assert (len(index), index.entry(8).split, index.entry(8).label) == (9, "val", "cat")
    report = add_images(tmp_path / "index", classifier, choose_images([small_store_path]))
    assert (report.images, report.added, report.kept) == (33, 24, 9)
    index = open_index(tmp_path / "index")
    assert Originals(index).explain(index.entry(0)) is None
    assert Originals(index).read(index.entry(0), 64).shape == (256, 256, 3)  # type: ignore[union-attr]


def test_adding_keeps_what_is_there_and_replaces_what_has_changed(
    scene: Path, classifier: Classifier, index_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(scene / "pictures", tmp_path / "pictures")
    make_index(classifier, choose_images([tmp_path / "pictures"]), tmp_path / "own", layer=LAYER)
    draw_picture(100).save(tmp_path / "pictures" / "val" / "new.png")
    changed = pictures(tmp_path)[3]
    draw_picture(101).save(changed)
    before = open_index(tmp_path / "own")
    report = add_images(tmp_path / "own", classifier, choose_images([tmp_path / "pictures"]), batch_size=1)
    assert report == (25, 2, 23, 1, (), False, ())
    index = open_index(tmp_path / "own")
    assert (len(index), index.num_rows) == (25, 26)
    assert index.header["parts"][0] == before.header["parts"][0]  # nothing was written again
    row = next(row for row in index.rows().tolist() if index.entry(row).path == str(changed))
    assert index.entry(row).id >= 24
    expected = classifier.activations([changed], [LAYER])[LAYER]
    np.testing.assert_allclose(index.gather(np.array([row])), expected, rtol=1e-5, atol=1e-6)


def test_removed_images_are_not_found_and_empty_parts_go(
    scene: Path, classifier: Classifier, index_path: Path, tmp_path: Path
) -> None:
    draw_picture(100).save(tmp_path / "new.png")
    add_images(index_path, classifier, choose_images([tmp_path / "new.png"]))
    assert remove_rows(index_path, lambda index: np.array([2, 24])) == (2, 23)
    index = open_index(index_path)
    assert [path.name for path in sorted(index_path.glob("part-*"))] == ["part-00000"]
    assert names(index) == sorted(path.name for path in pictures(scene) if path != pictures(scene)[2])
    assert remove_rows(index_path, lambda index: np.array([2])) == (0, 23)
    report = add_images(index_path, classifier, choose_images([scene / "pictures"]))
    assert (report.images, report.added) == (24, 1)
    assert max(open_index(index_path).ids) == 25  # ids are not used again
    with pytest.raises(SearchError) as problem:
        remove_rows(index_path, lambda index: index.rows())
    assert str(problem.value) == f"{index_path}: nothing would be left. Delete the folder instead."


@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_index_says_so_and_the_same_command_continues(
    scene: Path, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    monkeypatch.setattr(index_writer, "PART_BYTES", 10 * 16 * 4)
    calls = []

    def interrupt(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    images = choose_images([scene / "pictures"])
    with pytest.raises(KeyboardInterrupt):
        make_index(classifier, images, tmp_path / "index", layer=LAYER, batch_size=6, tick=interrupt)
    assert not (tmp_path / "index" / ".writing").exists()
    with pytest.raises(SearchError, match=r"index is an unfinished index.* again"):
        open_index(tmp_path / "index")
    report = make_index(classifier, images, tmp_path / "index", layer=LAYER, batch_size=6)
    assert (report.images, report.kept) == (24, 0 if stop_after == 1 else 12)
    assert names(open_index(tmp_path / "index")) == names(open_index(scene / "index"))


def test_an_unfinished_index_of_another_layer_is_not_continued(
    scene: Path, classifier: Classifier, index_path: Path
) -> None:
    header = open_index(index_path).header
    write_header(index_path, {**header, "finished": False})
    with pytest.raises(SearchError) as problem:
        make_index(classifier, choose_images([scene / "pictures"]), index_path, layer="fc8")
    assert str(problem.value) == (
        f"{index_path} is an unfinished index of other weights or features (layer fc6.relu, float32). Give its own command "
        "again, or choose another --out."
    )


def test_a_finished_index_given_again_is_left_as_it_is_and_names_again_what_it_lacks(
    classifier: Classifier, tmp_path: Path
) -> None:
    for number in range(3):
        draw_picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    given = [tmp_path / f"{number}.png" for number in range(4)]
    first = make_index(classifier, choose_images(given), tmp_path / "index", layer=LAYER)
    before = (tmp_path / "index" / "index.json").stat().st_mtime_ns
    again = make_index(classifier, choose_images(given), tmp_path / "index", layer=LAYER)
    assert again == (3, 0, 3, 0, first.left_out, True, ())
    assert len(first.left_out) == 1
    assert (tmp_path / "index" / "index.json").stat().st_mtime_ns == before


def test_classes_are_called_by_the_store_then_by_the_model_then_by_their_names(
    small_store_path: Path, scene: Path, tmp_path: Path
) -> None:
    model = dataclasses.replace(make_model(everything(), image_px=256), class_titles=("Ameise", "Biene", "cat", "Hund"))
    save_model(tmp_path / "model.safetensors", model)
    images = choose_images([small_store_path], ["val"])
    images.titles = {"ant": "emmet"}
    make_index(open_model(tmp_path), images, tmp_path / "index", layer=LAYER)
    index = open_index(tmp_path / "index")
    assert index.header["class_titles"] == {"ant": "emmet", "bee": "Biene"}
    assert index.class_titles == ("emmet", "Biene", "cat")
    assert [index.entry(row)[2:4] for row in (0, 3, 6)] == [("ant", "emmet"), ("bee", "Biene"), ("cat", "cat")]
    assert open_index(scene / "index").class_titles == ("ant", "bee", "cat")


def test_adding_brings_readable_names_to_an_index_without(
    classifier: Classifier, scene: Path, index_path: Path
) -> None:
    header = open_index(index_path).header
    del header["class_titles"]  # as older versions wrote it
    write_header(index_path, header)
    assert open_index(index_path).class_titles == ("ant", "bee", "cat")
    images = choose_images([scene / "pictures"])
    images.titles = {"bee": "Biene", "dog": "Hund"}
    assert add_images(index_path, classifier, images) == (24, 0, 24, 0, (), False, ())
    assert open_index(index_path).header["class_titles"] == {"bee": "Biene"}


def test_a_store_that_is_indexed_is_known_again(small_store_path: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", make_model(everything(), image_px=256))
    classifier = open_model(tmp_path)
    for expected in (False, True):
        images = choose_images([small_store_path], ["val"])
        assert make_index(classifier, images, tmp_path / "index", layer=LAYER).was_complete is expected
    with pytest.raises(
        SearchError, match=r"is a finished index of other images: it lacks train/ant/ant-0\.png\. Add what"
    ):
        make_index(classifier, choose_images([small_store_path], ["val", "train"]), tmp_path / "index", layer=LAYER)


def test_a_finished_index_of_other_images_or_options_is_refused(
    scene: Path, classifier: Classifier, index_path: Path, tmp_path: Path
) -> None:
    advice = f"choose another --out, or delete it first: rm -r {index_path}"

    def message(model: Classifier, given: list[Path], **options: Any) -> str:
        with pytest.raises(SearchError) as problem:
            make_index(model, choose_images(given), index_path, **{"layer": LAYER, **options})
        return str(problem.value)

    draw_picture(7).save(tmp_path / "new.png")
    assert message(classifier, [*pictures(scene)[1:], tmp_path / "new.png"]) == (
        f"{index_path} is a finished index of other images: it lacks {tmp_path / 'new.png'}; 1 of its images is not among "
        f"these. Add what it lacks: alexnet search add {index_path} IMAGES; or {advice}"
    )
    assert message(classifier, pictures(scene)[2:]) == (
        f"{index_path} is a finished index of other images: 2 of its images are not among these. C{advice[1:]}"
    )
    expected, found = (hash_file(scene / name)[:12] for name in ("model.safetensors", "other.safetensors"))
    assert message(open_model(scene, "other.safetensors"), pictures(scene), layer="fc8", dtype="float16") == (
        f"{index_path} is a finished index made with other options: its weights: {expected}…, now {found}…; its layer: "
        f"fc6.relu, now fc8; its dtype: float32, now float16. C{advice[1:]}"
    )
    coarse = load(scene / "model.safetensors", device="cpu", precision="bfloat16")
    assert "made with other options: its precision: float32, now bfloat16." in message(coarse, pictures(scene))


def test_a_file_of_another_size_is_not_the_one_that_was_indexed(classifier: Classifier, tmp_path: Path) -> None:
    draw_picture(1).save(tmp_path / "a.png")
    make_index(classifier, choose_images([tmp_path / "a.png"]), tmp_path / "index", layer=LAYER)
    draw_picture(1).save(tmp_path / "a.png", compress_level=0)
    with pytest.raises(SearchError, match="other images: 1 of its images is of another size now, or gone"):
        make_index(classifier, choose_images([tmp_path / "a.png"]), tmp_path / "index", layer=LAYER)


def test_what_a_stopped_writer_left_is_cleared_away(scene: Path, classifier: Classifier, index_path: Path) -> None:
    (index_path / ".writing").mkdir()
    (index_path / "part-00009").mkdir()
    for name in ("removed-00000001-00000001.npy", "codes-64-v0.safetensors", "part-00000/codes-64-v0.npy", COMMAND):
        (index_path / name).write_bytes(b"")
    part = sorted(path.name for path in (index_path / "part-00000").iterdir() if "codes" not in path.name)
    assert len(open_index(index_path)) == 24
    add_images(index_path, classifier, choose_images([pictures(scene)[0]]))
    assert sorted(path.name for path in index_path.iterdir()) == [".lock", "index.json", "part-00000"]
    assert sorted(path.name for path in (index_path / "part-00000").iterdir()) == part


@pytest.mark.parametrize("failing", ["mkdir", "open", "rename"])
def test_a_part_that_cannot_be_written_names_the_index(
    scene: Path, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    done = getattr(Path, failing)

    def fail(path: Path, *words: Any, **options: Any) -> Any:
        if ".writing" in path.parts or path.name == ".writing":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return done(path, *words, **options)

    monkeypatch.setattr(Path, failing, fail)
    with pytest.raises(OSError, match="No space left") as problem:
        make_index(classifier, choose_images([scene / "pictures"]), tmp_path / "index", layer=LAYER)
    assert problem.value.filename == str(tmp_path / "index")


def test_two_writers_do_not_meet(classifier: Classifier, index_path: Path) -> None:
    with index_changes.sole_writer(index_path), pytest.raises(SearchError) as problem:
        remove_rows(index_path, lambda index: np.array([0]))
    assert str(problem.value) == f"{index_path} is being changed by another process. Wait until it has ended."


def test_an_index_of_another_model_is_not_mixed(scene: Path, index_path: Path) -> None:
    with pytest.raises(SearchError) as problem:
        add_images(index_path, open_model(scene, "other.safetensors"), choose_images([scene / "pictures"]))
    expected, found = (hash_file(scene / name)[:12] for name in ("model.safetensors", "other.safetensors"))
    assert str(problem.value) == (
        f"{index_path} was made with weights {expected}…, {scene / 'other.safetensors'} holds {found}…: their features "
        f"cannot be compared. Name the model it was made with (then: {scene / 'model.safetensors'}), or index the images with this one: alexnet search "
        f"index {scene / 'other.safetensors'} IMAGES --out OTHER"
    )


def make_again(path: Path) -> str:
    return f"delete it and index the images again: rm -r {path}; alexnet search index MODEL IMAGES --out {path}"


def spoil_truncated(path: Path) -> str:
    file = path / "part-00000" / "features.npy"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-10])
    return f"{file} has {size - 10:,} bytes instead of {size:,}. The index is damaged: copy it again, or {make_again(path)}"


def spoil_missing(path: Path) -> str:
    (path / "part-00000" / "ids.npy").unlink()
    return f"{path / 'part-00000' / 'ids.npy'} is missing. The index is damaged: copy it again, or {make_again(path)}"


def spoil_header(path: Path) -> str:
    text = (path / "index.json").read_text()
    (path / "index.json").write_text(text.replace('"rows": 24', '"rows": 23'))
    return f"{path / 'index.json'} does not agree with its own checksum. The index is damaged: copy it again, or {make_again(path)}"


def spoil_json(path: Path) -> str:
    (path / "index.json").write_text("{")
    return f"{path / 'index.json'} is not valid JSON. The index is damaged: copy it again, or {make_again(path)}"


def spoil_version(path: Path) -> str:
    write_header(path, {**json.loads((path / "index.json").read_text()), "version": 9})
    return f"{path} is an index of version 9; this alexnet reads version 2. Update alexnet, or {make_again(path)}"


def spoil_other(path: Path) -> str:
    (path / "index.json").write_text("{}")
    return (
        f"{path / 'index.json'} is not the header of an index. Make one: alexnet search index MODEL IMAGES --out INDEX"
    )


def spoil_field(path: Path) -> str:
    header = json.loads((path / "index.json").read_text())
    del header["codes"]
    write_header(path, header)
    return f"{path / 'index.json'} lacks a field or has one of the wrong kind ('codes'). The index is damaged: copy it again, or {make_again(path)}"


@pytest.mark.parametrize("name", ["ids.npy", "labels.npy", "pixels.npy", "images.jsonl"])
def test_one_changed_bit_is_found_before_a_file_is_used(index_path: Path, name: str) -> None:
    path = index_path / "part-00000" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    index = open_index(index_path)
    with pytest.raises(SearchError) as problem:
        index.entry(0) if name == "images.jsonl" else getattr(index, name.removesuffix(".npy"))
    assert str(problem.value).startswith(f"{path} has other bytes than when it was written. The index is damaged: ")


def spoil_all(path: Path) -> str:
    shutil.rmtree(path)
    return f"{path} does not exist. Make an index: alexnet search index MODEL IMAGES --out {path}"


@pytest.mark.parametrize(
    "spoil",
    [spoil_truncated, spoil_missing, spoil_header, spoil_json, spoil_version, spoil_other, spoil_field, spoil_all],
)
def test_damage_is_named_with_the_next_step_which_helps(
    index_path: Path, scene: Path, classifier: Classifier, spoil: Any
) -> None:
    message = spoil(index_path)
    with pytest.raises(SearchError) as problem:
        open_index(index_path)
    assert str(problem.value) == message
    images = choose_images([scene / "pictures"])
    if "rm -r" in message:
        with pytest.raises(SearchError) as problem:
            make_index(classifier, images, index_path, layer=LAYER)
        assert str(problem.value) == message
        shutil.rmtree(index_path)
    if spoil is not spoil_other:
        assert make_index(classifier, images, index_path, layer=LAYER).added == 24
        open_index(index_path).verify()


def test_changed_bytes_are_found_by_verify(index_path: Path) -> None:
    file = index_path / "part-00000" / "features.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(SearchError) as problem:
        open_index(index_path).verify()
    assert str(problem.value).startswith(f"{file} has other bytes than when it was written.")


def test_small_parts_hold_no_file_open(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isinstance(open_index(index_path).features[0].base, np.memmap)
    monkeypatch.setattr(index_reader, "MAPPED_BYTES", 0)
    assert isinstance(open_index(index_path).features[0].base, np.memmap)


def test_vanished_and_changed_images_are_told(scene: Path, classifier: Classifier, tmp_path: Path) -> None:
    shutil.copytree(scene / "pictures", tmp_path / "pictures")
    make_index(classifier, choose_images([tmp_path / "pictures"]), tmp_path / "own", layer=LAYER)
    index = open_index(tmp_path / "own")
    first, second = pictures(tmp_path)[:2]
    first.unlink()
    draw_picture(50).save(second)
    originals = Originals(index)
    assert [originals.explain(index.entry(row)) for row in range(3)] == ["is gone", "has changed", None]
    assert originals.read(index.entry(0), 32) is None


def test_no_readable_image_makes_no_index(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(SearchError, match=r"index: 1 image, none of which could be read\. .*a\.jpg: is not an image"):
        make_index(classifier, choose_images([tmp_path / "pictures"]), tmp_path / "index")
    assert not (tmp_path / "index").exists()
    with pytest.raises(SourceError, match="holds no images"):
        (tmp_path / "empty").mkdir()
        choose_images([tmp_path / "empty"])


def test_features_that_are_not_finite_are_refused(
    scene: Path, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def activations_each(pixels: Any, layers: Any, *, batch_size: int) -> Any:
        yield [], [], {LAYER: np.full((len(pixels), 16), 70_000, np.float32)}

    monkeypatch.setattr(classifier, "activations_each", activations_each)
    images = choose_images([scene / "pictures"])
    make_index(classifier, images, tmp_path / "a", layer=LAYER)
    with pytest.raises(SearchError) as problem:
        make_index(classifier, images, tmp_path / "b", layer=LAYER, dtype="float16")
    assert str(problem.value) == (
        f"{pictures(scene)[0]}: its features are not finite. float16 holds numbers up to 65,504: index with --dtype float32."
    )


def test_a_folder_of_something_else_is_not_touched(scene: Path, classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(SearchError) as problem:
        make_index(classifier, choose_images([scene / "pictures"]), tmp_path)
    assert str(problem.value) == f"{tmp_path} exists and is not an index. Choose another --out."
    assert isinstance(StoreImages, type)


def test_a_file_that_is_named_again_in_a_later_batch_is_indexed_once(
    classifier: Classifier, scene: Path, tmp_path: Path
) -> None:
    """Batches are decoded ahead, before the rows of the first are known."""
    files = sorted((scene / "pictures").rglob("*.png"))[:3]
    report = make_index(classifier, choose_images([*files, *files]), tmp_path / "index", layer=LAYER, batch_size=3)
    assert (report.images, report.added, report.kept) == (3, 3, 3)
    assert len(open_index(tmp_path / "index")) == 3
