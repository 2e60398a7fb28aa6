"""Cutting work into parts and joining what becomes of them: one after the other here, without Ray."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import alexnet
from alexnet import kernels
from alexnet.cli import cli
from alexnet.cluster import nodes, parts
from alexnet.cluster.nodes import Place
from alexnet.cluster.parts import Stretch, ThisProcess, check_images, cut_into_stretches
from alexnet.data.prepare import prepare as preparing
from alexnet.errors import AddressError, AlexNetError, ConfigError, DistributionError, SourceError
from alexnet.functions import opening
from alexnet.network.model_file import save_model
from conftest import write_pictures
from exchange.miniature import CLASSES, everything, make_model
from retrieval.conftest import draw_picture


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def message_of(kind: type[AlexNetError], call: Any) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cluster is named: this process does the parts, which are small."""

    @contextmanager
    def join(address: str, **options: Any) -> Iterator[ThisProcess]:
        yield ThisProcess()

    monkeypatch.setattr(opening, "join_cluster", join)
    monkeypatch.setattr(preparing, "join_cluster", join)
    monkeypatch.setattr(parts, "PART_IMAGES", 4)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and eleven files, one of which is no picture."""
    root = tmp_path_factory.mktemp("scene")
    save_model(root / "model.safetensors", make_model(everything()))
    for number in range(10):
        folder = root / "pictures" / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        draw_picture(number).save(folder / f"{number:02d}.png")
    (root / "pictures" / "bee" / "04b.png").write_bytes(b"no picture")
    return root


def test_stretches_are_whole_batches_and_hold_every_image_once() -> None:
    assert cut_into_stretches(10, 2) == [Stretch(0, 4), Stretch(4, 8), Stretch(8, 10)]
    assert cut_into_stretches(10, 3) == [Stretch(0, 3), Stretch(3, 6), Stretch(6, 9), Stretch(9, 10)]
    assert cut_into_stretches(0, 3) == []
    assert Stretch(4, 9).batches(2) == [range(4, 6), range(6, 8), range(8, 9)]


def test_a_part_of_large_results_has_fewer_images_and_one_batch_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_IMAGES", 512)
    assert cut_into_stretches(600, 16, bytes_each=2**20)[0] == Stretch(0, 64)
    assert cut_into_stretches(600, 16, bytes_each=2**24)[0] == Stretch(0, 16)


def test_a_store_of_shares_is_that_of_one_machine(tmp_path: Path) -> None:
    write_pictures(tmp_path / "PHOTOS", per_class=13, classes=("ant", "bee"))
    (tmp_path / "PHOTOS" / "bee" / "no.png").write_bytes(b"no picture")
    options: Any = {"size": 16, "shard_rows": 2, "val_fraction": 0.2}
    told: list[tuple[int, int, int]] = []
    alexnet.prepare(tmp_path / "PHOTOS", tmp_path / "ALONE", **options)
    report = alexnet.prepare(
        tmp_path / "PHOTOS", tmp_path / "SHARED", cluster="local", progress=lambda *each: told.append(each), **options
    )
    assert contents(tmp_path / "SHARED") == contents(tmp_path / "ALONE")
    assert [path for path, _ in report.skipped] == ["bee/no.png"]
    assert told == [(8, 27, 0), (16, 27, 0), (23, 27, 0), (27, 27, 1)]


def test_too_many_bad_images_of_all_shares_stop_with_the_sentence_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(Path("PHOTOS"), per_class=6, classes=("ant", "bee"))
    for number in range(20):
        Path("PHOTOS", "bee", f"no{number:02d}.png").write_bytes(b"no picture")
    call: Any = lambda **how: alexnet.prepare("PHOTOS", "STORE", size=16, shard_rows=2, val_fraction=0.2, **how)  # noqa: E731
    said = message_of(SourceError, lambda: call(cluster="local"))
    shutil.rmtree("STORE.partial")
    assert said == message_of(SourceError, call)
    assert said.startswith(
        "PHOTOS: 11 of the first 20 images cannot be used, more than the share of 0.1 that --max-bad"
    )
    assert message_of(ConfigError, lambda: call(cluster="local", part=(1, 2))) == (
        "part and cluster are two ways of sharing the work. Give one of them."
    )


def test_a_test_in_parts_is_that_of_one_machine(scene: Path) -> None:
    with kernels.using("plain"):
        call: Any = lambda **how: alexnet.evaluate(scene / "model.safetensors", scene / "pictures", **how)  # noqa: E731
        alone, shared = call(), call(cluster="local")
    assert shared.to_json() == alone.to_json()
    assert len(shared.left_out) == 1
    np.testing.assert_array_equal(shared.trial.probabilities, alone.trial.probabilities)


def test_an_index_and_features_in_parts_are_those_of_one_machine(scene: Path, tmp_path: Path) -> None:
    with kernels.using("plain"):
        given = (scene / "model.safetensors", scene / "pictures")
        alone = alexnet.index(*given, tmp_path / "ALONE", batch_size=2)
        assert alexnet.index(*given, tmp_path / "SHARED", batch_size=2, cluster="local") == alone
        assert contents(tmp_path / "SHARED") == contents(tmp_path / "ALONE")
        assert alexnet.index(*given, tmp_path / "SHARED", batch_size=2, cluster="local").was_complete
        written = alexnet.features(*given, tmp_path / "alone.npz", batch_size=2)
        shared = alexnet.features(*given, tmp_path / "shared.npz", batch_size=2, cluster="local")
    assert shared._replace(path=written.path) == written
    assert (tmp_path / "shared.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()


def test_what_one_machine_alone_can_do_is_refused_on_several(scene: Path, tmp_path: Path) -> None:
    model, pictures = map(str, (scene / "model.safetensors", scene / "pictures"))
    for words, said in (
        (["evaluate", model, pictures, "--every", "1"], "--every decodes clips into a folder of one machine."),
        (["evaluate", model, pictures, "--devices", "cpu,cpu"], "--devices shares the work on this machine, --cluster"),
        (["features", model, pictures, "--to", "projector", "--out", str(tmp_path / "P")], "the projector's folder is"),
        (["prepare", pictures, "--every", "1", "--out", str(tmp_path / "S")], "Clips are prepared on one machine"),
    ):
        result = CliRunner().invoke(cli, [*words, "--cluster", "local"])
        assert said in str(result.exception if isinstance(result.exception, AlexNetError) else result.output), words


@pytest.mark.parametrize("verb", ["evaluate", "index", "features", "prepare"])
def test_a_node_without_the_photographs_is_refused_before_it_computes(
    verb: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their disk is not mounted there: all images that it got would be left out as some that cannot be read."""
    pictures = scene / "pictures"

    class Elsewhere(ThisProcess):
        def run(self, work: Any, parts: Any) -> Any:
            place = Place.here(work.reads)
            hidden = pictures.rename(scene / "hidden")
            try:
                place.enter()
            finally:
                hidden.rename(pictures)
            return super().run(work, parts)

    @contextmanager
    def join(address: str, **options: Any) -> Iterator[Elsewhere]:
        yield Elsewhere()

    monkeypatch.setattr(nodes, "SEES_SECONDS", 0.05)
    monkeypatch.setattr(opening, "join_cluster", join)
    monkeypatch.setattr(preparing, "join_cluster", join)
    given: dict[str, Any] = {
        "evaluate": lambda **how: alexnet.evaluate(scene / "model.safetensors", pictures, **how),
        "index": lambda **how: alexnet.index(scene / "model.safetensors", pictures, tmp_path / "INDEX", **how),
        "features": lambda **how: alexnet.features(scene / "model.safetensors", pictures, tmp_path / "f.npz", **how),
        "prepare": lambda **how: alexnet.prepare(pictures, tmp_path / "STORE", val_fraction=0.2, **how),
    }
    message = message_of(DistributionError, lambda: given[verb](cluster="host:1"))
    assert message.startswith(str(pictures))
    assert f": node {os.uname().nodename} does not see what" in message


def test_addresses_are_refused_where_other_machines_are_to_read_them(tmp_path: Path) -> None:
    """They are brought into a cache of the machine of the command."""
    store, how = "s3://bucket/store", {"cluster": "host:6379"}
    calls: list[Any] = [
        lambda: alexnet.evaluate("s3://bucket/run", "STORE", **how),
        lambda: alexnet.evaluate("RUN", store, **how),
        lambda: alexnet.features("s3://bucket/run", ["a.jpg"], "F.npz", **how),
        lambda: alexnet.features("RUN", ["a.jpg", "s3://bucket/b.jpg"], "F.npz", **how),
        lambda: alexnet.index("RUN", store, "INDEX", **how),
        lambda: alexnet.index("RUN", "STORE", "s3://bucket/index", **how),
        lambda: alexnet.prepare("s3://bucket/photos", "STORE", **how),
        lambda: alexnet.prepare(tmp_path, store, **how),
    ]
    for call in calls:
        message = message_of(AddressError, call)
        assert message.startswith("s3://bucket/")
        assert "works on a disk. Copy it there" in message


def test_other_images_are_noticed() -> None:
    check_images("PHOTOS", "a", "a")
    assert " lists other images there than the machine of the command." in message_of(
        DistributionError, lambda: check_images("PHOTOS", "a", "b")
    )


def test_a_node_that_sees_another_disk_or_has_another_version_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nodes, "SEES_SECONDS", 0.0)
    (tmp_path / "job.json").write_text("{}")
    here = Place.here([Path("job.json"), Path("absent.json")])
    here.enter()
    advice = (
        "All nodes of a cluster need the same files under the same paths: put them on a disk that all of them mount, and "
        "give the command in a folder of it."
    )
    other = replace(here, host="head")
    own = os.uname().nodename
    (tmp_path / "job.json").write_text("[]")
    assert message_of(DistributionError, other.enter) == (
        f"job.json: node {own} does not see what head sees there. {advice}"
    )
    assert message_of(DistributionError, replace(other, folder="/no/such").enter) == (
        f"/no/such: node {own} does not see what head sees there. {advice}"
    )
    assert message_of(DistributionError, replace(other, version="0.1").enter) == (
        f"node {own} has alexnet {nodes.__version__}, and head has 0.1. Install the same on all."
    )
