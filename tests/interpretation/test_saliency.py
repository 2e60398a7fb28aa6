import numpy as np
import pytest
import torch

from alexnet.evaluation.classifier import Classifier
from alexnet.interpretation.saliency import crop_center, measure_saliency


def logit(classifier: Classifier, image: np.ndarray, kind: int) -> float:
    preprocessing = classifier.model.preprocessing
    crop = (image.astype(np.float64) - preprocessing.mean_image)[2:14, 2:14] / preprocessing.divisor
    with torch.no_grad():
        network = classifier.network.double()
        score = network(torch.from_numpy(crop).permute(2, 0, 1)[None])[0, kind].item()
    network.float()
    return score


def test_saliency_is_the_largest_derivative_of_the_logit_by_a_pixels_colours(classifier: Classifier) -> None:
    image = np.random.default_rng(0).integers(60, 200, (16, 16, 3), dtype=np.uint8)
    (found,) = measure_saliency(classifier, [image], [3])
    assert found.shape == (12, 12)
    for y, x in ((0, 0), (5, 7), (11, 11)):
        slopes = []
        for channel in range(3):
            ends = []
            for step in (-1e-3, 1e-3):
                moved = image.astype(np.float64)
                moved[y + 2, x + 2, channel] += step
                ends.append(logit(classifier, moved, 3))
            slopes.append(abs(ends[1] - ends[0]) / 2e-3)
        assert found[y, x] == pytest.approx(max(slopes), rel=1e-3)


def test_saliency_leaves_weights_without_gradients_and_crops_what_the_network_sees(classifier: Classifier) -> None:
    images = [np.full((16, 16, 3), level, np.uint8) for level in (10, 250)]
    images[0][2, 2] = 99
    measure_saliency(classifier, images, [0, 1])
    assert all(weight.grad is None for weight in classifier.network.parameters())
    crops = crop_center(images, classifier)
    assert [crop.shape for crop in crops] == [(12, 12, 3)] * 2
    assert crops[0][0, 0].tolist() == [99, 99, 99]
    assert measure_saliency(classifier, [], []).shape == (0, 12, 12)
