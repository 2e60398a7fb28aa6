"""What `alexnet evaluate` says where its arguments do not fit, or its figures could be taken for others."""

import shutil
from pathlib import Path

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
