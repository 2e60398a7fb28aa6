"""benchmarks/unknown.py: the scores that its table compares, each against its definition."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import alexnet

from .test_ensemble import write_model


@pytest.fixture(scope="module")
def unknown() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "unknown.py"
    spec = importlib.util.spec_from_file_location("unknown", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_auroc_is_the_share_of_pairs_in_which_the_foreign_score_is_larger(unknown: Any) -> None:
    generator = np.random.default_rng(0)
    own, foreign = (generator.integers(low, low + 6, 40).astype(np.float32) for low in (0, 2))
    pairs = np.sign(foreign[:, None] - own[None, :])
    assert unknown.measure_auroc(own, foreign) == pytest.approx((1 + pairs.mean()) / 2)


def test_scores_are_what_they_are_called(unknown: Any, tmp_path: Path) -> None:
    classifier = alexnet.load(
        write_model(tmp_path / "m.safetensors", seed=0, size=32), device="cpu", precision="float32"
    )
    images = list(np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), np.uint8))
    probabilities, features = unknown.compute(classifier, images, 1)
    learned, asked = features[:60], features[60:]
    labels = np.arange(60) % 3
    scores = unknown.list_scores(classifier, learned, labels)
    found = {name: score(probabilities[60:], asked) for name, score in scores.items()}
    inputs = classifier.model.preprocessing.make_views(images[60:], classifier.network.spec.input_px, torch.float32)
    with torch.inference_mode():
        logits = classifier.network(inputs[:, 0])
    np.testing.assert_allclose(found["energy"], -logits.logsumexp(1).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["largest probability"], 1 - logits.softmax(1).amax(1).numpy(), atol=1e-5)
    means = np.stack([learned[labels == label].mean(0) for label in range(3)])
    away = np.linalg.norm(asked[:, None] - means[None], axis=2).min(1)
    np.testing.assert_allclose(found["class mean, Euclidean"], away, rtol=1e-2)
    cosines = (asked @ means.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(found["class mean, cosine"], 1 - cosines.max(1), atol=1e-5)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (asked, learned)]
    near = np.sort(np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2), axis=1)
    np.testing.assert_allclose(found["10th nearest training image, unit length"], near[:, 9], atol=2e-3)
    np.testing.assert_allclose(found["nearest training image, cosine"], near[:, 0] ** 2 / 2, atol=1e-5)
    away = np.linalg.norm(asked[:, None] - learned[None], axis=2).min(1)
    np.testing.assert_allclose(found["nearest training image, Euclidean"], away, rtol=1e-2)
    np.testing.assert_array_equal(  # so few images are all chosen
        found["nearest of 50 a class, cosine"], found["nearest training image, cosine"]
    )
