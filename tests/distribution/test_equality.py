"""Several processes compute what one computes: logits, gradients, losses, errors and weights."""

import math
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distribution.crew import GONE, run_crew
from distribution.work import differentiate_part, differentiate_whole, small, train_shared

import alexnet
from alexnet import kernels
from alexnet.data.prepare.prepare import prepare
from alexnet.distribution.cost import count_step
from alexnet.distribution.mesh import parse_mesh
from alexnet.errors import Interrupted
from alexnet.files.tensors import read_tensors
from alexnet.network import dialects
from alexnet.network.dialects import find_dialect
from alexnet.recipes.named import Recipe, find_recipe
from alexnet.runs import train as runs
from conftest import Listener, write_pictures

OPTIONS = ["batches.size=10", "batches.divisor=60", "network.initialization=he", "network.dialect=small",
           "optimization.learning_rate=0.02", "optimization.schedule=constant"]  # fmt: skip


def recipe(*more: str, epochs: int = 3) -> Recipe:
    return find_recipe("paper", [*OPTIONS, f"optimization.total_epochs={epochs}", *more])


@pytest.fixture(autouse=True)
def small_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.DIALECTS, "small", small)


@pytest.fixture(autouse=True)
def plain_kernels() -> Iterator[None]:
    """As in the processes of a crew, which would take seconds each to load the compiled ones."""
    with kernels.using("plain"):
        yield


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """27 + 10 images: neither divides among 2 or 4 processes, nor into batches of 10."""
    root = tmp_path_factory.mktemp("shared")
    for split, count in (("train", 9), ("val", 4)):
        write_pictures(root / "pictures" / split, per_class=count, classes=("ant", "bee", "cat"), seed=count)
    for extra in ("ant-0.png", "bee-1.png"):
        (root / "pictures" / "val" / extra[:3] / extra).unlink()
    prepare(root / "pictures", root / "store")
    return root / "store"


def alone(store_path: Path, out: Path, chosen: Recipe, **options: Any) -> tuple[list[float], list[dict[str, Any]]]:
    listener = Listener()
    outcome = runs.train(
        alexnet.open_store(store_path), chosen, out, listener=listener, threads=1, precision="float32", **options
    )
    return listener.losses, outcome.history


@pytest.fixture(scope="module")
def trained_alone(
    store_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[float], list[dict[str, Any]], Path]:
    """Losses, history and run folder of 17 epochs in one process, that every mesh is compared with."""
    out = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch, kernels.using("plain"):
        patch.setitem(dialects.DIALECTS, "small", small)
        return *alone(store_path, out, recipe(epochs=17)), out


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("mesh", "processes", "tower"),
    [
        ("tower=2", 2, 2),
        ("data=2,dense=2", 2, 1),
        ("data=2,tower=2,dense=4", 4, 2),
        pytest.param("data=3", 3, 1, marks=pytest.mark.slow),
        pytest.param("data=2,tower=2", 4, 2, marks=pytest.mark.slow),
        pytest.param("data=4,dense=4", 4, 1, marks=pytest.mark.slow),
    ],
)
def test_logits_and_gradients_are_those_of_the_whole_network(mesh: str, processes: int, tower: int) -> None:
    images = 7
    whole = differentiate_whole("small", 5, images)
    shape, spec = parse_mesh(mesh, processes), find_dialect("small", 5)
    parts = run_crew(processes, differentiate_part, mesh, "small", 5, images)
    logits = np.concatenate([part["logits"] for part in parts[::tower]])[:images]
    np.testing.assert_allclose(logits, whole["logits"], atol=3e-6 * whole["logits"].abs().max())
    for name, gradient in whole["gradients"].items():
        found = parts[0]["gradients"][name]
        assert found.shape == gradient.shape
        np.testing.assert_allclose(found, gradient, atol=3e-6 * float(gradient.abs().max()), err_msg=name)
    for rank, part in enumerate(parts):
        assert part["sent"] == count_step(shape, spec, images, tower=rank % tower)


@pytest.mark.parametrize(
    ("mesh", "processes"),
    [
        ("data=2,tower=2", 4),
        pytest.param("data=2", 2, marks=pytest.mark.slow),
        pytest.param("tower=2", 2, marks=pytest.mark.slow),
        pytest.param("data=3", 3, marks=pytest.mark.slow),
        pytest.param("data=4", 4, marks=pytest.mark.slow),
        pytest.param("data=4,dense=4", 4, marks=pytest.mark.slow),
    ],
)
def test_training_is_the_same_for_any_mesh(
    store_path: Path,
    trained_alone: tuple[list[float], list[dict[str, Any]], Path],
    tmp_path: Path,
    mesh: str,
    processes: int,
) -> None:
    """51 updates of batches of 10, 10 and 7 images, with crops, colour noise and dropout."""
    chosen = recipe(epochs=17)
    losses, history, one = trained_alone
    results = run_crew(
        processes, partial(train_shared, local_batch=4), str(store_path), chosen, str(tmp_path / "n"), mesh
    )
    assert len(losses) == 51
    assert max(losses) - min(losses) > 0.05
    for result in results:
        assert result["error"] is None
        np.testing.assert_allclose(result["losses"], losses, atol=1e-5)
    for row, expected in zip(results[0]["history"], history, strict=True):
        assert row["train_top1_error"] == expected["train_top1_error"]
        assert row["val_top1_error"] == expected["val_top1_error"]
        assert math.isclose(row["val_loss"], expected["val_loss"], abs_tol=1e-5)
    whole, merged = weights_of(one), weights_of(tmp_path / "n")
    assert set(whole) == set(merged)
    for name, weight in whole.items():
        assert torch.allclose(merged[name], weight, atol=1e-5), name


def test_averages_and_mixtures_are_the_same_where_towers_and_dense_layers_are_shared(
    store_path: Path, tmp_path: Path
) -> None:
    """Begun by 2 x 2 processes, stopped, and finished by one."""
    mixed = ("batches.mixup=0.4", "batches.cutmix=1", "batches.erasing=0.3")
    chosen = recipe("optimization.average_epochs=0.5", "optimization.learning_rate=0.01", *mixed, epochs=8)
    alone(store_path, tmp_path / "one", chosen)
    arguments = str(store_path), chosen, str(tmp_path / "n"), "data=2,tower=2,dense=4"
    begun = run_crew(4, partial(train_shared, fault=("stopped", 2, 16)), *arguments)
    assert [result["error"][0] for result in begun] == ["Interrupted"] * 4
    alone(store_path, tmp_path / "n", chosen)
    whole, merged = weights_of(tmp_path / "one"), weights_of(tmp_path / "n")
    for name, weight in whole.items():
        assert torch.allclose(merged[name], weight, atol=1e-6), name


def test_a_batch_in_parts_gives_the_update_of_the_whole(store_path: Path, tmp_path: Path) -> None:
    losses, _ = alone(store_path, tmp_path / "whole", recipe())
    in_parts, _ = alone(store_path, tmp_path / "parts", recipe(), local_batch=3)
    np.testing.assert_allclose(in_parts, losses, atol=1e-6)


def test_a_checkpoint_of_any_mesh_continues_on_any_other(store_path: Path, tmp_path: Path) -> None:
    """Interrupted on 2 x 2, continued by one process, interrupted, and finished by four shares of each batch."""
    chosen = recipe(epochs=5)
    losses, _ = alone(store_path, tmp_path / "one", chosen)
    arguments = str(store_path), chosen, str(tmp_path / "out")
    begun = run_crew(4, partial(train_shared, fault=("stopped", 2, 4)), *arguments, "data=2,tower=2")
    assert [result["error"][0] for result in begun] == ["Interrupted"] * 4
    stopping = Listener()
    stopping.on_batch = lambda progress: os.kill(os.getpid(), signal.SIGTERM) if len(stopping.losses) == 4 else None
    with pytest.raises(Interrupted):
        runs.train(
            alexnet.open_store(store_path), chosen, tmp_path / "out", listener=stopping, threads=1, precision="float32"
        )
    assert stopping.notices[0] == (
        "This run began with the mesh data=2,tower=2 and continues with the mesh data=1,tower=1: results will agree, "
        "but not to the last bit."
    )
    finished = run_crew(4, train_shared, *arguments, "data=4")
    together = [*begun[0]["losses"], *stopping.losses, *finished[0]["losses"]]
    np.testing.assert_allclose(together, losses, atol=1e-5)


def test_after_a_killed_rank_the_same_command_ends_as_if_nothing_had_happened(store_path: Path, tmp_path: Path) -> None:
    chosen, mesh = recipe(epochs=3), "tower=2"
    train = partial(train_shared, checkpoint_minutes=1e-9)
    undisturbed = run_crew(2, train, str(store_path), chosen, str(tmp_path / "undisturbed"), mesh)
    arguments = str(store_path), chosen, str(tmp_path / "disturbed"), mesh
    survivor, killed = run_crew(2, partial(train, fault=("killed", 1, 4)), *arguments)
    assert killed == GONE
    assert survivor["error"] == (
        "DistributionError",
        "rank 1 of 2 is gone, or has not answered for 60 s. The same command continues from the last checkpoint.",
        False,
    )
    continued = run_crew(2, train, *arguments)
    assert continued[0]["losses"] == undisturbed[0]["losses"][-len(continued[0]["losses"]) :]
    for name, weight in weights_of(tmp_path / "undisturbed").items():
        assert torch.equal(weights_of(tmp_path / "disturbed")[name], weight), name


@pytest.mark.slow
def test_a_rank_that_hangs_is_named_when_its_time_is_over(store_path: Path, tmp_path: Path) -> None:
    train = partial(train_shared, fault=("hanging", 0, 2), timeout_seconds=3)
    hanging, other, third = run_crew(3, train, str(store_path), recipe(), str(tmp_path / "out"), "data=3")
    assert hanging == GONE
    message = "rank 0 of 3 is gone, or has not answered for 3 s. The same command continues from the last checkpoint."
    assert other["error"] == ("DistributionError", message, False)
    assert third["error"] == ("DistributionError", message, True)
