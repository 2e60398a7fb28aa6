"""An index of an ensemble: features side by side, distances averaged by weight, one file that names the members."""

from pathlib import Path

import numpy as np
import pytest

from alexnet.errors import ConfigError, SearchError
from alexnet.evaluation.ensemble import Ensemble, load_ensemble, save_ensemble
from alexnet.retrieval.index.features import Extractor
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.reader import open_index
from alexnet.retrieval.index.writer import add_images, make_index
from alexnet.retrieval.querying import answer, read_queries
from retrieval.conftest import LAYER, draw_picture, open_model, pictures


@pytest.fixture
def ensemble(scene: Path, tmp_path: Path) -> Ensemble:
    members = [open_model(scene), open_model(scene, "other.safetensors")]
    save_ensemble(tmp_path / "two.json", Ensemble(members, [0.75, 0.25]))
    return load_ensemble(tmp_path / "two.json", device="cpu", precision="float32")


def test_squared_distances_are_those_of_the_members_averaged_by_weight(ensemble: Ensemble) -> None:
    images = [np.asarray(draw_picture(seed).resize((image_px(ensemble),) * 2)) for seed in (1, 2)]
    values = Extractor(ensemble).compute(images, LAYER)
    assert values.shape == (2, 32)
    each = [Extractor(member).compute(images, LAYER) for member in ensemble.members]
    expected = sum(w * np.square(v[0] - v[1]).sum() for w, v in zip(ensemble.weights, each, strict=True))
    assert np.square(values[0] - values[1]).sum() == pytest.approx(expected, rel=1e-5)


def test_an_index_of_an_ensemble_answers_and_grows(ensemble: Ensemble, scene: Path, tmp_path: Path) -> None:
    make_index(ensemble, choose_images([scene / "pictures" / "val"]), tmp_path / "index", layer=LAYER)
    index = open_index(tmp_path / "index")
    assert index.dimensions == 32
    assert index.header["model"]["path"] == str(tmp_path / "two.json")
    assert len(index.header["preprocessing"]["members"]) == 2
    asked = [path for path in pictures(scene) if "val" in path.parts][:1]
    (found,) = answer(index, read_queries(index, ensemble, asked), 3)
    assert found.hits[0].distance == 0
    assert found.hits[0].entry.path == str(asked[0])
    assert add_images(tmp_path / "index", ensemble, choose_images([scene / "pictures"])).added == 16


def test_an_index_of_an_ensemble_is_not_asked_by_a_member(ensemble: Ensemble, scene: Path, tmp_path: Path) -> None:
    make_index(ensemble, choose_images([scene / "pictures" / "val"]), tmp_path / "index", layer=LAYER)
    with pytest.raises(SearchError, match=r"two\.json\), or index the images with this one"):
        read_queries(open_index(tmp_path / "index"), open_model(scene), pictures(scene)[:1])


def test_members_without_weight_are_left_out_and_an_unsaved_ensemble_is_refused(scene: Path, tmp_path: Path) -> None:
    members = [open_model(scene), open_model(scene, "other.safetensors")]
    with pytest.raises(SearchError, match=r"no file that an index could name"):
        Extractor(Ensemble(members))
    save_ensemble(tmp_path / "one.json", Ensemble(members, [1, 0]))
    extractor = Extractor(load_ensemble(tmp_path / "one.json", device="cpu", precision="float32"))
    assert extractor.describe(LAYER)[0] == (16,)
    with pytest.raises(ConfigError, match="fc99"):
        extractor.describe("fc99")


def image_px(ensemble: Ensemble) -> int:
    return ensemble.image_px
