"""Every command and example of docs/data.md, on small sets of the forms that it names."""

import io
import json
import re
import shlex
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.cli import cli
from alexnet.data.sources.kinds import KINDS
from alexnet.data.store.reader import open_store

GUIDE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the guide's commands name."""
    pytest.importorskip("scipy")
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq
    from data.test_cifar import lay_out, python_batches
    from data.test_fiftyone import WRITTEN as EXPORTED
    from data.test_hugging_face import WRITTEN as SAVED
    from data.test_kinds import make_ilsvrc, write_tar
    from data.test_pixels import write_idx
    from data.test_published import write_food
    from scipy.io import savemat

    from .conftest import draw_picture, encode_picture

    root = tmp_path_factory.mktemp("guide")
    pictures = [encode_picture(draw_picture(number)) for number in range(40)]
    for number, data in enumerate(pictures):
        split, name = (
            ("val" if number % 4 == 3 else "train"),
            ("cat", "dog")[number % 2 if number % 4 != 3 else number // 4 % 2],
        )
        for path in (
            f"PHOTOS/{split}/{name}/{number}.png",
            f"TREE/{name}/{number}.png",
            f"DAMAGED/{name}/{number}.png",
            f"SERIES/{name}/p{number // 4}_{number}.png",
            f"NESTED/{name[0]}/{name}/{number}.png",
            f"NESTED/{name[0]}/other {name}/{number}.png",
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    (root / "DAMAGED/cat/bad.jpg").write_bytes(b"")
    chosen = sorted(path.relative_to(root / "TREE").as_posix() for path in (root / "TREE").rglob("*.png"))[::5]
    (root / "chosen.txt").write_text("\n".join(chosen))
    with zipfile.ZipFile(root / "PHOTOS.zip", "w") as archive:
        for path in (root / "PHOTOS").rglob("*.png"):
            archive.write(path, path.relative_to(root))
    with tarfile.open(root / "TREE.tar.gz", "w:gz") as tar:
        tar.add(root / "TREE", "TREE")
    rows = [f"TREE/{path},{path.split('/')[0]},{'val' if path in chosen else 'train'}\n" for path in
            sorted(path.relative_to(root / "TREE").as_posix() for path in (root / "TREE").rglob("*.png"))]  # fmt: skip
    (root / "images.csv").write_text("path,label,split\n" + "".join(rows))
    sets = [f"TREE/{path.relative_to(root / 'TREE').as_posix()}" for path in sorted((root / "TREE").rglob("*.png"))]
    labels = [
        f"{path},{('dog|cat', 'cat', '', 'dog')[n % 4]},{'val' if n % 5 == 0 else 'train'}\n"
        for n, path in enumerate(sets)
    ]
    (root / "things.csv").write_text("path,labels,split\n" + "".join(labels))
    (root / "COCO/annotations").mkdir(parents=True)
    categories = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]
    for name, numbers in (("instances_train2017", range(12)), ("instances_val2017", range(12, 18)), ("all", range(18))):
        folder = "val2017" if name.endswith("val2017") else "train2017"
        for n in numbers if name != "all" else ():
            (root / f"COCO/{folder}").mkdir(exist_ok=True)
            (root / f"COCO/{folder}/{n}.png").write_bytes(pictures[n])
        boxes = [{"image_id": n, "category_id": each} for n in numbers for each in ((1, 7), (1,), (7,), ())[n % 4]]
        named = [{"id": n, "file_name": f"{n}.png"} for n in numbers]
        place = root / "COCO" / ("all.json" if name == "all" else f"annotations/{name}.json")
        place.write_text(json.dumps({"images": named, "annotations": boxes, "categories": categories}))
    (root / "shards").mkdir()
    for split, numbers in (("train", range(8)), ("val", range(8, 12))):
        files = {
            f"{n}.{suffix}": data for n in numbers for suffix, data in (("png", pictures[n]), ("cls", b"%d" % (n % 2)))
        }
        write_tar(root / "shards" / f"{split}-000.tar", files)
    (root / "dataset/data").mkdir(parents=True)
    info = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    for split, numbers in (("train", range(8)), ("validation", range(8, 12))):
        table = pa.table(
            {"image": [{"bytes": pictures[n], "path": f"{n}.png"} for n in numbers], "label": [n % 2 for n in numbers]}
        )
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        pq.write_table(table, root / f"dataset/data/{split}-00000-of-00001.parquet")
    digits = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    np.savez(
        root / "digits.npz", x_train=digits[:8], y_train=np.arange(8) % 2, x_test=digits[8:], y_test=np.arange(4) % 2
    )
    lay_out(python_batches(), root / "cifar-10-python.tar.gz")
    shutil.copytree(SAVED, root / "saved")
    shutil.copytree(EXPORTED, root / "export")
    write_idx(root / "MNIST/raw")
    write_food(root)
    make_ilsvrc(root / "IMAGENET", encode_picture, draw_picture)
    synsets = np.array([(n + 1, name, name) for n, name in enumerate(["n02", "n01", "n03"])],
                       dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object)])  # fmt: skip
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets[:, None]})
    write_tar(root / "IMAGENET/ILSVRC2012_devkit_t12.tar.gz", {
        "kit/data/meta.mat": meta.getvalue(), "kit/data/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n3\n",
    })  # fmt: skip
    lines = [f"ILSVRC2012_val_0000000{n},n0{n} 1 2 3 4\n" for n in (1, 2, 3)]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
    return root


def test_the_guide_has_commands_and_lists_every_kind() -> None:
    assert len(COMMANDS) > 15
    assert set(re.findall(r"^\| `([\w-]+)` \|", GUIDE, re.MULTILINE)) == {kind.name for kind in KINDS}


def test_every_command_of_the_guide_works(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sets)
    run: Callable[..., Any] = CliRunner().invoke
    for command in COMMANDS:
        words = shlex.split(command)
        assert words[0] == "alexnet"
        small = ["--size", "16"] if words[1] == "prepare" and "--size" not in words else []
        result = run(cli, [*words[1:], *small])
        assert result.exit_code == 0, (command, result.output, result.exception)
        if words[1] == "prepare":
            open_store(words[words.index("--out") + 1]).verify()
    assert open_store("store-damaged").provenance["skipped"] == 1
    assert open_store("store-half").splits["val"].images.shape[0] == 3
    listed = run(cli, ["info", "store", "--images"]).output.splitlines()
    assert len(listed) == 40
    assert listed[0].split("\t") == ["train", "cat", "cat", "train/cat/0.png"]
    document = json.loads(run(cli, ["info", "store", "--images", "--json"]).output.splitlines()[0])
    assert document == {"split": "train", "class": "cat", "name": "cat", "path": "train/cat/0.png"}


def test_the_example_in_python_works(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sets)
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.splitlines()[0] == "40 [] 0"
