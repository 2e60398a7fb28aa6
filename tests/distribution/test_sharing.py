"""Testing and indexing that several processes share: what one process finds, to the last bit; rank 0 writes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distribution.crew import run_crew
from distribution.work import find_out_in_twos

from alexnet import kernels
from alexnet.evaluation import evaluate
from alexnet.network.model_file import save_model
from exchange.miniature import CLASSES, everything, make_model
from retrieval.conftest import draw_picture


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and eleven files, one of which is no picture and one of which is another one again."""
    root = tmp_path_factory.mktemp("sharing")
    save_model(root / "model.safetensors", make_model(everything()))
    for number in range(10):
        folder = root / "pictures" / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        draw_picture(number).save(folder / f"{number:02d}.png")
    (root / "pictures" / "bee" / "04b.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def alone(scene: Path) -> dict[str, Any]:
    with kernels.using("plain"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "VIEWS_AT_A_TIME", evaluate.VIEWS_AT_A_TIME)  # which the function changes
        return find_out_in_twos(str(scene), str(scene / "alone"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_one_process_counts_every_picture_once(alone: dict[str, Any]) -> None:
    assert alone["numbers"].tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert len(alone["probabilities"]) == alone["validation"].images == alone["report"].images == 10
    assert len(alone["json"]["left_out"]) == len(alone["report"].left_out) == 1


@pytest.mark.parametrize("processes", [3, 4])
def test_ten_pictures_give_the_same_numbers_on_any_number_of_processes(
    scene: Path, alone: dict[str, Any], processes: int
) -> None:
    """Five batches of two, of which some processes have one more."""
    out = scene / f"on{processes}"
    results = run_crew(processes, find_out_in_twos, str(scene), str(out))
    for rank, result in enumerate(results):
        assert result["json"] == alone["json"], rank
        np.testing.assert_array_equal(result["probabilities"], alone["probabilities"])
        np.testing.assert_array_equal(result["numbers"], alone["numbers"])
        assert result["report"] == alone["report"]
        found, expected = result["validation"], alone["validation"]
        assert found.images == 10
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
        assert (found.top1_error, found.topk_error) == (expected.top1_error, expected.topk_error)
        assert bool(result["written"]) == (rank == 0)
    assert contents(out) == contents(scene / "alone")
    assert (scene / f"on{processes}.csv").read_bytes() == (scene / "alone.csv").read_bytes()
    shutil.rmtree(out)
