"""The drawn data set: the same picture for the same arguments, no class given away by color, files written once."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.scenes import scenes
from alexnet.data.scenes.objects import OBJECTS
from alexnet.data.scenes.painting import Light, Shape, draw_pattern, find_covered, paste
from alexnet.data.scenes.scenes import CLASS_NAMES, VALIDATION_START, draw_scene, draw_scene_and_mask, write_scenes
from alexnet.errors import ConfigError

GOLDEN_GRIDS = {
    ("anchor", 0): [159.8, 128.6, 138.5, 160.7, 139.5, 121.4, 191.6, 148.0, 167.8],
    ("mug", 7): [87.8, 108.6, 103.3, 118.7, 173.2, 124.1, 96.6, 139.0, 108.5],
    ("umbrella", VALIDATION_START): [111.4, 139.8, 83.1, 130.0, 163.3, 115.6, 113.3, 104.2, 70.1],
}
"""Mean brightness of a 3 x 3 grid over the scene at 96 pixels, row by row; seed 0.

Regenerate with brightness_grid below, and only when the look of the data set is meant to change: it changes every
number that was measured on it.
"""


def brightness_grid(image):
    third = len(image) // 3
    return image.astype(np.float64).mean(axis=2).reshape(3, third, 3, third).mean(axis=(1, 3)).ravel()


@cache
def sample(split_start, count):
    """Count small scenes of each class as pixels in [0, 1], (images, 32, 32, 3), with their labels."""
    labels = np.repeat(np.arange(len(CLASS_NAMES)), count)
    images = [draw_scene(CLASS_NAMES[k], split_start + i % count, size=32) for i, k in enumerate(labels)]
    return np.stack(images) / 255.0, labels


def nearest_mean_error(train, labels, val, val_labels):
    means = np.stack([train[labels == k].mean(axis=0) for k in range(len(CLASS_NAMES))])
    distances = ((val[:, None] - means) ** 2).sum(axis=2)
    return np.mean(distances.argmin(axis=1) != val_labels)


def test_a_scene_is_rgb_bytes_of_the_asked_size():
    for class_name in CLASS_NAMES:
        image = draw_scene(class_name, 0, size=48)
        assert (image.shape, image.dtype) == ((48, 48, 3), np.uint8)
        assert image.std() > 10
    assert draw_scene("fish", 0).shape == (256, 256, 3)


def test_the_same_arguments_draw_the_same_bytes():
    for class_name in CLASS_NAMES:
        assert np.array_equal(draw_scene(class_name, 3, seed=5, size=64), draw_scene(class_name, 3, seed=5, size=64))


def test_index_seed_and_class_each_change_the_scene():
    scene = draw_scene("key", 1, seed=2, size=64).astype(int)
    for other in (
        draw_scene("key", 2, seed=2, size=64),
        draw_scene("key", 1, seed=3, size=64),
        draw_scene("leaf", 1, seed=2, size=64),
    ):
        assert np.abs(scene - other).mean() > 10


def test_another_size_shows_the_same_scene():
    for class_name in ("house", "butterfly"):
        small, large = draw_scene(class_name, 4, size=96), draw_scene(class_name, 4, size=192)
        assert np.abs(brightness_grid(small) - brightness_grid(large)).max() < 3


@pytest.mark.parametrize(("class_name", "index"), GOLDEN_GRIDS)
def test_the_data_set_looks_as_it_did_when_its_numbers_were_measured(class_name, index):
    # One step of room: sine and hyperbolic tangent are not rounded alike on every processor.
    grid = brightness_grid(draw_scene(class_name, index, size=96))
    np.testing.assert_allclose(grid, GOLDEN_GRIDS[class_name, index], atol=1)


@pytest.mark.parametrize("size", [16, 33, 97])
def test_odd_sizes_are_drawn(size):
    for class_name in CLASS_NAMES:
        assert draw_scene(class_name, 9, size=size).shape == (size, size, 3)


def test_mean_color_and_color_histograms_do_not_give_the_class_away():
    (train, labels), (val, val_labels) = sample(0, 20), sample(VALIDATION_START, 12)

    def histograms(images):
        bins = np.minimum((images * 8).astype(int), 7)
        return np.stack([(bins == value).mean(axis=(1, 2)) for value in range(8)], axis=1).reshape(len(images), -1)

    # Chance is 0.9; with 120 scenes its standard deviation is 0.027.
    assert nearest_mean_error(train.mean(axis=(1, 2)), labels, val.mean(axis=(1, 2)), val_labels) > 0.78
    assert nearest_mean_error(histograms(train), labels, histograms(val), val_labels) > 0.75


def test_linear_classifiers_and_nearest_neighbors_on_pixels_stay_poor():
    (train, labels), (val, val_labels) = sample(0, 20), sample(VALIDATION_START, 12)
    train, val = train.reshape(len(train), -1), val.reshape(len(val), -1)
    train, val = train - train.mean(axis=0), val - train.mean(axis=0)
    targets = np.eye(len(CLASS_NAMES))[labels]
    products = train @ train.T
    for penalty in (1.0, 10.0, 100.0, 1000.0):
        weights = train.T @ np.linalg.solve(products + penalty * np.eye(len(train)), targets - targets.mean(axis=0))
        assert np.mean((val @ weights).argmax(axis=1) != val_labels) > 0.6
    distances = (val**2).sum(axis=1)[:, None] + (train**2).sum(axis=1) - 2 * val @ train.T
    assert np.mean(labels[distances.argmin(axis=1)] != val_labels) > 0.6


def test_objects_fill_their_square_and_vary():
    for class_name, draw_parts in OBJECTS.items():
        individuals = [draw_parts(np.random.default_rng(i)) for i in range(20)]
        for parts in individuals:
            points = np.concatenate([part.outline for part in parts])
            assert np.isfinite(points).all(), class_name
            assert np.abs(points).max() < 1.12, class_name
            assert np.ptp(points, axis=0).max() > 1.7, class_name
            assert {part.tone for part in parts} <= {"body", "dark", "light", "accent", "hole"}
            assert all(0 < part.height <= 1 for part in parts)
            assert len(parts) >= 8, class_name
        assert len({np.concatenate([part.outline for part in parts]).tobytes() for parts in individuals}) == 20


def test_every_pattern_stays_within_its_range_and_is_no_flat_tone():
    for seed in range(40):
        pattern = draw_pattern(np.random.default_rng(seed), 64)
        assert (pattern.shape, pattern.dtype) == ((64, 64), np.float32)
        assert 0 <= pattern.min() < pattern.max() <= 1
        assert pattern.std() > 0.02


LAMP_AT_THE_LEFT = Light(x=-0.8, y=0.0, z=0.6, ambient=0.3, shadow=0.5, gloss=0.0)


def square(left, right, color, height=0.6):
    corners = np.array([[left, left], [right, left], [right, right], [left, right]], dtype=np.float64)
    return Shape(corners, color, height)


def test_a_shape_is_bright_towards_the_lamp_and_casts_its_shadow_away_from_it():
    canvas = np.full((3, 96, 96), 0.5, np.float32)
    paste(canvas, [square(32, 64, (0.6, 0.6, 0.6))], LAMP_AT_THE_LEFT, lift_px=4)
    row = canvas[0, 48]
    assert row[33] > row[48] > row[61]
    assert row[67] < 0.4 < 0.49 < row[28]
    assert np.all(canvas[:, :16] == 0.5)


def test_a_hole_shows_what_is_below():
    canvas = np.full((3, 96, 96), 0.5, np.float32)
    unlit = Light(x=0.0, y=0.0, z=1.0, ambient=1.0, shadow=0.0, gloss=0.0)
    paste(canvas, [square(16, 80, (1.0, 0.0, 0.0)), square(32, 64, None)], unlit, lift_px=1)
    assert canvas[:, 24, 24].tolist() == [1.0, 0.0, 0.0]
    assert canvas[:, 48, 48].tolist() == [0.5, 0.5, 0.5]


def test_what_shapes_cover_has_no_holes_and_ends_at_the_edge():
    shapes = [square(16, 200, (1.0, 0.0, 0.0)), square(32, 64, None)]
    covered = find_covered(shapes, 96)
    expected = np.zeros((96, 96), bool)
    expected[16:, 16:] = True
    expected[32:64, 32:64] = False
    assert np.mean(covered == expected) > 0.98
    assert not covered[34:62, 34:62].any()
    assert covered[66:, 66:].all()


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_the_mask_is_where_the_thing_is_seen_and_leaves_the_picture_as_it_was(class_name, monkeypatch):
    """Beside the same scene without its thing: outside the mask only shadow and light round the edges differ."""
    picture, mask = draw_scene_and_mask(class_name, 5, size=96)
    assert np.array_equal(picture, draw_scene(class_name, 5, size=96))
    assert (mask.shape, mask.dtype) == ((96, 96), np.bool_)
    assert 0.05 < mask.mean() < 0.5
    painted = scenes.paste

    def without_texture(canvas, shapes, light, *, lift_px, texture=None):
        if texture is None:
            painted(canvas, shapes, light, lift_px=lift_px)

    monkeypatch.setattr(scenes, "paste", without_texture)
    changed = np.abs(picture.astype(int) - draw_scene(class_name, 5, size=96)).max(2) > 12
    assert changed[mask].mean() > 0.9
    assert changed[~mask].mean() < 0.35


def test_what_lies_in_front_of_the_thing_is_not_on_it(monkeypatch):
    whole = [draw_scene_and_mask(name, index, size=64)[1].sum() for name in CLASS_NAMES for index in range(3)]
    monkeypatch.setattr(scenes, "draw_occluders", lambda rng, center, half: [square(0, 64, (0.5, 0.5, 0.5))])
    assert not draw_scene_and_mask("mug", 0, size=64)[1].any()
    monkeypatch.setattr(scenes, "draw_occluders", lambda rng, center, half: [])
    free = [draw_scene_and_mask(name, index, size=64)[1].sum() for name in CLASS_NAMES for index in range(3)]
    assert all(more >= seen for more, seen in zip(free, whole, strict=True))
    assert sum(free) > sum(whole)


def test_shapes_beyond_the_edge_change_nothing():
    canvas = np.full((3, 64, 64), 0.5, np.float32)
    paste(canvas, [square(200, 220, (1.0, 0.0, 0.0))], LAMP_AT_THE_LEFT, lift_px=2)
    paste(canvas, [square(-90, -70, (1.0, 0.0, 0.0))], LAMP_AT_THE_LEFT, lift_px=2)
    paste(canvas, [], LAMP_AT_THE_LEFT, lift_px=2)
    assert np.all(canvas == 0.5)


@pytest.fixture
def tiny_scenes(monkeypatch):
    """Scenes of 32 pixels, for tests about files; they reach only the process that runs the test."""
    monkeypatch.setattr(scenes, "draw_scene", lambda name, index, *, seed: draw_scene(name, index, seed=seed, size=32))


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("tiny_scenes")
def test_class_folders_are_written_with_disjoint_indices(tmp_path):
    seen = []
    write_scenes(
        tmp_path, train_per_class=3, val_per_class=2, workers=1, progress=lambda done, total: seen.append((done, total))
    )
    expected = {f"train/{name}/{name}-{i:05d}.jpg" for name in CLASS_NAMES for i in range(3)}
    expected |= {f"val/{name}/{name}-{VALIDATION_START + i:05d}.jpg" for name in CLASS_NAMES for i in range(2)}
    assert set(files_below(tmp_path)) == expected
    assert seen == [(done, 50) for done in range(1, 51)]


@pytest.mark.usefixtures("tiny_scenes")
def test_an_interrupted_call_is_continued_and_finished_files_are_kept(tmp_path):
    def interrupt(done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "set", train_per_class=2, val_per_class=1, workers=1, progress=interrupt)
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.jpg")}
    assert len(first) == 7
    write_scenes(tmp_path / "set", train_per_class=2, val_per_class=1, workers=1)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    write_scenes(tmp_path / "whole", train_per_class=2, val_per_class=1, workers=1)
    assert files_below(tmp_path / "set") == files_below(tmp_path / "whole")


@pytest.mark.usefixtures("tiny_scenes")
def test_scenes_of_another_seed_are_drawn_anew_and_never_mixed(tmp_path):
    write_scenes(tmp_path / "set", train_per_class=1, val_per_class=1, seed=1, workers=1)
    write_scenes(tmp_path / "set", train_per_class=1, val_per_class=1, seed=2, workers=1)
    write_scenes(tmp_path / "whole", train_per_class=1, val_per_class=1, seed=2, workers=1)
    assert files_below(tmp_path / "set") == files_below(tmp_path / "whole")


def test_processes_write_what_one_process_writes(tmp_path):
    write_scenes(tmp_path / "two", train_per_class=1, val_per_class=0, workers=2)
    write_scenes(tmp_path / "one", train_per_class=1, val_per_class=0, workers=1)
    assert files_below(tmp_path / "two") == files_below(tmp_path / "one")
    with Image.open(tmp_path / "two/train/gear/gear-00000.jpg") as image:
        assert (image.size, image.mode, image.info["comment"]) == (
            (256, 256),
            "RGB",
            b"alexnet scene: gear 0 of seed 0",
        )
        assert np.abs(np.asarray(image).astype(int) - draw_scene("gear", 0)).mean() < 6


def test_an_unguarded_script_is_told_how_to_go_on(tmp_path):
    # Each new process reads the script again and dies of it: the usual way to lose one.
    script = tmp_path / "script.py"
    script.write_text(
        "from alexnet.data.scenes.scenes import write_scenes\nwrite_scenes('set', train_per_class=1, workers=2)\n"
    )
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    expected = (
        "alexnet.errors.AlexNetError: a process that draws scenes ended early; what is written stays. Call again to "
        "draw the rest: in a script below `if __name__ == '__main__':`, elsewhere with workers=1."
    )
    assert expected in result.stderr.splitlines()  # Python's resource tracker may say a word after it


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda folder: draw_scene("dragon", 0),
            "unknown class 'dragon'. The drawn data set has: anchor, butterfly, fish, gear, house, key, leaf, mug, "
            "mushroom, umbrella.",
        ),
        (lambda folder: draw_scene("mug", -1), "index is -1; it must be 0 or more."),
        (lambda folder: draw_scene("mug", 0, seed=-2), "seed is -2; it must be 0 or more."),
        (lambda folder: draw_scene("mug", 0, size=8), "size is 8; it must be 16 or more."),
        (
            lambda folder: write_scenes(folder, train_per_class=0),
            "train_per_class is 0; it must be between 1 and 50000.",
        ),
        (
            lambda folder: write_scenes(folder, val_per_class=50_001),
            "val_per_class is 50001; it must be between 0 and 50000.",
        ),
        (lambda folder: write_scenes(folder, workers=0), "workers is 0; it must be between 1 and 1024."),
        (lambda folder: write_scenes(folder, seed=-1), "seed is -1; it must be 0 or more."),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(tmp_path, call, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        call(tmp_path / "set")
    assert not (tmp_path / "set").exists()
