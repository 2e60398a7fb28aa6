"""Stores, indexes, models, ensembles, recipes and runs: files of this program that a stranger may hand over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from damage.family import CLASSES, Samples, picture, seal_json


def make_store(folder: Path) -> Samples:
    """Two stores in one folder, which differ in the file of their labels; the images of each are those of the other."""
    from conftest import write_store

    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    groups = {"train": list("aabbcc"), "val": list("dd")}
    found = []
    for name, targets in (("STORE", labels), ("SETS", np.eye(2, dtype=bool)[labels])):
        splits = {"train": (images, targets), "val": (images[:2], targets[:2])}
        write_store(folder / name, splits, CLASSES, groups=groups)
        found.append((folder / name / "store.json").read_bytes())
    shutil.copytree(folder / "SETS", folder / "STORE", dirs_exist_ok=True)
    return Samples(found)


def make_store_file(name: str) -> Callable[[Path], Samples]:
    """A maker for a file that the header of a store lists."""

    def make(folder: Path) -> Samples:
        header = make_store(folder).good[0]
        (folder / "STORE" / "store.json").write_bytes(header)
        return Samples([(folder / "STORE" / name).read_bytes()])

    return make


def make_jpeg_store(folder: Path) -> Samples:
    from alexnet.data.prepare.prepare import prepare

    write_pictures(folder)
    prepare(folder / "pictures", folder / "STORE", size=16, codec="jpeg", val_fraction=0.34, workers=1)
    return Samples([(folder / "STORE" / "store.json").read_bytes()])


def read_store(path: Path) -> None:
    from alexnet.data.store.reader import open_store
    from alexnet.description.describe import describe

    folder = path if path.is_dir() else next(each for each in path.parents if (each / "store.json").exists())
    describe(str(folder))
    store = open_store(folder)
    for split in store.splits.values():
        assert isinstance(split.targets, np.ndarray)
        assert list(split.paths[:3]) or not len(split)
        assert split.groups is None or list(split.groups[:3]) or not len(split)
        for number in range(min(3, len(split))):
            assert split.images[number].shape == (store.size, store.size, 3)
    assert store.mean_image.ndim == 3
    assert store.color_axes.shape == store.color_covariance.shape
    assert repr(store)
    assert store.color_mean.ndim
    store.verify()


def read_store_report(path: Path) -> None:
    from alexnet.data.store.existing import read_report
    from alexnet.data.store.reader import open_store

    read_report(open_store(path.parent))


def write_pictures(folder: Path) -> None:
    for number in range(6):
        place = folder / "pictures" / CLASSES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(picture(number))


def make_index(folder: Path) -> Samples:
    import torch

    from alexnet.evaluation.classifier import load
    from alexnet.network.model_file import save_model
    from alexnet.retrieval.codes.encoding import write_codes
    from alexnet.retrieval.codes.fitting import fit_encoder
    from alexnet.retrieval.index.images import choose_images
    from alexnet.retrieval.index.reader import open_index
    from alexnet.retrieval.index.writer import make_index, remove_rows
    from exchange.miniature import everything, make_model

    save_model(folder / "model.safetensors", make_model(everything()))
    write_pictures(folder)
    model = load(folder / "model.safetensors", device="cpu", precision="float32")
    make_index(model, choose_images([folder / "pictures"]), folder / "INDEX")
    first = (folder / "INDEX" / "index.json").read_bytes()
    remove_rows(folder / "INDEX", lambda index: np.array([1]))
    index = open_index(folder / "INDEX")
    write_codes(index, fit_encoder(torch.from_numpy(index.gather(index.rows())), 8, "random"))
    return Samples([(folder / "INDEX" / "index.json").read_bytes(), first])


def make_index_file(name: str) -> Callable[[Path], Samples]:
    """A maker for a file that the header of an index lists."""

    def make(folder: Path) -> Samples:
        make_index(folder)
        return Samples([(folder / "INDEX" / name).read_bytes()])

    return make


def read_index(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.retrieval.codes.encoding import load_codes
    from alexnet.retrieval.exact import find_nearest
    from alexnet.retrieval.index.reader import open_index

    folder = next(each for each in path.parents if (each / "index.json").exists())
    describe(str(folder))
    index = open_index(folder)
    assert len(index) >= 0
    assert repr(index)
    for name in ("features", "ids", "labels", "pixels", "skip"):
        getattr(index, name)
    for row in index.rows()[:3].tolist():
        assert index.entry(row).path
    for bits in index.header["codes"]:
        assert len(load_codes(index, int(bits))[1]) == index.num_rows
    if len(index):
        find_nearest(index.features, index.gather(index.rows()[:1]), 1, skip=index.skip)
    index.verify()


def make_model_document(folder: Path) -> Samples:
    import safetensors.torch

    from alexnet.network.model_file import save_model
    from exchange.miniature import everything, make_model

    save_model(folder / "good.safetensors", make_model(everything()))
    with safetensors.safe_open(folder / "good.safetensors", framework="pt") as file:
        text = file.metadata()["alexnet"]
    more = json.loads(text)
    more |= {"temperatures": {"1": 1.5, "10": 1.25}}
    odd = more | {"rejection": {"share": 0.05, "thresholds": {"1": 2.0, "10": 3.0}}}
    return Samples([text.encode(), json.dumps(more).encode()], [json.dumps(odd).encode()])


def seal_model(data: bytes, folder: Path) -> bytes:
    import safetensors.torch

    tensors = safetensors.torch.load_file(folder / "good.safetensors")
    text = seal_json(data, folder).decode("utf-8", "replace")
    return safetensors.torch.save(tensors, {"alexnet": text})


def read_model(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.network.model_file import load_model

    describe(str(path))
    load_model(path)


def make_model_file(folder: Path) -> Samples:
    make_model_document(folder)
    return Samples([(folder / "good.safetensors").read_bytes()])


def make_ensemble(folder: Path) -> Samples:
    from alexnet.evaluation.classifier import load
    from alexnet.evaluation.ensemble import Ensemble, save_ensemble
    from alexnet.network.model_file import save_model
    from exchange.miniature import everything, make_model

    for name, seed in (("a", 1), ("b", 2)):
        save_model(folder / f"{name}.safetensors", make_model(everything(), divisor=50.0 + seed))
    members = [load(folder / f"{name}.safetensors", device="cpu", precision="float32") for name in "ab"]
    save_ensemble(folder / "two.json", Ensemble(members, [1.0, 2.0], temperatures={1: 1.5, 10: 1.2}))
    return Samples([(folder / "two.json").read_bytes()])


def read_ensemble(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.evaluation.ensemble import load_ensemble

    describe(str(path))
    load_ensemble(path, device="cpu", precision="float32")


def make_recipe(folder: Path) -> Samples:
    from alexnet.recipes.named import RECIPES

    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    odd = [bomb, "batches:\n\tsize: 5\n", "&x [*x]\n", "!!python/object/apply:os.mkdir [EXECUTED]\n", "<<: 1\n",
           "optimization: {learning_rate: .inf, total_epochs: 1e400}\n", "name: 2001-99-99\n", "[" * 5000,
           "batches: {size: 0x" + "f" * 6000 + "}\n", "? {a: b}\n: c\n", "batches: !!binary x\n", "--- a\n--- b\n",
           "name: &a {<<: *a}\n"]  # fmt: skip
    return Samples([recipe().to_yaml().encode() for recipe in RECIPES.values()], [text.encode() for text in odd])


def read_recipe(path: Path) -> None:
    from alexnet.recipes import named

    recipe = named.read_recipe(path)
    assert named.Recipe.model_validate(recipe.model_dump()) == recipe


def make_run(name: str) -> Callable[[Path], Samples]:
    """A maker for a text file of a run; the run is one of two epochs that nothing was trained in."""

    def make(folder: Path) -> Samples:
        from alexnet.network.model_file import save_model
        from alexnet.recipes.named import RECIPES
        from exchange.miniature import everything, make_model

        run = folder / "RUN"
        run.mkdir()
        save_model(run / "model.safetensors", make_model(everything()))
        rows = [{"epoch": epoch, "train_loss": 1.5, "train_top1_error": 0.5, "val_loss": 1.25, "val_top1_error": 0.375,
                 "val_top5_error": 0.0, "learning_rate": 0.01, "seconds": 2.5, "seconds_with_validation": 2.75,
                 "images_per_second": 99.5, "waiting_share": 0.25} for epoch in (1, 2)]  # fmt: skip
        files = {
            "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "recipe.yaml": RECIPES["demo"]().to_yaml(),
            "environment.json": json.dumps(
                {"alexnet": "0.2.0", "python": "3.11.7", "torch": "2.13.0+cpu", "processor": "AMD EPYC", "cores": 2,
                 "store": "../STORE", "store_absolute": "/STORE", "store_fingerprint": "0" * 64, "seed": 0,
                 "precision": "float32", "color_mean": [132.5, 126.5, 122.5], "device": "cpu", "threads": 1}
            ),
        }  # fmt: skip
        for each, text in files.items():
            (run / each).write_text(text)
        return Samples([files[name].encode()])

    return make


def read_run(path: Path) -> None:
    from alexnet.description.describe import describe
    from alexnet.runs.folder import read_environment, read_metrics
    from alexnet.runs.trackers import read_fields

    described = describe(str(path.parent))
    assert described.values
    read_environment(path.parent)
    read_metrics(path.parent)
    read_fields(path.parent)
