"""What `alexnet info` says of indexes, reproductions and stores that are not finished, and the command that goes on."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from description.test_pages import facts_of

from alexnet.cli import cli
from alexnet.data.prepare import run as prepare_run
from alexnet.description.describe import describe
from alexnet.errors import ConfigError, SearchError, StoreError
from alexnet.files.writing import lock_file
from alexnet.network.model_file import save_model
from alexnet.recipes.named import find_recipe
from alexnet.retrieval.index import writer as index_writer
from conftest import write_pictures
from exchange.miniature import everything, make_model


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def call(*words: object) -> None:
    CliRunner().invoke(cli, list(map(str, words)))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with pictures."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos" / "train", per_class=3, classes=("ant", "bee"))
    write_pictures(tmp_path / "photos" / "val", per_class=2, classes=("ant", "bee"))
    return tmp_path


def test_an_unfinished_store_says_how_far_it_is_and_how_it_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare_run.Run, "finish", interrupt)
        call("prepare", "photos", "--out", "store", "--size", 32, "--codec", "jpeg")
    partial = place / "store.partial"
    expected = {
        "what": "an unfinished store",
        "so far": "10 images in 2 finished parts",
        "images": "32 x 32 pixels",
        "source": "photos (folders)",
        "next": f"alexnet prepare {place}/photos --out {place}/store --codec jpeg --size 32",
    }
    found = facts_of(describe(str(partial)))
    assert {**found, "next": sorted(found["next"].split())} == {**expected, "next": sorted(expected["next"].split())}
    assert facts_of(describe(str(place / "store"))) == found  # also by the name that it will have
    page = describe("store.partial")
    assert page.values == {
        "kind": "unfinished store", "path": "store.partial", "images": 10, "parts": 2, "preparing": False,
    }  # fmt: skip
    lock = lock_file(partial / "lock")
    assert lock is not None
    with lock:
        facts = facts_of(describe(str(partial)))
        assert facts["what"] == "a store that is being prepared now"
        assert "next" not in facts
    (partial / "command.txt").unlink()
    assert facts_of(describe(str(partial)))["next"].startswith("the same prepare again")
    (partial / "job.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"is an unfinished store that is damaged \(it is nested too deeply\)\."):
        describe(str(partial))


def test_an_index_says_what_it_holds_and_an_unfinished_one_how_it_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(place / "model.safetensors", make_model(everything()))
    words = ("search", "index", "model.safetensors", "photos", "--dtype", "float16", "--out")
    with monkeypatch.context() as patch:
        commit = index_writer.commit
        patch.setattr(index_writer, "commit", lambda to, it: interrupt() if it["finished"] else commit(to, it))
        call(*words, "half")
        patch.setattr(index_writer, "_extend", interrupt)
        call(*words, "begun")
    facts = facts_of(describe("half"))
    assert facts["what"] == "an unfinished index: 10 images so far"
    assert sorted(facts["next"].split()) == sorted(
        f"alexnet search index {place}/model.safetensors {place}/photos --dtype float16 --out {place}/half".split()
    )
    facts = facts_of(describe("begun"))
    assert facts["what"] == "an unfinished index; nothing is saved yet"
    assert facts["next"].endswith("float16") or "--dtype float16" in facts["next"]
    call(*words, "half")
    page = describe("half", verify=True)
    facts = facts_of(page)
    assert facts["what"] == "an index of 10 images"
    assert facts["features"] == "8 of fc7.sigmoid, float16"
    assert facts["classes"] == "2: ant, bee"
    assert facts["codes"] == "none"
    assert facts["checked"] == "that every byte is as it was written"
    assert facts["next"] == "alexnet search query half picture.jpg | alexnet search info half"
    assert page.values["finished"] is True
    assert not (place / "half" / "command.txt").exists()
    next((place / "half").rglob("features.npy")).write_bytes(b"")
    with pytest.raises(SearchError, match="The index is damaged"):
        describe("half", verify=True)


def test_a_folder_of_reproductions_says_how_far_each_is_and_how_it_goes_on(place: Path) -> None:
    call("prepare", "photos", "--out", "store", "--size", 32)
    (place / "mine.yaml").write_text(find_recipe("cifar-80sec").to_yaml())
    call("reproduce", "crops", "--store", "store", "--out", "out", "--recipe", "mine.yaml", "--budget", 1e-9)
    for name in ("out", "out/crops"):
        facts = facts_of(describe(name))
        assert facts["what"] == "1 experiment of alexnet reproduce"
        assert facts["crops"].endswith(": 0 of 4 trainings done")
        assert facts["results"] == f"{name.removesuffix('/crops')}/crops/results.csv"
        assert facts["next"].startswith("alexnet reproduce crops --store ")
        assert f" --out {place}/out " in facts["next"]
        assert f" --recipe {place}/mine.yaml" in facts["next"]
    names = [path.stem for path in (place / "out" / "crops").glob("plan.json")]
    assert names == ["plan"]
    plan = describe("out").values["experiments"]
    assert plan == [{"experiment": "crops", "trainings": 4, "done": 0, "failed": 0}]
    shutil.copyfile(place / "mine.yaml", place / "out" / "crops" / "plan.json")
    with pytest.raises(ConfigError, match=r"plan\.json: is damaged\. Give the command of the experiment again\."):
        describe("out")
