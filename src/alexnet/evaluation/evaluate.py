"""Testing: probabilities averaged over views, and the errors they make (paper, sections 4.1 and 6)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.batches.loader import Images
from alexnet.batches.preprocessing import Preprocessing
from alexnet.batches.shard import WHOLE_BATCH, BatchShard
from alexnet.batches.views import check_views, evaluation_views
from alexnet.distribution.process_group import ProcessGroup
from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.metrics import balanced_error, f1_scores, top_k_credit, wilson_interval
from alexnet.evaluation.shared_views import can_share, share_first_layer
from alexnet.network.alexnet import AlexNet
from alexnet.network.independent import to_probabilities
from alexnet.system import Compute
from alexnet.text.class_names import normalize_name
from alexnet.text.names import escape_name
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted, shorten

VIEWS_AT_A_TIME = 128
"""Views that are computed together."""


def images_at_a_time(num_views: int) -> int:
    """Return how many images with so many views are computed together.

    Raises:
        ConfigError: num_views is none of 1, 9 and 10.
    """
    check_views(num_views)
    return max(1, VIEWS_AT_A_TIME // num_views)


class Outputs(NamedTuple):
    """What a network makes of n images, in float32 on the CPU."""

    probabilities: Tensor
    """(n, K), the mean of the views' softmax outputs."""
    features: Tensor
    """(n, D) flat inputs of the last layer, the mean over the views. In the paper's network they are the features of
    section 6.1 after the scaling of dropout."""


def predict_probabilities(
    network: AlexNet,
    images: Images,
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    num_views: int = 1,
    batch_size: int = VIEWS_AT_A_TIME,
    independent: bool = False,
) -> Iterator[Tensor]:
    """Yield (n, K) float32 probabilities of consecutive images, on the CPU: the mean of the views' softmax outputs.

    Probabilities are averaged, not logits (2012 source, layer.cu 1804-1842). A row does not depend on batch_size
    beyond rounding.

    Args:
        network: In evaluation mode, on compute.device, with weights of compute.dtype.
        num_views: 1, 9 or 10.
        independent: Logistic outputs in place of softmax; see `network.independent`.
    Raises:
        ConfigError: num_views is another number.
    """

    def run(first: int, x: Tensor) -> tuple[Tensor]:
        return (to_probabilities(network.forward_from(first, x).float(), independent=independent),)

    for (probabilities,) in _average_views(run, network, images, preprocessing, compute, num_views, batch_size):
        yield probabilities


def compute_outputs(
    network: AlexNet,
    images: Images,
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    num_views: int = 1,
    independent: bool = False,
) -> Iterator[Outputs]:
    """Yield probabilities, as `predict_probabilities` does, and from the same pass the features they were made of.

    Args:
        network: Not divided among processes.
    """
    last = len(network.spec.layers) - 1

    def run(first: int, x: Tensor) -> tuple[Tensor, Tensor]:
        features = network.read_last_layer(first, x)
        logits = network.forward_from(last, features).float()
        return to_probabilities(logits, independent=independent), features.flatten(1).float()

    for means in _average_views(run, network, images, preprocessing, compute, num_views, VIEWS_AT_A_TIME):
        yield Outputs(*means)


def _average_views(
    run: Callable[[int, Tensor], tuple[Tensor, ...]],
    network: AlexNet,
    images: Images,
    preprocessing: Preprocessing,
    compute: Compute,
    num_views: int,
    batch_size: int,
) -> Iterator[list[Tensor]]:
    """Yield the means over the views of what `run` makes of consecutive images.

    Args:
        run: From the number of a layer and its inputs (n * V, …) to rows for each view.
    """
    image_px, crop_px = preprocessing.image_px, network.spec.input_px
    places = evaluation_views(image_px, crop_px, num_views)
    size = max(1, batch_size // num_views)
    crops = [(y, x) for y, x, mirrored in places if not mirrored]
    # Ten views: the crops of an image share its first layer, and so do those of its mirror image. Mirroring maps the
    # five crops onto each other, so that the mean over them is the same.
    # With the central mean a crop's inputs are not those of the whole image.
    aligned = preprocessing.mean_place == "aligned"
    shared = num_views == 10 and aligned and can_share(network, image_px, crops)
    shown_px, shown = (image_px, [(0, 0, False), (0, 0, True)]) if shared else (crop_px, places)
    for start in range(0, len(images), size):
        batch = [images[i] for i in range(start, min(start + size, len(images)))]
        views = preprocessing.make_views(batch, shown_px, compute.dtype, views=shown).to(compute.device)
        with torch.inference_mode():
            inputs = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            rows = run(1, share_first_layer(network, inputs, crops)) if shared else run(0, inputs)
            means = [each.unflatten(0, (len(batch), num_views)).mean(1).cpu() for each in rows]  # type: ignore[no-untyped-call]
        yield means  # outside of inference mode, which would stay on while this generator waits


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Errors of a classifier on labelled images. Rates are fractions in [0, 1]."""

    images: int
    num_views: int
    k: int
    """The k of the top-k error: 5, or with few classes one less than their number."""
    top1_error: float
    top1_interval: tuple[float, float]
    """95 % Wilson interval."""
    topk_error: float
    topk_interval: tuple[float, float]
    cross_entropy: float
    """Mean of -ln(probability of the label), in nats."""
    class_names: tuple[str, ...] = ()
    class_images: tuple[int, ...] = ()
    class_errors: tuple[float, ...] = ()
    """Top-1 errors per class, as counts."""
    class_f1: tuple[float, ...] = ()
    """F1 score per class; NaN for a class without images."""
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    """(N, K), in the order of the images."""
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    """(N,), in the order of the images."""

    @property
    def balanced_error(self) -> tuple[float, float, float]:
        """Mean over classes of their top-1 errors, and the ends of its 95 % interval; see `metrics.balanced_error`."""
        return balanced_error(self.class_errors, self.class_images)

    @property
    def f1_macro(self) -> float:
        """Mean over classes with images of their F1 scores."""
        return float(np.nanmean(self.class_f1))

    def to_json_of(self, what: str) -> dict[str, Any]:
        """Return how many of what were tested, and their errors, for programs."""
        top_k = {f"top{self.k}_error": self.topk_error, f"top{self.k}_interval": list(self.topk_interval)}
        return {
            what: self.images,
            "top1_error": self.top1_error,
            "top1_interval": list(self.top1_interval),
            **(top_k if self.k > 1 else {}),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs, without the probabilities."""
        return {
            **self.to_json_of("images"),
            "views": self.num_views,
            "cross_entropy": self.cross_entropy,
            "balanced_error": self.balanced_error[0],
            "balanced_interval": list(self.balanced_error[1:]),
            "f1_macro": self.f1_macro,
            "classes": [
                {
                    "name": escape_name(name),
                    "images": count,
                    "top1_error": errors / count if count else None,
                    "top1_interval": list(wilson_interval(errors, count)),
                    "f1": f1 if count else None,
                }
                for name, count, errors, f1 in zip(
                    self.class_names, self.class_images, self.class_errors, self.class_f1, strict=True
                )
            ],
        }


def evaluate_network(
    network: AlexNet,
    images: Images,
    labels: NDArray[np.int64],
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    class_names: tuple[str, ...],
    num_views: int = 1,
    tick: Tick = untold,
    data: ProcessGroup | None = None,
) -> Evaluation:
    """Return the errors on these images; each is used exactly once.

    Args:
        data: Processes that call this at the same time. Each takes a shard of the images; all get the result.
        labels: (N,) class indices of the network.
        class_names: Names of the network's classes.
    Raises:
        ConfigError: there are no images, or num_views is none of 1, 9 and 10.
    """
    if len(images) and len(images) != len(labels):
        raise ConfigError(
            f"{counted(len(images), 'image')} with {counted(len(labels), 'label')} cannot be tested; there must be one "
            "each."
        )
    probabilities = gather_probabilities(
        network, images, preprocessing, compute, num_views=num_views, tick=tick, data=data
    )
    return measure_errors(probabilities, labels, class_names=class_names, num_views=num_views)


def gather_probabilities(
    network: AlexNet,
    images: Images,
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    num_views: int = 1,
    tick: Tick = untold,
    data: ProcessGroup | None = None,
    independent: bool = False,
) -> Tensor:
    """Return the (N, K) probabilities of all images; see `evaluate_network` and `predict_probabilities`.

    Raises:
        ConfigError: there are no images, or num_views is none of 1, 9 and 10.
    """
    total = len(images)
    if total == 0:
        raise ConfigError("there are no images to evaluate. Choose a split that has some.")
    shard = WHOLE_BATCH if data is None else BatchShard(data.rank, data.size)
    found = torch.empty(0)
    done = 0
    for positions in shard.turns(total, images_at_a_time(num_views)):
        own = [images[int(position) % total] for position in positions]  # position -1 fills up with the last image
        (part,) = predict_probabilities(
            network, own, preprocessing, compute, num_views=num_views, independent=independent
        )
        if data is not None:
            part = data.all_gather(part.to(compute.device), "probabilities").wait().flatten(0, 1)[: total - done].cpu()
        if done == 0:  # one piece of memory for all: 200 MB for the 50,000 images and 1,000 classes of ImageNet
            found = part.new_empty(total, part.shape[1])
        found[done : done + len(part)] = part
        done += len(part)
        tick(done, total)
    return found


def measure_errors(
    probabilities: Tensor,
    labels: NDArray[np.int64],
    *,
    class_names: tuple[str, ...],
    num_views: int,
    k: int | None = None,
) -> Evaluation:
    """Return the errors that (N, K) probabilities make against (N,) labels.

    Args:
        k: The k of the top-k error; `default_k` where it is None.
    Raises:
        ConfigError: k is below 1, or not below the number of classes: the error would always be 0.
    """
    count = len(labels)
    target = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    classes_in_all = probabilities.shape[1]
    k = default_k(classes_in_all) if k is None else k
    if not 1 <= k < classes_in_all:
        raise ConfigError(
            f"top-{k} of {classes_in_all} classes is right for every image. Accepted are 1 to {classes_in_all - 1}."
        )
    wrong = 1 - top_k_credit(probabilities, target, 1)
    wrong_k = 1 - top_k_credit(probabilities, target, k)
    own = probabilities.gather(1, target[:, None]).double().clamp(min=1e-30)
    classes = len(class_names)
    class_images = torch.bincount(target, minlength=classes)
    class_errors = torch.bincount(target, weights=wrong, minlength=classes)
    top1, topk = float(wrong.sum()), float(wrong_k.sum())
    return Evaluation(
        images=count,
        num_views=num_views,
        k=k,
        top1_error=top1 / count,
        top1_interval=wilson_interval(top1, count),
        topk_error=topk / count,
        topk_interval=wilson_interval(topk, count),
        cross_entropy=0.0 - float(own.log().mean()),  # 0.0 in place of -0.0
        class_names=class_names,
        class_images=tuple(int(n) for n in class_images),
        class_errors=tuple(float(n) for n in class_errors),
        class_f1=tuple(f1_scores(probabilities, target)[:classes].tolist()),
        probabilities=probabilities.numpy(),
        labels=target.numpy(),
    )


def default_k(num_classes: int) -> int:
    """Return 5 (paper, section 2), or with few classes the largest k that is not always right."""
    return min(5, num_classes - 1)


def match_classes(given: tuple[str, ...], known: tuple[str, ...], *, given_by: str, known_by: str) -> NDArray[np.int64]:
    """Return, for each given class, its index among the known ones; classes are matched by name in normal form.

    Raises:
        WeightsError: a given class is unknown.
    """
    positions = {normalize_name(name): index for index, name in enumerate(known)}
    missing = [name for name in given if normalize_name(name) not in positions]
    if missing:
        raise WeightsError(
            f"{given_by} has classes that {known_by} was not trained on: {shorten(missing, 5)}. Evaluate on images of "
            f"its own classes ({', '.join(known[:5])}{', …' if len(known) > 5 else ''})."
        )
    return np.array([positions[normalize_name(name)] for name in given], dtype=np.int64)
