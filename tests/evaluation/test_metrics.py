import numpy as np
import pytest
import torch

from alexnet.errors import WeightsError
from alexnet.evaluation import metrics
from alexnet.evaluation.evaluate import match_classes, measure_errors
from alexnet.evaluation.metrics import balanced_error, f1_scores, top_k_credit, wilson_interval
from alexnet.evaluation.prediction_files import write_predictions


def test_equal_probabilities_earn_what_a_guess_would() -> None:
    uniform = torch.full((2, 1000), 0.001)
    labels = torch.tensor([0, 999])
    assert (1 - top_k_credit(uniform, labels, 1)).mean().item() == pytest.approx(0.999)
    assert (1 - top_k_credit(uniform, labels, 5)).mean().item() == pytest.approx(0.995)


@pytest.mark.parametrize(
    ("scores", "label", "k", "credit"),
    [
        ([0.5, 0.3, 0.2], 0, 1, 1.0),
        ([0.5, 0.3, 0.2], 1, 1, 0.0),
        ([0.5, 0.3, 0.2], 1, 2, 1.0),
        ([0.4, 0.4, 0.2], 1, 1, 0.5),
        ([0.6, 0.2, 0.2], 2, 2, 0.5),
        ([0.6, 0.2, 0.2], 2, 3, 1.0),
        ([0.25, 0.25, 0.25], 0, 2, 2 / 3),
        ([0.5, float("nan"), 0.2], 0, 1, 0.0),
    ],
)
def test_ties_share_the_remaining_places(scores: list[float], label: int, k: int, credit: float) -> None:
    assert top_k_credit(torch.tensor([scores]), torch.tensor([label]), k).item() == pytest.approx(credit)


@pytest.mark.parametrize(
    ("errors", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (20, 100, 0.1334, 0.2888), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals_match_published_values(errors: float, count: int, low: float, high: float) -> None:
    assert wilson_interval(errors, count) == pytest.approx((low, high), abs=5e-5)


def test_errors_are_counted_per_image_and_per_class() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6]])
    result = measure_errors(probabilities, np.array([0, 1, 0, 1]), class_names=("a", "b", "c"), num_views=1)
    assert (result.top1_error, result.k, result.topk_error) == (0.5, 2, 0.125)
    assert (result.class_images, result.class_errors) == ((2, 2, 0), (1.0, 1.0, 0.0))
    assert result.cross_entropy == pytest.approx(-np.log([0.7, 0.8, 0.4, 0.2]).mean())
    assert set(result.to_json()) == {
        "images", "views", "top1_error", "top1_interval", "top2_error", "top2_interval", "cross_entropy", "classes",
        "balanced_error", "balanced_interval", "f1_macro",
    }  # fmt: skip


def test_the_cross_entropy_of_certain_and_right_answers_has_no_sign() -> None:
    result = measure_errors(torch.eye(3), np.arange(3), class_names=("a", "b", "c"), num_views=1)
    assert f"{result.cross_entropy:.4f}" == "0.0000"


def test_predictions_are_written_with_their_classes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = measure_errors(torch.tensor([[0.75, 0.25]]), np.array([1]), class_names=("a, b", "c"), num_views=1)
    write_predictions(tmp_path / "p.csv", result, ["x/é.jpg"])
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == (
        'path,label,class_1,probability_1,class_2,probability_2\nx/é.jpg,c,"a, b",0.750000,c,0.250000\n'
    )


def test_classes_are_matched_by_name_or_refused() -> None:
    assert match_classes(("cat", "ant"), ("ant", "bee", "cat"), given_by="S", known_by="M").tolist() == [2, 0]
    with pytest.raises(WeightsError) as problem:
        match_classes(("cat", "dog"), ("ant", "cat"), given_by="STORE", known_by="RUN")
    assert str(problem.value) == (
        "STORE has classes that RUN was not trained on: dog. Evaluate on images of its own classes (ant, cat)."
    )


def test_the_balanced_error_is_the_mean_over_classes_with_images() -> None:
    mean, low, high = balanced_error([10, 5, 0], [100, 10, 0])
    assert mean == pytest.approx((0.1 + 0.5) / 2)
    z = 1.959964
    shifted = [((e + z * z / 2) / (n + z * z), n) for e, n in ((10, 100), (5, 10))]
    half = z * sum(p * (1 - p) / n for p, n in shifted) ** 0.5 / 2
    assert (low, high) == pytest.approx((mean - half, mean + half))


def test_the_interval_of_the_balanced_error_holds_the_truth_in_95_of_100_cases() -> None:
    """Ten classes of 400 down to 20 images with error rates from 2 to 60 %, drawn 2,000 times."""
    generator = np.random.default_rng(0)
    counts, rates = np.geomspace(400, 20, 10).astype(int), np.linspace(0.02, 0.6, 10)
    found = [balanced_error(generator.binomial(counts, rates).tolist(), counts.tolist()) for _ in range(2000)]
    held = np.mean([low <= rates.mean() <= high for _, low, high in found])
    assert 0.94 < held < 0.98


def test_f1_counts_what_each_class_found_and_what_it_took() -> None:
    """Class 0: 2 of 2 found, 1 taken; class 1: 1 of 2 found; class 2: a tie with 0 is half an answer; 3 has no images."""
    probabilities = torch.tensor(
        [[0.7, 0.1, 0.1, 0.1], [0.6, 0.2, 0.1, 0.1], [0.1, 0.8, 0.1, 0], [0.5, 0.3, 0.1, 0.1], [0.4, 0.1, 0.4, 0.1]]
    )
    found = f1_scores(probabilities, torch.tensor([0, 0, 1, 1, 2]))
    assert found[:3].tolist() == pytest.approx([2 * 2 / (2 + 3.5), 2 * 1 / (2 + 1), 2 * 0.5 / (1 + 0.5)])
    assert found[3].isnan()
    broken = f1_scores(torch.tensor([[0.5, float("nan")], [0.1, 0.9]]), torch.tensor([0, 1]))
    assert broken.tolist() == [0, 1]


def test_many_images_are_counted_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (1000, 6), generator=generator).float()  # many ties
    scores[3, 2] = torch.nan
    labels = torch.randint(0, 6, (1000,), generator=generator)
    together = top_k_credit(scores, labels, 2), f1_scores(scores, labels)
    seen: list[int] = []

    def count(rows: torch.Tensor, own: torch.Tensor, k: int) -> torch.Tensor:
        seen.append(len(rows))
        return credit(rows, own, k)

    credit = metrics._credit_rows
    monkeypatch.setattr(metrics, "ROWS_AT_A_TIME", 64)
    monkeypatch.setattr(metrics, "_credit_rows", count)
    assert torch.equal(top_k_credit(scores, labels, 2), together[0])
    assert seen == [64] * 15 + [40]  # 1,000 images
    assert torch.allclose(f1_scores(scores, labels), together[1], rtol=1e-12)
