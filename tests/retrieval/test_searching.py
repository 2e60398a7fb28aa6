"""alexnet search as a user meets it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alexnet.cli import cli
from alexnet.errors import AlexNetError, ConfigError
from alexnet.retrieval.codes.fitting import METHODS
from alexnet.retrieval.codes.hamming import BITS
from alexnet.text.names import escape_name, unescape_name
from alexnet.verbs import search_codes
from conftest import write_oddly_named
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


def test_of_many_copies_only_the_first_are_named(
    index_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.verbs.search_output.PICTURED_IMAGES", 2)
    monkeypatch.setattr("alexnet.verbs.search_codes.SHOWN_IMAGES", 3)
    for number in range(4):
        draw_picture(1).save(tmp_path / f"copy-{number}.png")
    run("add", index_path, tmp_path, "--threads", 1)
    page = tmp_path / "page.html"
    text = run("duplicates", index_path, "--threshold", 0.1, "--html", page, "--threads", 1).stdout
    assert text.splitlines()[-1] == "  … and 2 more"
    assert text.count(".png") == 3
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 2
    assert "the first 2 of 5" in page.read_text(encoding="utf-8")
    exact = ask("duplicates", index_path, "--threshold", 0.1, "--exact")
    assert [len(group["images"]) for group in exact["groups"]] == [5]


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


@pytest.mark.parametrize("way", [(), ("--bits", "16", "--rerank", "7")])
def test_equally_near_images_stand_in_the_order_of_their_paths(
    scene: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for number in range(30):
        shutil.copy(pictures(scene)[0], copies / f"{number:02d}.png")
    files = sorted(copies.iterdir())
    command = ["index", scene / "model.safetensors", "--layer", LAYER, "--precision", "float32"]
    for name, given in (("a", files), ("b", [*files[15:], *files[:15]])):
        run(*command, *given, *pictures(scene)[1:3], "--out", tmp_path / name, "--threads", 1)
        if way:
            run("codes", tmp_path / name, "--bits", 16, "--method", "random", "--threads", 1)
        (query,) = ask("query", tmp_path / name, pictures(scene)[0], "--k", 7, *way)["queries"]
        assert [hit["path"] for hit in query["neighbours"]] == [str(file) for file in files[:7]]


def test_an_indexed_query_gives_up_its_place_if_asked(index_path: Path, scene: Path) -> None:
    path = pictures(scene)[0]
    (own,) = ask("query", index_path, path)["queries"]
    (others,) = ask("query", index_path, path, "--exclude-self")["queries"]
    assert own["neighbours"][0]["path"] == str(path)
    assert others["neighbours"][:5] == own["neighbours"][1:]
    assert len(others["neighbours"]) == 6
    assert (own["class"], others["class"]) == (path.parent.name, path.parent.name)
    (all_others,) = ask("query", index_path, path, "--exclude-self", "--k", 24)["queries"]
    assert len(all_others["neighbours"]) == 23


def test_a_page_marks_neighbours_of_another_class(index_path: Path, scene: Path, tmp_path: Path) -> None:
    path, page = pictures(scene)[0], tmp_path / "page.html"
    (query,) = ask("query", index_path, path, "--html", page)["queries"]
    others = sum(hit["class"] != path.parent.name for hit in query["neighbours"])
    text = page.read_text(encoding="utf-8")
    assert 0 < others < 6
    assert text.count('<figure class="differs">') == others
    assert "Red: of another class than the query." in text
    assert f"query · {path.parent.name}" in text
    draw_picture(500).save(tmp_path / "unknown.png")
    ask("query", index_path, tmp_path / "unknown.png", "--html", page)
    assert "differs>" not in page.read_text(encoding="utf-8")


def test_any_name_of_a_file_is_indexed_found_and_removed(scene: Path, tmp_path: Path) -> None:
    files, index = write_oddly_named(tmp_path / os.fsdecode(b"odd\xfe")), tmp_path / "index"
    run("index", scene / "model.safetensors", files[0].parent, "--out", index, "--layer", LAYER, "--threads", 1)
    lines = run("info", index, "--images").stdout.splitlines()
    assert [unescape_name(line.split("\t")[3]) for line in lines] == [str(file) for file in files]
    assert "\x1b" not in "".join(lines)
    text = "".join(path.read_text(encoding="ascii") for path in index.rglob("images.jsonl"))
    assert [unescape_name(json.loads(line)["path"]) for line in text.splitlines()] == [str(file) for file in files]
    answer = ask("query", index, *files, "--k", 1, "--html", tmp_path / "page.html")
    for file, query in zip(files, answer["queries"], strict=True):
        assert unescape_name(query["neighbours"][0]["path"]) == str(file) == unescape_name(query["query"])
        assert query["neighbours"][0]["problem"] is None
    assert run("query", index, files[0], "--threads", 1).stdout.splitlines()[0] == escape_name(str(files[0]))
    assert "\x1b" not in (tmp_path / "page.html").read_text(encoding="utf-8")
    run("remove", index, files[0])
    assert len(run("info", index, "--images").stdout.splitlines()) == len(files) - 1


def test_a_full_disk_is_an_error_that_names_the_index_and_leaves_it_as_it_was(
    scene: Path, index_path: Path, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    for number in range(40):
        draw_picture(number + 100).save(tmp_path / f"{number}.png")
    before = {path: path.read_bytes() for path in index_path.rglob("*") if path.is_file()}
    full_disk(2000)
    done = CliRunner().invoke(
        cli, ["search", "add", str(index_path), *map(str, tmp_path.glob("*.png")), "--threads", "1"]
    )
    full_disk(10**9)
    assert isinstance(done.exception, OSError)
    assert str(done.exception.filename).startswith(str(index_path))
    assert {path: path.read_bytes() for path in index_path.rglob("*") if path.is_file()} == before
