"""Testing a network that says of each class whether it is in a picture, on images with any number of labels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.evaluation.metrics import wilson_interval
from alexnet.evaluation.set_metrics import average_precision, count_answers, f1_of_counts, find_threshold
from alexnet.text.names import escape_name


@dataclass(frozen=True, slots=True)
class SetEvaluation:
    """What a classifier of independent classes does on images with any number of labels. Rates lie in [0, 1]."""

    images: int
    num_views: int
    class_names: tuple[str, ...]
    class_images: tuple[int, ...]
    """Images that have each class."""
    class_precisions: tuple[float, ...]
    """Average precision of each class; NaN where no image has it."""
    right: tuple[int, ...]
    """How often each class was said rightly, at its threshold."""
    false: tuple[int, ...]
    missed: tuple[int, ...]
    set_errors: int
    """Images whose set of classes is not exactly right."""
    loss: float
    """Mean over the images of the sum over the classes of their binary cross-entropies, in nats."""
    thresholds: tuple[float, ...]
    """Least probability of each class that is said to be there."""
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    """(N, K), in the order of the images."""
    labels: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_), repr=False)
    """(N, K), whether each image has each class."""

    @property
    def mean_average_precision(self) -> float:
        """Mean of the average precisions over the classes that some image has; NaN where there is none."""
        known = [value for value in self.class_precisions if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")

    @property
    def class_f1(self) -> NDArray[np.float64]:
        """(K,) F1 score of each class at its threshold; NaN where no image has it."""
        return f1_of_counts(*map(np.array, (self.right, self.false, self.missed)))

    @property
    def f1_macro(self) -> float:
        """Mean over the classes that some image has of their F1 scores."""
        scores = self.class_f1
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")

    @property
    def f1_micro(self) -> float:
        """F1 score of all answers together, whatever their class."""
        right, false, missed = sum(self.right), sum(self.false), sum(self.missed)
        return 2 * right / (2 * right + false + missed) if right + missed else float("nan")

    @property
    def set_error(self) -> float:
        """Share of the images whose set of classes is not exactly right."""
        return self.set_errors / self.images

    @property
    def set_interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `set_error`."""
        return wilson_interval(self.set_errors, self.images)

    @property
    def said(self) -> NDArray[np.bool_]:
        """(N, K) whether each class was said to be in each image."""
        return self.probabilities >= np.array(self.thresholds)

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs, without the probabilities; null for what no image tells."""
        return {
            "images": self.images,
            "views": self.num_views,
            "mean_average_precision": _known(self.mean_average_precision),
            "f1_macro": _known(self.f1_macro),
            "f1_micro": _known(self.f1_micro),
            "set_error": self.set_error,
            "set_interval": list(self.set_interval),
            "binary_cross_entropy": self.loss,
            "classes": [
                {
                    "name": escape_name(name),
                    "images": self.class_images[place],
                    "average_precision": _known(self.class_precisions[place]),
                    "f1": _known(float(self.class_f1[place])),
                    "threshold": self.thresholds[place],
                    "right": self.right[place],
                    "false": self.false[place],
                    "missed": self.missed[place],
                }
                for place, name in enumerate(self.class_names)
            ],
        }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def measure_sets(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    *,
    class_names: tuple[str, ...],
    num_views: int,
) -> SetEvaluation:
    """Return what (N, K) probabilities are worth against (N, K) labels, at (K,) thresholds."""
    said = probabilities >= thresholds
    right, false, missed = count_answers(said, labels)
    likely = np.where(labels, probabilities, 1 - probabilities.astype(np.float64)).clip(min=1e-30)
    return SetEvaluation(
        images=len(labels),
        num_views=num_views,
        class_names=class_names,
        class_images=tuple(labels.sum(0).tolist()),
        class_precisions=tuple(average_precision(*pair) for pair in zip(probabilities.T, labels.T, strict=True)),
        right=tuple(right.tolist()),
        false=tuple(false.tolist()),
        missed=tuple(missed.tolist()),
        set_errors=int((said != labels).any(1).sum()),
        loss=0.0 - float(np.log(likely).sum(1).mean()),
        thresholds=tuple(thresholds.tolist()),
        probabilities=probabilities,
        labels=labels,
    )


def find_thresholds(probabilities: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[float, ...]:
    """Return the threshold of each class for the best F1 on these images; see `set_metrics.find_threshold`."""
    return tuple(find_threshold(*pair) for pair in zip(probabilities.T, labels.T, strict=True))


def arrange_columns(labels: NDArray[np.bool_], known: NDArray[np.int64], num_classes: int) -> NDArray[np.bool_]:
    """Return (N, num_classes) labels in the order in which a model knows the classes; see `evaluate.match_classes`."""
    arranged = np.zeros((len(labels), num_classes), np.bool_)
    arranged[:, known] = labels
    return arranged


def explain_labels(model: str, images: str, *, learned_sets: bool) -> str:
    """The message where a model learned one kind of labels and images have the other."""
    if learned_sets:
        return (
            f"{model} learned pictures with any number of classes; {images} has one label for each. Test it on a store "
            "of such pictures: prepare a table with --labels several."
        )
    return (
        f"{model} names one class for a picture; {images} has any number of labels for each. Test a model that was "
        "trained on such a store."
    )
