"""Clips to a store: their frames, a clip on one side, nearly equal frames left out, bad ones named."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.folds import divide_into_folds
from alexnet.data.images.decode import square_pixels
from alexnet.data.prepare import clips as taking
from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import CLIP_KINDS, KINDS
from alexnet.data.store.reader import Store, open_store
from alexnet.data.video.clip import find_clip, parse_frame
from alexnet.errors import ConfigError, ImageError, Interrupted, SourceError, StoreError
from conftest import write_clip

pytest.importorskip("av", reason="needs PyAV, the extra video")

PX = 32


def write_clips(root: Path, clips: Mapping[str, tuple[int, int]]) -> Path:
    """Clips of noise at 10 frames a second: path -> how many frames, and how far a frame moves on from the last."""
    for number, (path, (count, pixels)) in enumerate(clips.items()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        still = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        write_clip(root / path, [np.roll(still, pixels * frame, 1) for frame in range(count)])
    return root


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Four clips of two seconds for each of two classes."""
    return write_clips(tmp_path / "FILMS", {f"{name}/{n}.mkv": (20, 5) for name in "ab" for n in range(4)})


def take(root: Path, out: str = "STORE", **options: Any) -> Store:
    made = prepare(root, root.parent / out, **{"size": PX, "every": 0.5, "val_fraction": 0.25, **options})
    return open_store(made.store)


def clips_of(store: Store, split: str) -> set[str]:
    return set(map(find_clip, store[split].paths))


def test_a_store_of_clips_holds_their_frames_by_name_and_group(films: Path) -> None:
    store = take(films)
    assert len(store["train"]) == 2 * 3 * 4
    assert len(store["val"]) == 2 * 4
    assert [parse_frame(path) for path in store["train"].paths[:4]] == [
        (find_clip(store["train"].paths[0]), time_s) for time_s in (0.0, 0.5, 1.0, 1.5)
    ]
    for split in store.splits.values():
        assert list(split.groups or ()) == list(map(find_clip, split.paths))
        assert split.labels.tolist() == ["ab".index(path[0]) for path in split.paths]
    assert not clips_of(store, "train") & clips_of(store, "val")
    frame = next(row for row, path in enumerate(store["train"].paths) if path.endswith("@0.5s"))
    number = int(store["train"].paths[frame][2])
    still = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(store.images[frame], square_pixels(np.roll(still, 25, 1), PX))
    assert not Path(f"{store.path}.partial").exists()


def test_a_clip_stays_whole_in_three_splits_and_in_folds(films: Path) -> None:
    store = take(films, test_fraction=0.25)
    sides = [clips_of(store, split) for split in ("train", "val", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 8
    folds, note = divide_into_folds(store, 2, seed=0)
    assert note is None
    assert (folds.reshape(-1, 4) == folds.reshape(-1, 4)[:, :1]).all()


def test_a_rule_may_keep_several_clips_together(tmp_path: Path) -> None:
    films = write_clips(tmp_path / "F", {f"{c}/film{n // 2}_{n}.mkv": (4, 5) for c in "ab" for n in range(6)})
    store = take(films, group="film[0-9]", val_fraction=0.3)
    groups = [set(split.groups or ()) for split in store.splits.values()]
    assert set.union(*groups) == {"film0", "film1", "film2"}
    assert not groups[0] & groups[1]


def test_frames_that_are_nearly_the_one_before_are_left_out(tmp_path: Path) -> None:
    films = write_clips(tmp_path / "F", {f"{c}/{n}.mkv": (20, 0 if n else 5) for c in "ab" for n in range(3)})
    (made,) = [prepare(films, tmp_path / "S", size=PX, every=0.5, val_fraction=0.3)]
    assert made.notes[0] == "A frame every 0.5 s of 6 clips: 12 images; 12 left out that were nearly the one before."
    assert made.num_images == 2 * (4 + 1 + 1)
    all_of_them = take(films, "ALL", thin=0)
    assert sum(map(len, all_of_them.splits.values())) == 6 * 4


def test_the_same_clips_give_the_same_bytes_and_a_finished_store_is_left_alone(films: Path) -> None:
    one, two = take(films, "ONE", workers=1), take(films, "TWO", workers=3)
    assert one.fingerprint == two.fingerprint
    again = prepare(films, one.path, size=PX, every=0.5, val_fraction=0.25)
    assert again.was_complete
    with pytest.raises(StoreError, match=r"every was 0\.5, is 0\.25"):
        prepare(films, one.path, size=PX, every=0.25, val_fraction=0.25)
    (films / "a/0.mkv").write_bytes((films / "a/1.mkv").read_bytes() + b"x")
    with pytest.raises(StoreError, match="the images are not the same"):
        prepare(films, one.path, size=PX, every=0.5, val_fraction=0.25)


def test_an_interrupted_preparation_goes_on_without_decoding_again(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = take(films, "WHOLE")
    told = []

    def interrupt(done: int, total: int, parts: float) -> None:
        told.append((done, total))
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        take(films, workers=1, clip_progress=interrupt)
    assert str(caught.value) == (
        f"Stopped after {told[-1][0]} of 8 clips. Run the same command again to continue; what is done is in "
        f"{films.parent / 'STORE.partial'}."
    )
    decoded = []
    monkeypatch.setattr(
        taking,
        "open_clip",
        lambda where, name, original=taking.open_clip: decoded.append(name) or original(where, name=name),
    )
    assert take(films).fingerprint == whole.fingerprint
    assert len(decoded) <= 8 - told[-1][0]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "damage"),
    [("00000.rgb", lambda data: bytes(len(data))), ("00000.rgb", cut), ("00000.json", cut), ("00000.json", lambda _: b"{}")],
)  # fmt: skip
def test_a_clip_whose_files_a_power_cut_damaged_is_decoded_again(films: Path, name: str, damage: Any) -> None:
    whole = take(films, "WHOLE")

    def interrupt(done: int, total: int, parts: float) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        take(films, workers=1, clip_progress=interrupt)
    frames = films.parent / "STORE.partial/frames"
    record = json.loads((frames / "00000.json").read_bytes())["file"]
    data = (frames / "00000.rgb").read_bytes()
    assert (record["bytes"], record["xxh3"]) == (4 * PX * PX * 3, xxhash.xxh3_128_hexdigest(data))
    (frames / name).write_bytes(damage((frames / name).read_bytes()))
    again = take(films)
    assert again.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(again.images, whole.images)


def test_bad_clips_are_left_out_and_named_and_odd_ones_kept(films: Path) -> None:
    (films / "a/broken.mkv").write_bytes(bytes(100))
    data = (films / "a/0.mkv").read_bytes()
    (films / "a/cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    (films / "a/notes.txt").write_text("no clip")
    made = prepare(films, films.parent / "S", size=PX, every=0.5, val_fraction=0.25)
    assert made.skipped == [
        (
            "a/broken.mkv",
            "is no video, or its header is damaged (Invalid data found when processing input). Copy it again from where it came.",
        )
    ]
    assert [path for path, _ in made.odd] == ["a/cut.mkv"]
    assert made.odd[0][1].startswith("frames for 1.")
    assert made.ignored == {"not a clip": 1}
    with pytest.raises(ImageError, match=r"^a/broken.mkv: is no video, .* Or leave it out: --on-bad-image skip\.$"):
        prepare(films, films.parent / "T", size=PX, every=0.5, val_fraction=0.25, on_bad_image="stop")


def test_a_class_of_bad_clips_alone_and_too_many_bad_ones_are_refused(films: Path) -> None:
    for n in range(4):
        (films / f"b/{n}.mkv").write_bytes(bytes(10))
    with pytest.raises(SourceError) as caught:
        take(films)
    assert str(caught.value) == (
        f"{films}: class b has 3 clips, none of which can be read. The first: b/1.mkv: is no video, or its header is "
        "damaged (Invalid data found when processing input). Copy it again from where it came."
    )
    for n in range(20):
        (films / f"a/bad{n}.mkv").write_bytes(bytes(10))
    with pytest.raises(
        SourceError, match=r"11 of 28 clips cannot be used, more than the share of 0\.1 that --max-bad allows"
    ):
        take(films, "T", workers=1)


def test_clips_in_archives_and_tables_are_read(films: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for path in sorted(films.rglob("*.mkv")):
            archive.write(path, path.relative_to(films))
    rows = [f"FILMS/{c}/{n}.mkv,{c},{'val' if n == 0 else 'train'}" for c in "ab" for n in range(4)]
    (tmp_path / "t.csv").write_text("path,label,split\n" + "\n".join(rows))
    assert len(take(tmp_path / "films.zip", "Z")) == 24
    assert clips_of(take(tmp_path / "t.csv", "T", val_fraction=None), "val") == {"FILMS/a/0.mkv", "FILMS/b/0.mkv"}


def test_what_is_no_source_of_clips_says_so(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(CLIP_KINDS) <= {kind.name for kind in KINDS}
    with pytest.raises(SourceError) as caught:
        prepare("FILMS", "S", val_fraction=0.5)
    assert str(caught.value) == "FILMS holds no images, but 8 videos. Take frames: --every 1.0."
    shutil.copytree(
        films, "TEXTS", copy_function=lambda source, target: Path(target).with_suffix(".txt").write_text("")
    )
    with pytest.raises(SourceError) as caught:
        prepare("TEXTS", "S", val_fraction=0.5, every=1.0)
    assert str(caught.value) == (
        "TEXTS holds no clips. Check the path; names of clips end in .mp4, .mov, .mkv, .webm, .avi, .gif and the like. For "
        "images leave out --every."
    )
    np.savez("a.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(ConfigError) as refused:
        prepare("a.npz", "S", val_fraction=0.5, every=1.0)
    assert str(refused.value).endswith(
        "it holds no clips. Leave out --every, or give a folder, an archive or a table of clips."
    )
    with pytest.raises(ConfigError, match="Leave out --part"):
        prepare("FILMS", "S", val_fraction=0.5, every=1.0, part=(1, 2))
    with pytest.raises(ConfigError, match="thin is -1"):
        prepare("FILMS", "S", val_fraction=0.5, every=1.0, thin=-1)


def test_the_command_tells_of_clips_and_frames(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films.parent)
    result = CliRunner().invoke(
        cli, ["prepare", "FILMS", "--every", "0.5", "--val-fraction", "0.25", "--size", "32", "--out", "S"]
    )
    assert result.exit_code == 0, result.output
    assert "A frame every 0.5 s of 8 clips: 32 images." in result.output
    described = CliRunner().invoke(cli, ["info", "S"]).output
    assert [line.split()[1:] for line in described.splitlines() if line.startswith("groups")] == [
        ["train", "6,", "val", "2"]
    ]


def test_the_page_tells_what_the_square_cuts_off_of_upright_frames(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    for name in "ab":
        (tmp_path / "F" / name).mkdir(parents=True)
        for number, turn in enumerate([None, (90, False, False)]):
            frames = [np.roll(still, 5 * frame, 1) for frame in range(10)]
            write_clip(tmp_path / "F" / name / f"{number}.mkv", frames, turn=turn)
    made = prepare(tmp_path / "F", tmp_path / "S", size=PX, every=0.5, val_fraction=0.5)
    page = (made.store / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "square already" not in page
    assert "Of the 4 pictures below, the square cuts off 25 % of the area on average, at most 25 %" in page
