"""Which labels are doubtful: the published rule, computed by hand."""

import numpy as np
import pytest

from alexnet.evaluation.confident_learning import doubt_labels

PROBABILITIES = np.array(
    [
        [0.8, 0.2, 0.0],
        [0.6, 0.4, 0.0],
        [0.1, 0.9, 0.0],  # labelled 0: 0.9 reaches the threshold 0.55 of class 1
        [0.5, 0.5, 0.0],  # labelled 0: neither does 0.5 reach 0.5 by much, nor 0.5 that of class 1
        [0.2, 0.8, 0.0],
        [0.7, 0.3, 0.0],  # labelled 1: 0.7 reaches the threshold 0.5 of class 0
    ],
    np.float32,
)
LABELS = np.array([0, 0, 0, 0, 1, 1])


def test_the_rule_agrees_with_what_is_computed_by_hand() -> None:
    doubts = doubt_labels(PROBABILITIES, LABELS)
    np.testing.assert_allclose(doubts.thresholds, [0.5, 0.55, np.inf], rtol=1e-6)
    assert doubts.suggested.tolist() == [0, 0, 1, 0, 1, 0]
    assert doubts.is_suspect.tolist() == [False, False, True, False, False, True]
    np.testing.assert_allclose(doubts.scores, [0.8, 0.6, 0.1, 0.5, 0.8, 0.3], atol=1e-6)
    assert doubts.joint.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert doubts.ranking.tolist() == [2, 5, 3, 1, 0, 4]


def test_a_class_that_the_network_is_timid_about_needs_less() -> None:
    """Image 2 looks more like its label 0 than like 1, but images of 1 never look more like it."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.7, 0.3]], np.float32)
    doubts = doubt_labels(probabilities, np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(doubts.thresholds, [0.8, 0.3], rtol=1e-6)
    assert doubts.suggested.tolist() == [0, 0, 1, 1, 1]


def test_an_image_of_which_nothing_is_believed_keeps_its_label() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]], np.float32)
    doubts = doubt_labels(probabilities, np.array([0, 1, 2, 2]))
    assert doubts.suggested.tolist() == [0, 1, 2, 2]
    assert not doubts.is_suspect.any()


@pytest.mark.filterwarnings("default")
def test_cleanlab_finds_the_same_suspects_in_the_same_order() -> None:
    """But that it leaves out those whose label is itself the most probable class."""
    cleanlab = pytest.importorskip("cleanlab.filter", reason="needs cleanlab, which nothing else here does")
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 300)
    logits = generator.normal(0, 1, (300, 5)) + 1.5 * np.eye(5)[np.where(np.arange(300) % 10, labels, (labels + 1) % 5)]
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    theirs = cleanlab.find_label_issues(
        labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence"
    )
    doubts = doubt_labels(probabilities, labels)
    ours = doubts.ranking[: doubts.is_suspect.sum()]
    assert len(theirs) > 50
    assert [i for i in ours if probabilities[i].argmax() != labels[i]] == theirs.tolist()
