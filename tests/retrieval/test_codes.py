"""Codes: what each method computes, that learned codes beat random ones, and their files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet.errors import ConfigError, WeightsError
from alexnet.evaluation.classifier import Classifier
from alexnet.retrieval.codes.comparison import compare_codes, share_room
from alexnet.retrieval.codes.encoding import load_codes, write_codes
from alexnet.retrieval.codes.fitting import METHODS, fit_encoder, principal_axes
from alexnet.retrieval.codes.hamming import find_nearest_codes
from alexnet.retrieval.exact import find_nearest
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.reader import open_index
from alexnet.retrieval.index.writer import add_images, make_index
from retrieval.conftest import LAYER, draw_picture, pictures


def clustered(count: int) -> torch.Tensor:
    """Rows of 128 dimensions around twenty centres, that vary less and less along forty directions."""
    generator = torch.Generator().manual_seed(0)
    centers = 2 * torch.randn(20, 40, generator=generator)
    latent = (centers[torch.arange(count) % 20] + torch.randn(count, 40, generator=generator)) * 0.9 ** torch.arange(40)
    return latent @ torch.linalg.qr(torch.randn(128, 40, generator=generator))[0].T


def test_principal_axes_are_those_of_the_decomposition() -> None:
    features = clustered(500)
    centered = features - features.mean(0)
    axes, deviations = principal_axes(centered, 8, seed=0)
    _, lengths, exact = torch.linalg.svd(centered, full_matrices=False)
    torch.testing.assert_close(deviations, lengths[:8] / 499**0.5, rtol=1e-3, atol=1e-4)
    assert (axes * exact[:8].T).sum(0).abs().min() > 0.99


def test_learned_codes_find_more_neighbours_than_random_ones() -> None:
    features = clustered(2200)
    database, queries = features[:2000], features[2000:]
    exact = find_nearest(database.numpy(), queries.numpy(), 6).rows
    recall = {}
    for method in METHODS:
        encoder = fit_encoder(database, 16, method)
        _, rows = find_nearest_codes(encoder.encode(database.numpy()), encoder.encode(queries.numpy()), 60)
        recall[method] = np.mean([np.isin(exact[q], rows[q]).mean() for q in range(len(queries))])
    assert recall["autoencoder"] > recall["random"] + 0.08
    assert recall["itq"] > recall["random"]


def test_the_same_seed_gives_the_same_codes() -> None:
    features = clustered(600)
    first, again = (fit_encoder(features, 16, "autoencoder", seed=3) for _ in range(2))
    assert torch.equal(first.weights[0], again.weights[0])


def test_more_bits_than_dimensions_are_refused() -> None:
    with pytest.raises(ConfigError) as problem:
        fit_encoder(clustered(500), 256, "itq")
    assert str(problem.value) == (
        "256 bits need as many images and dimensions, not 500 images of 128. Choose at most 128 bits, or --method "
        "random."
    )


def test_codes_are_kept_replaced_and_grow_with_the_index(
    scene: Path, classifier: Classifier, index_path: Path, tmp_path: Path
) -> None:
    index = open_index(index_path)
    with pytest.raises(ConfigError) as problem:
        load_codes(index, 16)
    assert str(problem.value) == (
        f"{index_path} has no codes of 16 bits. It has none. Make them: alexnet search codes {index_path} --bits 16"
    )
    features = torch.from_numpy(index.gather(index.rows()))
    for method in ("random", "itq"):
        write_codes(open_index(index_path), fit_encoder(features, 16, method))
    draw_picture(100).save(tmp_path / "new.png")
    add_images(index_path, classifier, choose_images([tmp_path / "new.png"]))
    index = open_index(index_path)
    index.verify()
    encoder, codes = load_codes(index, None)
    assert (encoder.method, codes.shape) == ("itq", (25, 2))
    assert np.array_equal(codes, encoder.encode(np.concatenate(index.features)))
    assert len(list(index_path.glob("codes-*"))) == 1
    (index_path / index.header["codes"]["16"]["encoder"]["file"]).write_bytes(
        b"x" * index.header["codes"]["16"]["encoder"]["bytes"]
    )
    with pytest.raises(WeightsError, match="is damaged or not a safetensors file"):
        load_codes(index, 16)


def test_a_comparison_holds_the_validation_split_out(scene: Path) -> None:
    result = compare_codes(open_index(scene / "index"), [16], ["random", "pixels"])
    assert (result.queries, result.database, result.held_out) == (8, 16, "images of split val")
    exact, random, pixels = result.results
    assert (exact.method, exact.bits, exact.recall) == ("exact", None, {6: 1.0})
    assert (random.method, random.bits, pixels.method) == ("random", 16, "pixels")
    assert 0 <= random.recall[6] <= 1
    assert set(random.precision) == {1, 6}


def test_the_picture_has_its_numbers(scene: Path) -> None:
    from alexnet.interpretation.evaluation_figures import draw_codes

    drawing = draw_codes(compare_codes(open_index(scene / "index"), [16], ["random"]))
    assert drawing.render("csv").decode().splitlines()[0] == "method,bits,recall_6,precision_1,precision_6"
    assert drawing.numbers["method"] == ["exact", "random"]
    assert drawing.render("svg").startswith(b"<?xml")


def test_equally_far_images_share_what_room_there_is() -> None:
    assert share_room(np.array([2, 0, 4, 3]), 3).tolist() == [1, 1, 0.25, 0]
    assert share_room(np.array([2, 0, 4, 3]), 2).tolist() == [1, 0, 0, 0]
    assert share_room(np.array([1, 1]), 5).tolist() == [1, 1]


def test_a_comparison_is_the_mean_over_every_way_to_draw_among_the_equally_far(scene: Path) -> None:
    index = open_index(scene / "index")
    _, found = compare_codes(index, [16], ["random"]).results
    rows = index.rows()[index.order_rows(index.rows())]
    is_query = np.array([index.entry(int(row)).split == "val" for row in rows])
    queries, database = rows[is_query], rows[~is_query]
    encoder = fit_encoder(torch.from_numpy(index.gather(database)), 16, "random", seed=0)
    codes, own = encoder.encode(index.gather(database)), encoder.encode(index.gather(queries))
    truth = find_nearest(index.gather(database), index.gather(queries), 6).rows
    recalls, precisions, generator = [], [], np.random.default_rng(0)
    for _ in range(3000):
        order = generator.permutation(len(database))
        _, places = find_nearest_codes(codes[order], own, 6)
        nearest = order[places]
        recalls.append(np.mean([np.isin(truth[q], nearest[q]).mean() for q in range(len(queries))]))
        precisions.append((index.labels[database[nearest]] == index.labels[queries, None]).mean())
    assert found.recall[6] == pytest.approx(np.mean(recalls), abs=0.003)
    assert found.precision[6] == pytest.approx(np.mean(precisions), abs=0.003)


def test_a_comparison_does_not_depend_on_the_order_of_the_images(
    scene: Path, classifier: Classifier, tmp_path: Path
) -> None:
    make_index(classifier, choose_images(pictures(scene)[::-1]), tmp_path / "a", layer=LAYER, batch_size=24)
    make_index(classifier, choose_images(pictures(scene)), tmp_path / "b", layer=LAYER, batch_size=24)
    first, second = (compare_codes(open_index(tmp_path / name), [16], ["random", "pca"]) for name in "ab")
    for one, other in zip(first.results, second.results, strict=True):
        assert one.recall == pytest.approx(other.recall)
        assert one.precision == pytest.approx(other.precision)


def test_axes_beyond_the_rank_are_zero() -> None:
    """16 images of 16 dimensions, of which 3 never vary: after the mean, rank 13."""
    features = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    features[:, :3] = 0
    axes, deviations = principal_axes(features - features.mean(0), 16, seed=0)
    assert axes.square().sum(0).tolist() == pytest.approx([1.0] * 13 + [0.0] * 3, abs=1e-5)
    assert (deviations[:13] > 0.01).all()
    assert deviations[13:].tolist() == [0, 0, 0]
