"""The drawn clips: classes that differ in motion alone."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.scenes.motion import FRAMES, MOTIONS, draw_clip, draw_poses, encode_webp, write_clips
from alexnet.data.scenes.scenes import VALIDATION_START
from alexnet.errors import ConfigError

PAIRS = (
    list(itertools.batched(MOTIONS, 2)) if hasattr(itertools, "batched") else [MOTIONS[i : i + 2] for i in (0, 2, 4)]
)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_clip_played_backwards_is_the_opposite_class(pair: tuple[str, str]) -> None:
    one, other = (draw_clip(motion, 3, seed=5, size=24, frames=4) for motion in pair)
    assert np.array_equal(one, other[::-1])
    assert not np.array_equal(one, other)


def test_a_clip_is_a_function_of_its_seed_and_its_index() -> None:
    clip = draw_clip("grows", 7, seed=1, size=24, frames=3)
    assert np.array_equal(clip, draw_clip("grows", 7, seed=1, size=24, frames=3))
    for other in ({"index": 8, "seed": 1}, {"index": 7, "seed": 2}):
        assert not np.array_equal(clip, draw_clip("grows", size=24, frames=3, **other))


def test_what_moves_is_the_class_and_only_that() -> None:
    for axis in range(3):
        poses = np.array(draw_poses(np.random.default_rng(axis), axis, FRAMES))
        steps = np.diff(poses, axis=0)
        assert (steps[:, axis] > 0.1).all()
        assert np.allclose(steps[:, axis], steps[0, axis])
        assert not np.delete(steps, axis, 1).any()


def test_a_frame_is_of_one_distribution_whatever_moves() -> None:
    """Height, turn and size of a random frame have the same quantiles in all classes, within what 4,000 can tell."""
    rng = np.random.default_rng(0)
    frames = np.array([
        [draw_poses(rng, axis, FRAMES)[int(rng.integers(FRAMES))] for _ in range(4000)] for axis in range(3)
    ])  # fmt: skip
    assert np.abs(frames).max() <= 1
    quantiles = np.quantile(frames, np.linspace(0.1, 0.9, 9), axis=1)  # (9, axis that moves, number of the pose)
    assert np.ptp(quantiles, axis=1).max() < 0.08
    for poses in frames:  # and none of the three says anything of another
        assert np.abs(np.corrcoef(poses.T) - np.eye(3)).max() < 0.06


def test_clips_are_written_as_animations_that_give_back_every_pixel(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_clips(tmp_path, train=2, val=1, size=24, frames=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 18) for number in range(1, 19)]
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert len(found) == 18
    assert {name for name in found if "rises" in name or "falls" in name} == {
        "train/rises/00000.webp", "train/rises/00002.webp", f"val/rises/{VALIDATION_START}.webp",
        "train/falls/00001.webp", "train/falls/00003.webp", f"val/falls/{VALIDATION_START + 1}.webp",
    }  # fmt: skip
    with Image.open(tmp_path / "train/falls/00003.webp") as clip:
        read = []
        for number in range(clip.n_frames):
            clip.seek(number)
            read.append(np.asarray(clip.convert("RGB")))
            assert clip.info["duration"] == 125
    assert np.array_equal(read, draw_clip("falls", 3, size=24, frames=3))


def test_frames_that_are_alike_stay_frames() -> None:
    """Pillow joins frames that are equal; those of a clip never are."""
    clip = draw_clip("turns left", 0, size=24)
    assert all(not np.array_equal(one, two) for one, two in itertools.pairwise(clip))
    assert len(encode_webp(clip)) > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"motion": "rise"}, "unknown motion 'rise'. The drawn clips have: rises, falls, turns right, turns left, grows, shrinks."),
        ({"index": -1}, "index is -1; it must be 0 or more."),
        ({"frames": 1}, "frames is 1; it must be 2 or more."),
        ({"size": 8}, "size is 8; it must be 16 or more."),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        draw_clip(**{"motion": "rises", "index": 0, **arguments})  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_numbers_of_clips_have_a_bound(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        write_clips(tmp_path / "new", train=25_001)
    assert str(raised.value) == "train is 25001; it must be between 0 and 25000."
    assert not (tmp_path / "new").exists()
