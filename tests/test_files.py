import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from alexnet.errors import WeightsError
from alexnet.exchange.feature_files import open_writer
from alexnet.files import writing
from alexnet.files.tensors import copy_into, is_own, read_document, read_tensors, write_tensors
from alexnet.files.writing import check_file, read_bytes, read_text, write_bytes, write_text
from alexnet.text import commands

DOCUMENT = {"kind": "model", "format": 1, "names": ["é", "b"]}


def test_tensors_and_document_survive_and_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    tensor = torch.arange(12.0).reshape(1, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": tensor}, DOCUMENT)
    assert read_document(path, kinds=("model",), newest_format=1) == DOCUMENT
    assert torch.equal(read_tensors(path)["x"], tensor)
    (tmp_path / "other").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
    assert {file.name for file in tmp_path.iterdir()} == {"a.safetensors", "other"}


DOCUMENT_2 = {**DOCUMENT, "format": 2}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.arange(6.0).reshape(2, 3), "y": torch.ones(3, dtype=torch.int64)}, DOCUMENT_2)
    return path


def message_of(read: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as problem:
        read()
    return str(problem.value)


def test_every_flipped_byte_of_a_file_is_noticed_before_it_is_used(written: Path) -> None:
    whole = written.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 7
        written.write_bytes(data)
        assert is_own(written), place
        message = message_of(lambda: read_tensors(written))
        assert message.startswith(f"{written}: is damaged ("), (place, message)
        assert message.endswith("). Obtain it again, or use another one."), (place, message)
        if place >= header:
            assert "its tensor " in message, place
    written.write_bytes(whole)
    assert read_tensors(written)["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_tensor_that_is_damaged_is_named(written: Path) -> None:
    data = bytearray(written.read_bytes())
    data[-1] ^= 0x80  # a sign: any value of it is finite
    written.write_bytes(data)
    assert message_of(lambda: read_tensors(written)) == (
        f"{written}: is damaged (its tensor x is not as it was written). Obtain it again, or use another one."
    )
    assert read_document(written, kinds=("model",), newest_format=2) == DOCUMENT_2


def test_a_tensor_that_another_program_took_away_or_put_in_is_noticed(written: Path) -> None:
    with safetensors.safe_open(written, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in ("x", "y")}
    for changed, name in ((tensors | {"z": torch.ones(1)}, "z"), ({"x": tensors["x"]}, "y")):
        safetensors.torch.save_file(changed, written, metadata=metadata)
        assert f"its tensor {name} is not as it was written" in message_of(lambda: read_tensors(written))


@pytest.mark.parametrize("length", [5, 10, 40, 100, -1])
def test_a_file_that_was_cut_or_grew_is_damaged(written: Path, length: int) -> None:
    whole = written.read_bytes()
    for data in (whole[:length], whole + whole[:length]):
        written.write_bytes(data)
        for read in (read_tensors, lambda path: read_document(path, kinds=("model",), newest_format=2)):
            assert "is damaged" in message_of(lambda read=read: read(written))  # type: ignore[misc]


def test_files_without_checksums_are_read_where_their_format_had_none(written: Path) -> None:
    for version in (1, 2):
        document = json.dumps({"kind": "model", "format": version})
        safetensors.torch.save_file({"x": torch.ones(1)}, written, metadata={"alexnet": document})
        if version == 1:
            assert read_tensors(written)["x"].item() == 1
    assert message_of(lambda: read_tensors(written)) == (
        f"{written}: is damaged (its header does not agree with its own checksum). Obtain it again, or use another one."
    )


def test_documents_with_numbers_as_names_and_no_numbers_agree_with_their_checksum(tmp_path: Path) -> None:
    document = {"kind": "model", "format": 2, "errors": {10: float("nan"), 9: (1, 2.5)}}
    write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(0, 3), "n": torch.tensor(2.0).bfloat16()}, document)
    tensors = read_tensors(tmp_path / "a.safetensors")
    assert (tensors["x"].shape, tensors["n"].item()) == ((0, 3), 2)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.ones(1)}, DOCUMENT)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_tensors(path, {"x": torch.zeros(1)}, DOCUMENT)
    assert torch.equal(read_tensors(path)["x"], torch.ones(1))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "checkpoint", "format": 2}, "holds a checkpoint, not a model."),
        ({"kind": "model", "format": 9}, "has model format 9; this version reads up to 1. Update alexnet."),
        ({"format": 1}, "holds a document without a kind, not a model."),
    ],
)
def test_other_documents_are_refused(tmp_path: Path, document: dict[str, object], message: str) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.ones(1)}, document)
    with pytest.raises(WeightsError) as problem:
        read_document(path, kinds=("model",), newest_format=1)
    assert str(problem.value) == f"{path}: {message}"


@pytest.mark.parametrize("content", [b"no safetensors", b"\xff" * 8 + b"{}", (2**40).to_bytes(8, "little") + b"{}"])
def test_damaged_files_are_refused_without_reading_what_they_claim(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is damaged or not a safetensors file"):
        read_document(path, kinds=("model",), newest_format=1)
    with pytest.raises(WeightsError, match=r"is damaged or not a safetensors file"):
        read_tensors(path)


def test_tensors_of_another_network_or_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    target = {"w": torch.zeros(2)}
    for source, message in (
        ({}, "lacks the tensor w; it belongs to another network."),
        ({"w": torch.zeros(3)}, "tensor w has shape (3,), this network needs (2,); it belongs to another network."),
        ({"w": torch.tensor([1.0, float("nan")])}, "tensor w holds values that are not finite."),
    ):
        with pytest.raises(WeightsError) as problem:
            copy_into(Path("m"), target, source)
        assert str(problem.value) == f"m: {message}"
    assert not target["w"].any()


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    (tmp_path / "..a.safetensors.writing.writing").mkdir()
    (tmp_path / "..a.safetensors.writing.writing" / ".tmpXy12Zw").write_bytes(b"half")
    write_tensors(path, {"x": torch.ones(1)}, DOCUMENT)
    (tmp_path / ".b.json.writing").mkdir()
    (tmp_path / ".c.json.writing").write_bytes(b"half")
    write_text(tmp_path / "b.json", "{}")
    write_text(tmp_path / "c.json", "{}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors", "b.json", "c.json"]


def test_tensors_without_room_name_the_folder_that_they_are_part_of(
    tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    full_disk(1000)
    with pytest.raises(OSError, match="File too large") as problem, writing.name_in_errors(tmp_path / "folder"):
        write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1000)}, DOCUMENT)
    full_disk(10**9)
    assert problem.value.filename == str(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_what_was_being_written_is_not_there_yet(tmp_path: Path) -> None:
    for name in (".a.json.writing", ".b.json.writing", "a.json", "b.json"):
        (tmp_path / name).write_text("")
    assert sorted(writing.settled_names(tmp_path, "a.json")) == [".b.json.writing", "a.json", "b.json"]


def test_nothing_but_tensors_is_there_from_the_moment_in_which_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def look(written: Path, path: Path) -> None:
        written.replace(path)
        seen.append(sorted(each.name for each in tmp_path.iterdir()))

    monkeypatch.setattr(writing, "put_in_place", look)
    write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, DOCUMENT)
    assert seen == [["a.safetensors"]]


def test_a_folder_has_its_name_when_its_files_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".f.writing"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    names = {path.stat().st_ino: path.name for path in (folder / "a", folder / "b", folder, tmp_path)}
    flushed: list[tuple[str, bool]] = []

    def note(descriptor: int) -> None:
        flushed.append((names[os.fstat(descriptor).st_ino], (tmp_path / "f").exists()))

    monkeypatch.setattr(os, "fsync", note)
    writing.put_in_place(folder, tmp_path / "f")
    assert sorted(flushed[:2]) == [("a", False), ("b", False)]
    assert flushed[2:] == [(".f.writing", False), (tmp_path.name, True)]
    assert (tmp_path / "f" / "b").read_text() == "b"


def test_a_flush_that_fails_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "written").write_text("a")
    monkeypatch.setattr(os, "fsync", fail)
    for work, named in (
        (lambda: writing.put_in_place(tmp_path / "written", tmp_path / "f"), tmp_path / "f"),
        (lambda: writing.sync_folder(tmp_path), tmp_path),
    ):
        with pytest.raises(OSError, match="Input/output error") as problem:
            work()
        assert problem.value.filename == str(named)


def test_half_a_command_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Callable[[int], None]
) -> None:
    monkeypatch.setattr(commands, "typed_command", lambda: "alexnet search index RUN PHOTOS --out INDEX")
    full_disk(10)
    with pytest.raises(OSError, match="File too large") as problem:
        commands.record_command(tmp_path)
    full_disk(10**9)
    assert problem.value.filename == str(tmp_path / commands.COMMAND)
    assert not list(tmp_path.iterdir())
    commands.record_command(tmp_path)
    assert commands.recall_command(tmp_path) == "alexnet search index RUN PHOTOS --out INDEX"


def test_text_appears_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "t", "one")
    write_text(tmp_path / "t", "two é")
    assert (tmp_path / "t").read_text(encoding="utf-8") == "two é"
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def test_a_file_that_cannot_be_written_is_named_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "missing" / "x.html"
    with pytest.raises(FileNotFoundError) as problem:
        write_bytes(path, b"")
    assert problem.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as tensors:
        write_tensors(path, {"x": torch.ones(1)}, DOCUMENT)
    assert (tensors.value.filename, tensors.value.strerror) == (str(path), "No such file or directory")
    with pytest.raises(FileNotFoundError) as features:
        open_writer(path.with_suffix(".npz"), {"x": (1,)})
    assert features.value.filename == str(path.with_suffix(".npz"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as is_folder:
        write_bytes(tmp_path / "folder", b"")
    assert is_folder.value.filename == str(tmp_path / "folder")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device") as full:
        write_bytes(tmp_path / "x.html", b"")
    assert full.value.filename == str(tmp_path / "x.html")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_regular_files_are_opened_and_only_so_much_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "text").write_bytes(b"a\r\nb")
    for name, reason in (
        ("pipe", "it is a pipe, not a file"),
        (".", "it is a folder, not a file"),
        ("link", "it is a link to nowhere, which does not exist"),
        ("missing", "No such file or directory"),
        ("/dev/zero", "it is a device, not a file"),
    ):
        for read in (check_file, lambda path: read_bytes(path, 100)):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - the reason is compared below
                read(tmp_path / name)
            assert caught.value.strerror == reason
            assert caught.value.filename == str(tmp_path / name)
    assert check_file(tmp_path / "text") == 4
    assert read_bytes(tmp_path / "text", 4) == b"a\r\nb"
    assert read_text(tmp_path / "text", 4) == "a\r\nb"
    with pytest.raises(OSError, match="it has 4 bytes; at most 3 are read"):
        read_bytes(tmp_path / "text", 3)
    (tmp_path / "empty").write_bytes(b"")
    assert read_bytes(tmp_path / "empty", 0) == b""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_that_does_not_tell_its_size_is_read_to_its_end_or_to_the_limit() -> None:
    assert check_file("/proc/self/status") == 0
    assert read_bytes("/proc/self/status", 2**20).startswith(b"Name:")
    with pytest.raises(OSError, match="it has more than 100 bytes"):
        read_bytes("/proc/self/status", 100)
