"""Heads over the frames of a clip: weighted pooling, and a convolution over time.

Both score moments of a clip and weigh the scores; the logits of the clip are the weighted sum. Shapes: N clips of up to
T frames with D features each, K classes, M moments. Shorter clips are filled up; `counts` says how long each really is.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 3
"""Frames that a unit of the convolution reads; clips must have as many."""
HIDDEN = 64
"""Numbers that the features of a frame become before they are compared over time."""
DROPOUT = 0.5
"""As in section 4.2."""
_LEAST_CHANGE = 1e-3
"""Against the deviation of features over all frames: what changes less stands still."""


class Moments(NamedTuple):
    """What a head makes of N clips."""

    scores: Tensor
    """(N, M, K) logits of each moment."""
    weights: Tensor
    """(N, M), what each moment counts: sums to 1 in every clip, 0 beyond its end."""


class Head(nn.Module):
    """From features (N, T, D) and the lengths (N,) of the clips to logits (N, K).

    Features are first brought to mean 0 and variance 1, as those of the training frames were.
    """

    least_frames = 1
    """Frames that a clip must have."""
    mean: Tensor
    scale: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.num_features, self.num_classes = num_features, num_classes
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("scale", torch.ones(num_features))

    def standardize(self, features: Tensor) -> None:
        """Take mean and standard deviation of the (frames, D) features that it is to learn from."""
        deviation, mean = torch.std_mean(features, dim=0)
        self.mean.copy_(mean)
        self.scale.copy_(1 / torch.where(deviation > 1e-6 * deviation.max(), deviation, torch.inf))

    def forward(self, features: Tensor, counts: Tensor) -> Tensor:
        """Return logits (N, K)."""
        scores, weights = self.look(features, counts)
        return (weights[..., None] * scores).sum(1)

    def look(self, features: Tensor, counts: Tensor) -> Moments:
        """Return the scores of moments, and what each counts."""
        return self.weigh((features - self.mean) * self.scale, counts)

    def weigh(self, x: Tensor, counts: Tensor) -> Moments:
        """Return what `look` does, of features that were brought to scale."""
        raise NotImplementedError  # each head weighs moments in its own way; this class is what they share


class FrameByFrame(Head):
    """A linear layer on each frame, as the last layer of the image model is: what is to be had without time."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes)
        self.classify = nn.Linear(num_features, num_classes)

    def weigh(self, x: Tensor, counts: Tensor) -> Moments:
        """Return a moment for each frame; all count the same."""
        there = _find_there(x.shape[1], counts)
        return Moments(self.classify(x), there / counts[:, None])


class WeightedPooling(Head):
    """The mean of the frames, weighted by how much each has to say (Ilse, Tomczak, Welling 2018, without gates).

    It knows no order: a clip and the same backwards get the same logits.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes)
        self.reduce = nn.Linear(num_features, HIDDEN)
        self.importance = nn.Linear(HIDDEN, 1)
        self.classify = nn.Linear(HIDDEN, num_classes)

    def weigh(self, x: Tensor, counts: Tensor) -> Moments:
        """Return a moment for each frame, weighted by the softmax over the frames of their importance."""
        x = torch.tanh(self.reduce(x))
        importance = self.importance(x)[..., 0]
        beyond = ~_find_there(x.shape[1], counts)
        return Moments(
            self.classify(F.dropout(x, DROPOUT, self.training)), importance.masked_fill(beyond, -torch.inf).softmax(1)
        )


class TimeConvolution(Head):
    """A convolution over WIDTH frames in a row, the mean over the clip (late fusion), and what stands still beside it.

    The convolution reads how each frame differs from the mean of its clip, brought to a length that does not depend on
    how much the scene differs from others. Of the frames as they are, it learned the scenes by heart: 79 % error on the
    drawn clips' pixels against 16 % (docs/notebook.md).
    """

    least_frames = WIDTH

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes)
        self.reduce = nn.Linear(num_features, HIDDEN)
        self.convolve = nn.Conv1d(HIDDEN, HIDDEN, WIDTH)
        self.classify = nn.Linear(HIDDEN, num_classes)
        self.reduce_still = nn.Linear(num_features, HIDDEN)
        self.classify_still = nn.Linear(HIDDEN, num_classes)

    def weigh(self, x: Tensor, counts: Tensor) -> Moments:
        """Return a moment for each WIDTH frames in a row; all count the same."""
        there = _find_there(x.shape[1], counts)[..., None]
        # One mask for the frames of a clip: with one for each, what is dropped would look like motion.
        x = x * F.dropout(torch.ones_like(x[:, :1]), DROPOUT, self.training) * there
        still = x.sum(1, keepdim=True) / counts[:, None, None]
        change = (x - still) * there
        energy = change.square().sum((1, 2), keepdim=True) / (counts[:, None, None] * self.num_features)
        moving = self.reduce(change / (energy.sqrt() + _LEAST_CHANGE))
        moving = F.relu(self.convolve(moving.transpose(1, 2))).transpose(1, 2)
        scores = self.classify(F.dropout(moving, DROPOUT, self.training)) + self.classify_still(
            F.dropout(F.relu(self.reduce_still(still)), DROPOUT, self.training)
        )
        num_moments = counts - WIDTH + 1
        return Moments(scores, _find_there(scores.shape[1], num_moments) / num_moments[:, None])


HEADS: dict[str, type[Head]] = {"pooling": WeightedPooling, "convolution": TimeConvolution}
"""What `alexnet train --temporal` takes."""


def _find_there(length: int, counts: Tensor) -> Tensor:
    """Return (N, length): whether a moment lies within its clip."""
    return torch.arange(length, device=counts.device) < counts[:, None]
