from typing import Any

import numpy as np
import pytest
import torch

from alexnet.batches.loader import TrainingBatches
from alexnet.batches.order import epoch_order
from alexnet.recipes.fields import Batches

GENERATOR = np.random.default_rng(0)
IMAGES = list(GENERATOR.integers(0, 256, (23, 16, 16, 3), dtype=np.uint8))
LABELS = np.arange(23) % 5
MEAN = np.full((16, 16, 3), 100.0, np.float32)


def make(images: object = IMAGES, *, seed: int = 7, **changed: Any) -> TrainingBatches:
    recipe = Batches(**{"size": 5, **changed})
    options: dict[str, Any] = {
        "seed": seed, "crop_px": 12, "color_axes": np.eye(3) * 20, "dtype": torch.float32,
        "device": torch.device("cpu"),
    }  # fmt: skip
    return TrainingBatches(images, LABELS, MEAN, recipe, **options)  # type: ignore[arg-type]


def test_colour_noise_and_its_division_end_with_the_epoch_that_is_given() -> None:
    plain = collect(make(color_noise_epochs=1), epoch=0)
    options = {"color_noise_epochs": 1, "color_noise_rescales": True}
    noisy, quiet = collect(make(**options), epoch=0), collect(make(**options), epoch=1)
    torch.testing.assert_close(noisy[0][0], plain[0][0] / 1.1, rtol=1e-6, atol=1e-5)
    levels = quiet[0][0] + 100  # without noise and division these are the stored pixels
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_images_in_a_row_share_a_crop_also_across_batches_and_after_a_resume() -> None:
    gradient = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None], (16, 16, 3))
    images = [np.ascontiguousarray(gradient)] * 23

    def tops(batches: TrainingBatches, first: int = 0) -> list[float]:
        return torch.cat([inputs[:, 0, 0, 0] for inputs, *_ in collect(batches, epoch=0, first=first)]).tolist()

    options = {"images_per_crop": 8, "reflections": False, "color_noise": 0.0}
    found = tops(make(images, **options))
    assert [len(set(found[start : start + 8])) for start in (0, 8, 16)] == [1, 1, 1]
    assert len(set(found)) > 1
    assert tops(make(images, **options), first=2) == found[10:]


def collect(batches: TrainingBatches, epoch: int, first: int = 0) -> list[tuple[torch.Tensor, ...]]:
    return [(b.inputs.clone(), b.labels, b.keys) for b in batches.epoch(epoch, first=first)]


def test_an_epoch_holds_every_image_once_in_the_epochs_order_with_a_short_last_batch() -> None:
    batches = collect(make(), epoch=2)
    assert [len(labels) for _, labels, _ in batches] == [5, 5, 5, 5, 3]
    order = epoch_order(23, seed=7, epoch=2)
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == LABELS[order].tolist()
    assert len(set(torch.cat([keys for *_, keys in batches]).tolist())) == 23


def test_an_epoch_can_begin_at_any_batch() -> None:
    whole, rest = collect(make(), epoch=1), collect(make(), epoch=1, first=3)
    assert len(rest) == 2
    for (inputs, labels, keys), (inputs_2, labels_2, keys_2) in zip(whole[3:], rest, strict=True):
        assert torch.equal(inputs, inputs_2)
        assert torch.equal(labels, labels_2)
        assert torch.equal(keys, keys_2)


def test_an_image_looks_the_same_whatever_the_batch_size() -> None:
    small, large = collect(make(size=4), epoch=0), collect(make(size=23), epoch=0)
    assert torch.equal(torch.cat([inputs for inputs, *_ in small]), large[0][0])


def test_an_image_looks_different_in_another_epoch() -> None:
    first = {tuple(k.tolist()) for *_, k in collect(make(size=23), epoch=0)}
    assert first != {tuple(k.tolist()) for *_, k in collect(make(size=23), epoch=1)}


class Broken(list):  # type: ignore[type-arg]
    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if index == epoch_order(23, seed=7, epoch=0)[12]:
            raise OSError("the disk is gone")
        return super().__getitem__(index)


def test_what_breaks_in_the_background_is_raised_at_its_batch() -> None:
    seen = 0
    with pytest.raises(OSError, match="the disk is gone"):
        for _ in make(Broken(IMAGES)).epoch(0):
            seen += 1
    assert seen == 2


def test_leaving_an_epoch_early_stops_the_background_thread() -> None:
    import threading

    for _ in make().epoch(0):
        break
    assert not [thread for thread in threading.enumerate() if thread.name == "alexnet-batches"]
