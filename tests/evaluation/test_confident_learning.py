"""Which labels are doubtful: the published rule, computed by hand, and beside cleanlab's."""

import numpy as np
import pytest

from alexnet.evaluation.confident_learning import doubt_labels


def test_the_rule_agrees_with_what_is_computed_by_hand() -> None:
    probabilities = np.array(
        [
            [0.8, 0.2, 0.0],
            [0.6, 0.4, 0.0],
            [0.1, 0.9, 0.0],  # labelled 0: 0.9 reaches the threshold 0.55 of class 1
            [0.4, 0.5, 0.1],  # labelled 0: 0.4 is below the threshold 0.475 of class 0, and 0.5 below that of class 1
            [0.2, 0.8, 0.0],
            [0.7, 0.3, 0.0],  # labelled 1: 0.7 reaches the threshold of class 0
        ],
        np.float32,
    )
    doubts = doubt_labels(probabilities, np.array([0, 0, 0, 0, 1, 1]))
    np.testing.assert_allclose(doubts.thresholds, [0.475, 0.55, np.inf], rtol=1e-6)
    assert doubts.believed.tolist() == [0, 0, 1, -1, 1, 0]
    assert doubts.joint.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert doubts.suggested.tolist() == [1, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(doubts.scores, [0.8, 0.6, 0.1, 0.4, 0.8, 0.3], atol=1e-6)
    # A third of the label 0, 4/3 images, and half of the label 1 are wrong: one image each, the least probable.
    assert doubts.is_suspect.tolist() == [False, False, True, False, False, True]
    assert doubts.ranking.tolist() == [2, 5, 3, 1, 0, 4]


def test_an_image_of_which_nothing_is_believed_is_a_suspect_where_its_label_is_least_probable() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.1, 0.9], [0.1, 0.9], [0.2, 0.8]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 0])
    doubts = doubt_labels(probabilities, labels)
    assert doubts.believed.tolist() == [0, 0, -1, 1, 1, -1]
    assert not doubts.is_suspect.any()  # what is believed agrees with every label
    doubts = doubt_labels(np.concatenate([probabilities, [[0.05, 0.95]]]).astype(np.float32), np.append(labels, 0))
    assert doubts.believed.tolist() == [0, 0, -1, 1, 1, -1, 1]
    # One of three is believed to be wrong, so 5/3 of five: also image 5, of which nothing is believed.
    assert np.flatnonzero(doubts.is_suspect).tolist() == [5, 6]


def test_a_class_that_the_network_is_timid_about_needs_less() -> None:
    """Image 2 looks more like its label 0 than like 1, but images of 1 never look more like it."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.7, 0.3]], np.float32)
    doubts = doubt_labels(probabilities, np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(doubts.thresholds, [0.8, 0.3], rtol=1e-6)
    assert doubts.believed.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.filterwarnings("default")
def test_cleanlab_counts_the_same_joint_and_finds_the_same_suspects() -> None:
    """But that it leaves out those whose label is itself the most probable class."""
    cleanlab = pytest.importorskip("cleanlab", reason="needs cleanlab, which nothing else here does")
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 300)
    logits = generator.normal(0, 1, (300, 5)) + 1.5 * np.eye(5)[np.where(np.arange(300) % 10, labels, (labels + 1) % 5)]
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    doubts = doubt_labels(probabilities, labels)
    theirs = cleanlab.count.compute_confident_joint(labels, probabilities, calibrate=False)
    apart = ~np.eye(5, dtype=bool)
    assert doubts.joint[apart].tolist() == theirs[apart].tolist()
    found = cleanlab.filter.find_label_issues(
        labels, probabilities, filter_by="prune_by_class", return_indices_ranked_by="self_confidence"
    )
    assert len(found) > 50
    ours = doubts.ranking[: doubts.is_suspect.sum()]
    assert [i for i in ours if probabilities[i].argmax() != labels[i]] == found.tolist()
