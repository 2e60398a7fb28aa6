"""Archives are read where they lie, and nothing in them leads outside."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.archives import TarArchive, ZipArchive, is_archive, open_archive
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.errors import ImageError, SourceError
from alexnet.text.wording import say_bytes

Photos = Callable[..., Path]
TREE = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in ("cat", "dog") for number in range(2)]
MODES = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def pack(root: Path, target: Path, prefix: str = "") -> Path:
    """An archive of a folder, in the form that the target's name tells."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, prefix + path.relative_to(root).as_posix())
    else:
        with tarfile.open(target, MODES[target.name.split(".", 1)[1]]) as tar:
            for path in files:
                tar.add(path, prefix + path.relative_to(root).as_posix())
    return target


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("prefix", ["", "set/", "./deep/set/"])
def test_an_archive_gives_the_same_store_as_its_folder(photos: Photos, tmp_path: Path, name: str, prefix: str) -> None:
    root = photos([*TREE, "train/cat/Thumbs.db", "__MACOSX/train/cat/._1.png", "train/cat/notes.txt"])
    archive = pack(root, tmp_path / name, prefix)
    source = find_images(archive)
    assert (source.kind, source.class_names) == ("archive", ("cat", "dog"))
    assert dict(source.ignored)["system"] >= 1
    prepare(root, tmp_path / "FOLDER", size=16)
    prepare(archive, tmp_path / "ARCHIVE", size=16)
    folder, packed = open_store(tmp_path / "FOLDER"), open_store(tmp_path / "ARCHIVE")
    assert (folder.images[:] == packed.images[:]).all()
    assert folder.labels.tolist() == packed.labels.tolist()
    plain = prefix.removeprefix("./")
    assert packed["val"].paths[:] == [plain + path for path in folder["val"].paths]
    assert not list(tmp_path.glob("**/set"))


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.data.sources.archives._FREE_BYTES", 2**20)
    small = pack(photos(TREE), tmp_path / "a.tar.gz", "")
    assert find_images(small).class_names == ("cat", "dog")
    bomb = tmp_path / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz") as tar:
        member = tarfile.TarInfo("train/cat/a.png")
        member.size = 2**24
        tar.addfile(member, io.BytesIO(bytes(2**24)))
    with pytest.raises(SourceError) as caught:
        find_images(bomb)
    most = say_bytes(2**20 + 50 * bomb.stat().st_size)
    assert str(caught.value) == (
        f"{bomb}: unpacks to more than {most}, which pictures of its size never do. Unpack it yourself if you "
        "trust it, and name the folder."
    )


def test_a_single_tree_in_an_archive_is_divided(photos: Photos, tmp_path: Path) -> None:
    root = photos([f"{name}/{number}.png" for name in ("a", "b") for number in range(10)])
    source = find_images(pack(root, tmp_path / "a.tar", "set/"), val_fraction=0.2)
    assert {split: len(entries) for split, entries in source.splits.items()} == {"train": 16, "val": 4}


def test_readable_names_inside_an_archive_are_used(photos: Photos, tmp_path: Path) -> None:
    root = photos({**dict.fromkeys(TREE), "classes.tsv": b"0\tcat\thouse cat\n1\tdog\tgood dog\n"})
    assert find_images(pack(root, tmp_path / "a.zip", "set/")).class_titles == ("house cat", "good dog")


def test_entries_that_lead_outside_are_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "train/cat/1.png", b"good")
        for name in ("../secret.png", "/etc/passwd.png", "train/../../secret.png", "C:/x.png", "train\\..\\..\\x.png"):
            add(tar, name, b"bad")
        add(tar, "train/cat/link.png", type=tarfile.SYMTYPE, linkname="../../../secret.png")
        add(tar, "train/cat/hard.png", type=tarfile.LNKTYPE, linkname="/etc/passwd")
        add(tar, "train/cat/device.png", type=tarfile.CHRTYPE)
        add(tar, "train/cat/pipe.png", type=tarfile.FIFOTYPE)
        add(tar, "train/cat/1.png", b"better")
    archive = open_archive(tmp_path / "a.tar")
    assert archive.names() == ["train/cat/1.png"]
    assert archive.read("train/cat/1.png") == b"better"
    assert dict(archive.ignored) == {"unsafe name": 5, "link or device": 4, "replaced by a later file": 1}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("../secret.png", b"bad")
        packed.writestr("/etc/passwd.png", b"bad")
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "../../secret.png")
        packed.writestr("cat/1.png", b"good")
    opened = open_archive(tmp_path / "a.zip")
    assert isinstance(opened, ZipArchive)
    assert opened.names() == ["cat/1.png"]
    assert {name: count for name, count in opened.ignored.items() if count} == {"unsafe name": 2, "link or device": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "a.zip", "secret.png"]


def test_a_file_that_claims_to_be_huge_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet.data.sources.archives.MAX_FILE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("cat/1.png", bytes(5000))
    with pytest.raises(ImageError) as caught:
        open_archive(tmp_path / "a.zip").read("cat/1.png")
    assert str(caught.value) == ("cat/1.png: has 5,000 bytes; no photograph is over 1,000. Check the file.")


def test_damage_inside_a_zip_costs_one_image(photos: Photos, tmp_path: Path) -> None:
    archive = pack(photos(TREE), tmp_path / "a.zip")
    data = bytearray(archive.read_bytes())
    place = data.find(b"IDAT")
    data[place + 20] ^= 0xFF
    archive.write_bytes(data)
    report = prepare(archive, tmp_path / "STORE", size=8)
    assert [path for path, _ in report.skipped] == ["train/cat/0.png"]
    assert report.skipped[0][1].startswith("is damaged in the archive (")
    assert report.skipped[0][1].endswith("). Copy the archive again.")


def test_damaged_archives_are_named(photos: Photos, tmp_path: Path) -> None:
    root = photos(TREE)
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tar.xz"):
        archive = pack(root, tmp_path / name)
        whole = archive.read_bytes()
        archive.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(SourceError) as caught:
            find_images(archive, kind=None if is_archive(archive) else "archive")
        assert str(archive) in str(caught.value)


def test_a_tar_of_tars_is_listed_without_unpacking(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        add(tar, "n01_1.JPEG", b"one")
        add(tar, "n01_2.JPEG", b"two")
    with tarfile.open(tmp_path / "outer.tar", "w") as tar:
        add(tar, "n01.tar", inner.getvalue())
        add(tar, "n02.tar", inner.getvalue())
    archive = TarArchive(tmp_path / "outer.tar", inner=True)
    assert archive.names() == ["n01/n01_1.JPEG", "n01/n01_2.JPEG", "n02/n01_1.JPEG", "n02/n01_2.JPEG"]
    assert [archive.read(name) for name in archive.names()] == [b"one", b"two"] * 2
    assert archive.describe("n02/n01_2.JPEG") == (3, 0)


def test_an_encrypted_image_is_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("cat/1.png", b"data")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[6] |= 1  # the flag of encryption, in the entry and in the directory
    data[data.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ImageError) as caught:
        open_archive(tmp_path / "a.zip").read("cat/1.png")
    assert str(caught.value) == "cat/1.png: is encrypted. Unpack the archive with its password."
