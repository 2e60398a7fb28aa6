"""mixup, CutMix and random erasing: values, and that they depend on seed, epoch and place alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.batches.augmentation import draw_erased
from alexnet.batches.loader import Batch, TrainingBatches
from alexnet.batches.mixing import Mixtures, draw_mixtures, mix_neighbors
from alexnet.batches.order import epoch_order
from alexnet.batches.shard import BatchShard
from alexnet.recipes.fields import Batches

GENERATOR = np.random.default_rng(0)
IMAGES = list(GENERATOR.integers(0, 256, (23, 16, 16, 3), dtype=np.uint8))
LABELS = np.arange(23) % 5
MEAN = np.full((16, 16, 3), 100.0, np.float32)
MIXED: list[dict[str, Any]] = [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}]


def make(
    shard: BatchShard | None = None, *, dtype: torch.dtype = torch.float32, labels: Any = LABELS, **changed: Any
) -> TrainingBatches:
    recipe = Batches(**{"size": 5, **changed})
    return TrainingBatches(
        IMAGES, labels, MEAN, recipe, seed=7, crop_px=12, color_axes=np.eye(3) * 20, dtype=dtype,
        device=torch.device("cpu"), shard=shard or BatchShard(),
    )  # fmt: skip


def collect(batches: TrainingBatches, epoch: int = 0, first: int = 0) -> list[Batch]:
    return [each.replace_tensors([t.clone() for t in each.tensors]) for each in batches.epoch(epoch, first=first)]


@pytest.mark.parametrize("kind", MIXED)
def test_each_image_is_mixed_with_the_next_of_the_epoch_as_a_plain_computation_says(kind: dict[str, Any]) -> None:
    plain = torch.cat([batch.inputs for batch in collect(make())])
    behind = plain.roll(-1, 0)
    drawn = draw_mixtures(23, Batches(**kind), seed=7, epoch=0, crop_px=12)
    assert drawn is not None
    expected = plain.clone()
    for n, (share, (top, bottom, left, right)) in enumerate(zip(drawn.pixels.tolist(), drawn.boxes, strict=True)):
        box = (n, slice(None), slice(top, bottom), slice(left, right))
        expected[box] = share * plain[box] + (1 - share) * behind[box]
    mixed = collect(make(**kind))
    torch.testing.assert_close(torch.cat([batch.inputs for batch in mixed]), expected, rtol=1e-6, atol=1e-4)
    order = epoch_order(23, seed=7, epoch=0)
    assert torch.cat([batch.labels for batch in mixed]).tolist() == LABELS[order].tolist()
    others = [batch.others for batch in mixed if batch.others]
    assert torch.cat([labels for labels, _ in others]).tolist() == LABELS[np.roll(order, -1)].tolist()
    assert torch.cat([counts for _, counts in others]).tolist() == (1 - drawn.labels).tolist()


def test_labels_count_by_the_pixels_and_the_image_itself_at_least_one_half() -> None:
    for kind in MIXED:
        drawn = draw_mixtures(4_000, Batches(**kind), seed=1, epoch=2, crop_px=24)
        assert drawn is not None
        height, width = (drawn.boxes[:, side + 1] - drawn.boxes[:, side] for side in (0, 2))
        own = 1 - (1 - drawn.pixels) * height * width / 24**2
        np.testing.assert_allclose(drawn.labels, own, atol=1e-6)
        assert drawn.labels.min() >= 0.5 - 0.5 / 24
        assert (drawn.boxes >= 0).all()
        assert (drawn.boxes <= 24).all()
        by_mixup = drawn.pixels > 0
        assert by_mixup.mean() == pytest.approx({0.4: 1, 1.0: 0.5}.get(kind.get("mixup", 0), 0), abs=0.03)
        assert (height[by_mixup] == 24).all()


def test_shares_of_mixup_follow_their_beta_distribution() -> None:
    """Folded, Beta(1, 1) is uniform from one half to 1; Beta(0.2, 0.2) is compared with other samples."""
    uniform = draw_mixtures(100_000, Batches(mixup=1), seed=0, epoch=0, crop_px=8)
    assert uniform is not None
    np.testing.assert_allclose(np.quantile(uniform.labels, [0.1, 0.5, 0.9]), [0.55, 0.75, 0.95], atol=0.005)
    plain = np.random.default_rng(5).beta(0.2, 0.2, 100_000)
    drawn = draw_mixtures(100_000, Batches(mixup=0.2), seed=0, epoch=0, crop_px=8)
    assert drawn is not None
    quantiles = [0.1, 0.25, 0.5]
    expected = np.quantile(np.maximum(plain, 1 - plain), quantiles)
    np.testing.assert_allclose(np.quantile(drawn.labels, quantiles), expected, atol=0.01)


def test_the_side_of_a_square_is_the_root_of_its_share() -> None:
    drawn = draw_mixtures(20_000, Batches(cutmix=1), seed=0, epoch=0, crop_px=200)
    assert drawn is not None
    top, bottom, left, right = drawn.boxes.T
    inside = (top > 0) & (left > 0) & (bottom < 200) & (right < 200)
    assert ((bottom - top) == (right - left))[inside].mean() > 0.99
    assert (bottom - top).max() == pytest.approx(200 * np.sqrt(0.5), abs=1)


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mixtures_are_the_same_for_any_batch_any_shard_and_after_a_resume(
    kind: dict[str, Any], dtype: torch.dtype
) -> None:
    whole = collect(make(size=23, dtype=dtype, **kind), epoch=3)[0]
    assert whole.others is not None
    for size in (4, 5):
        batches = collect(make(size=size, dtype=dtype, **kind), epoch=3)
        assert torch.equal(torch.cat([batch.inputs for batch in batches]), whole.inputs)
        later = collect(make(size=size, dtype=dtype, **kind), epoch=3, first=2)
        for resumed, batch in zip(later, batches[2:], strict=True):
            assert all(map(torch.equal, resumed.tensors, batch.tensors))
    for count, local in ((2, None), (3, 2), (4, 1)):
        found: dict[int, list[torch.Tensor]] = {}
        for index in range(count):
            place = 0
            for part in collect(make(BatchShard(index, count, local), size=5, dtype=dtype, **kind), epoch=3):
                assert part.others is not None
                for row, label in enumerate(part.labels.tolist()):
                    assert (part.others[0][row] < 0) == (label < 0)
                for row in torch.nonzero(part.labels >= 0).flatten().tolist():
                    found[int(part.keys[row])] = [each[row] for each in part.tensors]
                place += part.is_last
        assert len(found) == 23
        for row, key in enumerate(whole.keys.tolist()):
            assert all(torch.equal(a, b[row]) for a, b in zip(found[key], whole.tensors, strict=True))


def test_in_bfloat16_rounded_inputs_are_mixed_and_rounded_once() -> None:
    inputs = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1)).bfloat16()
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    mixtures = Mixtures(
        np.zeros(3, np.float32), np.array([0.7, 0, 0.5], np.float32),
        np.array([[0, 9, 0, 9], [2, 5, 1, 9], [3, 3, 4, 4]], np.int32),
    )  # fmt: skip
    before = inputs.float()
    mix_neighbors(inputs, mixtures)
    own, other = np.float32(0.7), np.float32(1) - np.float32(0.7)
    assert torch.equal(inputs[0], (before[0] * own + before[1] * other).bfloat16())
    assert torch.equal(inputs[1, :, 2:5, 1:9], before[2, :, 2:5, 1:9].bfloat16())
    before[1, :, 2:5, 1:9] = before[2, :, 2:5, 1:9]
    assert torch.equal(inputs[1:].float(), before[1:])  # nothing else has changed


def test_nothing_is_mixed_after_the_last_epoch_that_mixes_nor_where_it_is_not_asked_for() -> None:
    batches = make(mixup=0.5, mix_epochs=2)
    assert all(batch.others for batch in collect(batches, epoch=1))
    plain = collect(make(), epoch=2)
    for ended in (collect(batches, epoch=2), collect(make(mix_epochs=9), epoch=2)):
        for batch, expected in zip(ended, plain, strict=True):
            assert batch.others is None
            assert all(map(torch.equal, batch.tensors, expected.tensors))


def test_mixtures_differ_between_seeds_and_epochs() -> None:
    recipe = Batches(cutmix=1)
    drawn = [draw_mixtures(50, recipe, seed=s, epoch=e, crop_px=32) for s, e in ((0, 0), (0, 1), (1, 0), (0, 0))]
    shares = [each.labels.tolist() for each in drawn if each]
    assert shares[0] == shares[3]
    assert shares[0] != shares[1] != shares[2] != shares[0]


def test_images_with_several_labels_are_mixed_as_well() -> None:
    sets = GENERATOR.random((23, 4)) < 0.4
    batch = collect(make(labels=sets, mixup=1.0, size=23))[0]
    assert batch.others is not None
    order = epoch_order(23, seed=7, epoch=0)
    assert np.array_equal(batch.labels.numpy(), sets[order])
    assert np.array_equal(batch.others[0].numpy(), sets[np.roll(order, -1)])


def test_erasing_takes_rectangles_of_two_to_thirty_three_percent_with_its_probability() -> None:
    erased = draw_erased(np.arange(20_000), 0.3, seed=0, epoch=0, crop_px=224)
    height, width = erased[:, 1] - erased[:, 0], erased[:, 3] - erased[:, 2]
    chosen = height > 0
    assert chosen.mean() == pytest.approx(0.3, abs=0.01)
    assert (width[~chosen] == 0).all()
    share = (height * width / 224**2)[chosen]
    assert share.min() == pytest.approx(0.02, abs=0.001)
    assert share.max() == pytest.approx(0.33, abs=0.005)
    assert share.mean() == pytest.approx(0.172, abs=0.005)  # a little less than half way: long ones are cut off
    ratio = width[chosen] / height[chosen]
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)
    assert ratio.max() == pytest.approx(10 / 3, rel=0.05)
    assert erased.min() == 0
    assert erased.max() == 224


def test_erased_parts_are_zero_and_the_rest_is_as_before() -> None:
    erased, plain = collect(make(erasing=1.0, size=23))[0], collect(make(size=23))[0]
    order = epoch_order(23, seed=7, epoch=0)
    boxes = draw_erased(order, 1.0, seed=7, epoch=0, crop_px=12)
    expected = plain.inputs.clone()
    for image, (top, bottom, left, right) in zip(expected, boxes, strict=True):
        image[:, top:bottom, left:right] = 0
    assert torch.equal(erased.inputs, expected)


def test_the_loss_of_a_mixture_is_that_of_its_mixed_label() -> None:
    from alexnet.training.objective import sum_losses

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    labels, others = torch.tensor([0, 1, 2, 3, 3, -100]), torch.tensor([1, 1, 0, 2, 0, -100])
    counts, weights = torch.tensor([0.1, 0.5, 0.25, 0, 0.4, 0.3]), torch.tensor([0.5, 1, 2, 3])
    for smoothing in (0.0, 0.1):
        parts = (1 - counts, labels), (counts, others)
        found = sum(sum_losses(logits, each, label_smoothing=smoothing, counts=share) for share, each in parts)
        mixed = sum(share[:5, None] * F.one_hot(each[:5], 4) for share, each in parts) * (1 - smoothing) + smoothing / 4
        torch.testing.assert_close(found, -(mixed * logits[:5].log_softmax(1)).sum())
    weighted = sum(sum_losses(logits, each, class_weights=weights, counts=share) for share, each in parts)
    plain = [F.cross_entropy(logits[:5], each[:5], reduction="none") * weights[each[:5]] for _, each in parts]
    torch.testing.assert_close(weighted, ((1 - counts)[:5] * plain[0] + counts[:5] * plain[1]).sum())
    sets = [torch.rand(6, 4, generator=generator).round() for _ in range(2)]
    for each in sets:
        each[5] = -100
    found = sum_losses(logits, sets[0], counts=1 - counts) + sum_losses(logits, sets[1], counts=counts)
    target = (1 - counts)[:5, None] * sets[0][:5] + counts[:5, None] * sets[1][:5]
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits[:5], target, reduction="sum"))
