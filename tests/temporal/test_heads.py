"""Heads over frames: what each reads, and what it cannot."""

import pytest
import torch

from alexnet.temporal.clips import Clips
from alexnet.temporal.heads import HEADS, WIDTH, FrameByFrame, Head
from alexnet.temporal.training import fit_head

ALL = {"frame by frame": FrameByFrame, **HEADS}
FEATURES, CLASSES = 12, 3


def make(name: str) -> Head:
    torch.manual_seed(0)
    return ALL[name](FEATURES, CLASSES).eval()


@pytest.mark.parametrize("name", ALL)
def test_what_fills_up_a_shorter_clip_does_not_count(name: str) -> None:
    head, features = make(name), torch.randn(2, 9, FEATURES)
    whole = head(features, torch.tensor([9, 5]))
    alone = head(features[1:, :5], torch.tensor([5]))
    assert torch.allclose(whole[1:], alone, atol=1e-6)
    features[1, 5:] = 1000.0
    assert torch.allclose(head(features, torch.tensor([9, 5])), whole, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_weights_of_moments_sum_to_one_and_logits_are_their_sum(name: str) -> None:
    head, features, counts = make(name), torch.randn(3, 8, FEATURES), torch.tensor([8, 4, 3])
    scores, weights = head.look(features, counts)
    moments = 8 - WIDTH + 1 if name == "convolution" else 8
    assert scores.shape == (3, moments, CLASSES)
    assert torch.allclose(weights.sum(1), torch.ones(3))
    assert torch.allclose((weights[:, :, None] * scores).sum(1), head(features, counts))
    assert head.least_frames == (WIDTH if name == "convolution" else 1)


@pytest.mark.parametrize(
    ("name", "knows_order"), [("frame by frame", False), ("pooling", False), ("convolution", True)]
)
def test_only_the_convolution_knows_which_way_time_runs(name: str, knows_order: bool) -> None:
    head, features, counts = make(name), torch.randn(4, 7, FEATURES), torch.full((4,), 7)
    same = torch.allclose(head(features, counts), head(features.flip(1), counts), atol=1e-6)
    assert same is not knows_order


def test_the_convolution_does_not_see_how_much_a_scene_changes() -> None:
    """Of what moves it sees the direction; a factor changes what stands still alone."""
    head, counts = make("convolution"), torch.tensor([6])
    still, moving = torch.randn(1, 1, FEATURES), torch.randn(1, 6, FEATURES)
    moving -= moving.mean(1, keepdim=True)
    one, ten = head(still + moving, counts), head(still + 10 * moving, counts)
    assert torch.allclose(one, ten, atol=0.01)
    assert torch.isfinite(head(still.expand(1, 6, FEATURES), counts)).all()


def test_features_that_never_change_do_not_become_infinite() -> None:
    head = make("pooling")
    features = torch.randn(20, FEATURES)
    features[:, 3] = 7.0
    head.standardize(features)
    assert head.scale[3] == 0
    scaled = (features - head.mean) * head.scale
    assert torch.allclose(scaled.std(0)[:3], torch.ones(3), atol=1e-5)


def ramps(count: int, seed: int) -> tuple[torch.Tensor, Clips]:
    """Clips of five frames along a direction: to and fro are the classes; where they start says nothing."""
    import numpy as np

    generator = torch.Generator().manual_seed(seed)
    starts = torch.randn(count, 1, FEATURES, generator=generator)
    labels = torch.arange(count) % 2
    steps = torch.arange(5.0)[None, :, None] * torch.where(labels == 0, 1.0, -1.0)[:, None, None]
    features = starts + 0.5 * (steps - steps.mean(1, keepdim=True)) * torch.eye(FEATURES)[0]
    frames = np.arange(5 * count).reshape(count, 5)
    return features.flatten(0, 1), Clips(
        tuple(map(str, range(count))), labels.numpy(), tuple(frames), tuple(frames / 2)
    )


@pytest.mark.parametrize(
    ("name", "low", "high"), [("frame by frame", 0.35, 0.65), ("pooling", 0.35, 0.65), ("convolution", 0, 0.03)]
)
def test_what_differs_in_time_alone_is_learned_by_the_convolution_alone(name: str, low: float, high: float) -> None:
    features, clips = ramps(200, seed=1)
    learned = clips.each_frame() if name == "frame by frame" else clips
    head = fit_head(ALL[name], (FEATURES, 2), features, learned, seed=0)
    tested, others = ramps(100, seed=2)
    with torch.no_grad():
        said = head(tested.view(100, 5, FEATURES), torch.full((100,), 5)).argmax(1).numpy()
    assert low <= (said != others.labels).mean() <= high


def test_a_head_is_a_function_of_features_and_seed() -> None:
    features, clips = ramps(30, seed=1)
    one, same, other = (fit_head(HEADS["pooling"], (FEATURES, 2), features, clips, seed=seed) for seed in (1, 1, 2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    assert not torch.equal(one.state_dict()["reduce.weight"], other.state_dict()["reduce.weight"])
