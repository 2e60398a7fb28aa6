"""alexnet search as a user meets it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alexnet.cli import cli
from alexnet.errors import AlexNetError, ConfigError
from alexnet.retrieval.codes.autoencoder import METHODS
from alexnet.retrieval.codes.hamming import BITS
from alexnet.verbs import search_codes
from retrieval.conftest import LAYER, draw_picture, pictures


def run(*arguments: object, ok: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["search", *map(str, arguments)], catch_exceptions=True)
    assert done.exit_code == ok, (done.output, done.exception)
    return done


def refused(*arguments: object) -> AlexNetError:
    done = CliRunner().invoke(cli, ["search", *map(str, arguments)])
    assert isinstance(done.exception, AlexNetError), (done.output, done.exception)
    return done.exception


def ask(*arguments: object, ok: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", "--threads", 1, ok=ok).stdout)


def test_an_indexed_image_is_its_own_nearest_at_distance_0(index_path: Path, scene: Path) -> None:
    for path in pictures(scene)[:3]:
        (query,) = ask("query", index_path, path, "--k", 4)["queries"]
        assert query["neighbours"][0]["path"] == str(path)
        assert query["neighbours"][0]["distance"] == 0
        assert query["neighbours"][1]["distance"] > 0
        assert len(query["neighbours"]) == 4


def test_without_k_a_small_index_lists_all_that_it_holds(scene: Path, tmp_path: Path) -> None:
    few = pictures(scene)[:3]
    run(
        "index",
        scene / "model.safetensors",
        *few,
        "--out",
        tmp_path / "few",
        "--layer",
        LAYER,
        "--precision",
        "float32",
    )
    (query,) = ask("query", tmp_path / "few", few[0])["queries"]
    assert len(query["neighbours"]) == 3
    assert "k is 6, with 3 images" in str(refused("query", tmp_path / "few", few[0], "--k", 6))


def test_verifying_says_what_was_compared(index_path: Path) -> None:
    assert "Every byte of it is as it was written." in run("info", index_path, "--verify").output
    assert "Every image is as it was indexed." in run("info", index_path, "--check").output


def test_one_command_after_the_other(scene: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    made = ask(
        "index",
        scene / "model.safetensors",
        scene / "pictures",
        "--out",
        index,
        "--layer",
        "fc6.relu",
        "--precision",
        "float32",
    )
    assert (made["images"], made["added"]) == (24, 24)
    draw_picture(77).save(tmp_path / "new.png")
    added = ask("add", index, tmp_path / "new.png")
    assert (added["images"], added["added"]) == (25, 1)
    learned = ask("codes", index, "--bits", 16)
    assert (learned["bits"], learned["bytes"], learned["method"]) == (16, 50, "autoencoder")
    exact = ask("query", index, tmp_path / "new.png")["queries"][0]["neighbours"]
    again = ask("query", index, tmp_path / "new.png", "--bits", 16)["queries"][0]["neighbours"]
    assert again == exact  # 500 ranked again are all
    text = run("query", index, tmp_path / "new.png", "--html", tmp_path / "page.html", "--threads", 1).stdout
    assert text.splitlines()[1].split() == ["1", "0", str(tmp_path / "new.png")]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 7
    (tmp_path / "new.png").unlink()
    assert "(is gone)" in run("query", index, pictures(scene)[0], "--k", 25, "--threads", 1).stdout
    told = json.loads(run("info", index, "--check", "--verify", "--json", ok=1).stdout)
    assert told["problems"] == [f"{tmp_path / 'new.png'} is gone"]
    assert json.loads(run("remove", index, "--missing", "--json").stdout) == {
        "index": str(index),
        "removed": 1,
        "images": 24,
    }
    assert json.loads(run("remove", index, scene / "pictures" / "val", "--id", 0, "--json").stdout)["images"] == 15
    assert len(run("info", index, "--images").stdout.splitlines()) == 15
    assert "unfinished" not in run("info", index).stdout


def test_an_index_given_again_says_that_it_is_finished(scene: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    command = ["index", scene / "model.safetensors", *pictures(scene)[:2], "--out", index, "--layer", LAYER]
    run(*command, "--threads", 1)
    assert run(*command, "--threads", 1).stdout == (
        f"{index} is already complete, made from these images with these options; nothing was written. Search it: "
        f"alexnet search query {index} picture.jpg\n"
    )
    assert ask(*command)["was_complete"] is True
    assert f"is a finished index of other images: it lacks {pictures(scene)[2]}. " in str(
        refused(*command, pictures(scene)[2], "--threads", 1)
    )


def test_people_are_shown_readable_names_and_programs_both(index_path: Path, scene: Path, tmp_path: Path) -> None:
    from alexnet.retrieval.index.format import write_header
    from alexnet.retrieval.index.reader import open_index

    (name,) = {path.parent.name for path in pictures(scene)[:1]}
    write_header(index_path, {**open_index(index_path).header, "class_titles": {name: "a readable name"}})
    asked = ["query", index_path, pictures(scene)[0], "--k", 1]
    html = tmp_path / "page.html"
    text = run(*asked, "--threads", 1, "--html", html).stdout
    assert text.splitlines()[1] == f"   1          0  a readable name  {pictures(scene)[0]}"
    assert "0 · a readable name · " in html.read_text(encoding="utf-8")
    (hit,) = ask(*asked)["queries"][0]["neighbours"]
    assert (hit["class"], hit["title"]) == (name, "a readable name")
    first = run("info", index_path, "--images").stdout.splitlines()[0]
    assert first == f"0\ttrain\ta readable name\t{pictures(scene)[0]}"


def test_duplicates_are_listed_and_drawn(index_path: Path, scene: Path, tmp_path: Path) -> None:
    draw_picture(1).save(tmp_path / "copy.png")
    run("add", index_path, tmp_path / "copy.png", "--threads", 1)
    found = ask("duplicates", index_path, "--threshold", 0.1)
    assert [[Path(image["path"]).name for image in group["images"]] for group in found["groups"]] == [
        ["01.png", "copy.png"]
    ]
    text = run("duplicates", index_path, "--threshold", 0.1, "--html", tmp_path / "page.html", "--threads", 1).stdout
    assert text.startswith("1 group of near-identical images among 25, 1 of them across splits.")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("data:image/jpeg") == 2


def test_codes_are_compared(index_path: Path, tmp_path: Path) -> None:
    text = run("compare", index_path, "--bits", "16", "--out", tmp_path / "codes", "--threads", 1).stdout
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["exact", "autoencoder", "random", "pca", "itq"]
    assert sorted(path.name for path in tmp_path.glob("codes.*")) == ["codes.csv", "codes.png", "codes.svg"]


def test_faiss_finds_the_same(index_path: Path, scene: Path) -> None:
    pytest.importorskip("faiss")
    exact = ask("query", index_path, pictures(scene)[4])
    for _ in range(2):  # made, then read
        assert ask("query", index_path, pictures(scene)[4], "--backend", "faiss", "--faiss", "HNSW8,Flat") == exact
    error = refused("query", index_path, pictures(scene)[4], "--backend", "faiss", "--faiss", "nonsense")
    assert isinstance(error, ConfigError)
    assert str(error).startswith("--faiss nonsense: faiss does not accept it for 24 images of 16 features")


def test_what_cannot_be_read_is_left_out_with_exit_code_1(index_path: Path, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    answer = ask("query", index_path, tmp_path / "bad.jpg", pictures(scene)[0], ok=1)
    assert len(answer["queries"]) == 1
    assert answer["left_out"][0].startswith(f"{tmp_path / 'bad.jpg'}: is not an image of a known format")


def test_a_k_beyond_the_collection_is_refused(index_path: Path, scene: Path) -> None:
    error = refused("query", index_path, pictures(scene)[0], "--k", 25, "--threads", 1)
    assert (error.exit_code, str(error)) == (2, "k is 25, with 24 images to find. Accepted is 1 to 24.")


def test_a_model_that_moved_is_asked_for(scene: Path, index_path: Path) -> None:
    from alexnet.retrieval.index.format import write_header
    from alexnet.retrieval.index.reader import open_index

    header = open_index(index_path).header
    write_header(index_path, {**header, "model": {**header["model"], "path": "/nowhere/model.safetensors"}})
    error = refused("query", index_path, pictures(scene)[0])
    assert str(error) == (
        f"{index_path} was made with /nowhere/model.safetensors, which is not there. Say where it is: --model MODEL"
    )
    ask("query", index_path, pictures(scene)[0], "--model", scene / "model.safetensors")
    assert "was made with weights" in str(
        refused("query", index_path, pictures(scene)[0], "--model", scene / "other.safetensors")
    )


def test_an_unknown_image_or_id_is_not_removed(index_path: Path, tmp_path: Path) -> None:
    error = refused("remove", index_path, tmp_path / "x.png")
    assert (
        str(error)
        == f"{tmp_path / 'x.png'}: {index_path} holds no image of this path, or none any more. What it holds: alexnet search info {index_path} --images"
    )
    assert str(refused("remove", index_path, "--id", 99)) == f"--id 99: {index_path} has no image of this id."
    assert "Name images, or give --id or --missing." in run("remove", index_path, ok=2).output


def test_a_folder_that_is_removed_twice_is_not_there_any_more(index_path: Path, scene: Path) -> None:
    folder = scene / "pictures" / "val"
    assert run("remove", index_path, folder).stdout == f"{index_path}: 8 images removed, 16 left.\n"
    assert str(refused("remove", index_path, folder)) == (
        f"{folder}: {index_path} holds no image of this folder, or none any more. What it holds: alexnet search info "
        f"{index_path} --images"
    )


def test_the_names_in_the_help_are_those_of_the_code() -> None:
    assert search_codes.METHODS == METHODS
    assert tuple(map(int, search_codes.BITS)) == BITS
