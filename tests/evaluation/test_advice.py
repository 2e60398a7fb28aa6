"""What `alexnet evaluate` says where its arguments do not fit, or its figures could be taken for others."""

import shutil
from pathlib import Path

from alexnet.data.prepare.prepare import prepare
from alexnet.data.store.reader import open_store

from .test_ensemble import call, write_model

TWO_CLASSES = "With two classes there is no top-k error to speak of"


def say(*arguments: object) -> tuple[int, str]:
    """The exit code and the words, whatever the width of the terminal."""
    code, output = call(*arguments)
    return code, " ".join(output.split())


def test_two_classes_are_spoken_of_where_there_are_two(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    code, said = say(models[0], small_store_path, "--views", 1, "--top", 1)
    assert code == 0, said
    assert TWO_CLASSES not in said
    for name in ("ant", "bee"):
        shutil.copytree(small_store_path.parent / "pictures" / "val" / name, tmp_path / "pictures" / name)
    pair = write_model(tmp_path / "pair.safetensors", seed=0, classes=("ant", "bee"))
    code, said = say(pair, tmp_path / "pictures", "--views", 1)
    assert code == 0, said
    assert TWO_CLASSES in said


def test_models_that_do_not_go_together_are_neither_compared_nor_averaged(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other.safetensors", seed=0, classes=("ant", "bee", "dog"))
    code, said = say(models[0], other, small_store_path)
    assert code == 1
    assert said.endswith(
        f"{other} and {models[0]} do not have the same classes (only one of them has cat, dog), so they cannot be "
        "compared or averaged. Test models of one label set together, or one at a time."
    )
    small = write_model(tmp_path / "small.safetensors", seed=0, size=32)
    code, said = say(models[0], small, small_store_path)
    assert code == 1
    assert said.endswith(
        f"{small} reads images of 32 px, {models[0]} of 256 px, so they cannot be compared or averaged. Test models "
        "that were trained on stores of one size together, or one at a time."
    )


def test_a_store_in_the_place_of_the_model_leaves_its_place_open(small_store_path: Path, models: list[Path]) -> None:
    advice = f"{small_store_path} is a store; models come first, images last: alexnet evaluate"
    assert say(small_store_path, small_store_path) == (1, f"{advice} MODEL {small_store_path}")
    assert say(small_store_path, models[0], small_store_path) == (1, f"{advice} {models[0]} {small_store_path}")


def test_only_a_split_that_exists_is_advised_for_fitting(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    asked = (models[0], models[2])
    reason = "--fit-weights val would find weights on the images that are reported."
    code, said = say(*asked, small_store_path, "--fit-weights", "val")
    assert (code, said) == (
        1,
        f"{reason} {small_store_path} has no other images that models did not learn from. A third split "
        "is made by preparing: alexnet prepare PHOTOS --out STORE --test-fraction 0.1. Or test on a folder that holds "
        "the folders val and test.",
    )
    # What is advised works: a folder with both, and a table.
    pictures = tmp_path / "pictures"
    for split in ("train", "val", "test"):
        shutil.copytree(small_store_path.parent / "pictures" / "val", pictures / split)
    rows = [f"{path.relative_to(pictures)},{path.parent.name},{path.parts[-3]}" for path in pictures.rglob("*.png")]
    (pictures / "table.csv").write_text("\n".join(["path,label,split", *rows]))
    prepare(pictures / "table.csv", tmp_path / "store")
    for images in (pictures, tmp_path / "store"):
        code, said = say(*asked, images, "--fit-weights", "val", "--split", "val")
        assert (code, said) == (1, f"{reason} Report another split: --split test.")
        code, said = say(*asked, images, "--fit-weights", "val", "--split", "test", "--views", 1)
        assert code == 0, said


def test_a_network_that_is_averaged_twice_is_noticed(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    first, second, copy = models[0], models[1], tmp_path / "copy.safetensors"
    shutil.copy(first, copy)
    saved = tmp_path / "two.json"
    shared = (small_store_path, "--views", 1, "--average")
    for given, note in (
        ((first, first), f"One network is given twice, in {first} and {first}: it counts each time in the average."),
        ((first, second, copy, first), f"given 3 times, in {first} and {copy} and {first}: it counts each time"),
    ):
        code, said = say(*given, *shared, "--save-ensemble", saved)
        assert code == 0, said
        assert note in said
    assert "One network" not in say(first, second, *shared, "--save-ensemble", saved)[1]
    assert f"given twice, in {first} and {saved}: it counts each time" in say(first, saved, *shared)[1]
    code, said = say(first, first, small_store_path, "--views", 1, "--fit-weights", "train")
    assert f"given twice, in {first} and {first}: it counts each time" in said
    assert "One network" not in say(first, first, small_store_path, "--views", 1)[1]  # compared, not averaged


def test_classes_and_figures_name_the_model_they_are_of_among_several(
    models: list[Path], small_store_path: Path, tmp_path: Path
) -> None:
    html = tmp_path / "test.html"
    for given, name in (
        ((models[0], models[1], small_store_path, "--average"), "average of 2"),
        ((models[0], models[1], small_store_path), str(models[1])),
        ((models[0], small_store_path), None),
    ):
        code, output = call(*given, "--views", 1, "--html", html)
        assert code == 0, output
        own = f" ({name})" if name else ""
        page = html.read_text(encoding="utf-8")
        for title in ("What is taken for what", "Can its confidence be trusted?", "The most confident mistakes"):
            assert f">{title}{own}</h2>" in page
        assert f">Classes{own}</h2>" in page
        assert output.count("Classes, ") == bool(name)
        assert f"Classes, {name}\n" in output or not name


def test_colours_are_compared_with_those_of_the_images_that_were_trained_on(
    small_store_path: Path, tmp_path: Path
) -> None:
    """A model that started from another subtracts that one's mean image, of images with other colours."""
    colors = open_store(small_store_path).color_mean
    far = "grey levels from that of the images"
    inherited = write_model(tmp_path / "tuned.safetensors", seed=0, mean=90.0)
    code, said = say(inherited, small_store_path, "--views", 1)
    assert code == 0, said
    assert far in said
    tuned = write_model(tmp_path / "tuned.safetensors", seed=0, mean=90.0, color_mean=colors.tolist())
    assert far not in say(tuned, small_store_path, "--views", 1)[1]
    other = write_model(tmp_path / "tuned.safetensors", seed=0, color_mean=(colors + 40).tolist())
    assert f"is 40 {far} {other} was trained on" in say(other, small_store_path, "--views", 1)[1]
    for damaged in ("red", [1, 2], [[1], [2], [3]], [float("inf"), 0, 0]):
        odd = write_model(tmp_path / "tuned.safetensors", seed=0, color_mean=damaged)
        assert far not in say(odd, small_store_path, "--views", 1)[1], damaged
