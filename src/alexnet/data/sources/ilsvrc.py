"""ImageNet's challenge sets (ILSVRC 2010 and 2012) as they are distributed: archives that stay packed.

Training images lie in a tar of one tar for each WordNet id. Validation images lie in a flat tar; which class each has
is told by the development kit, whose numbers for classes are its own (ILSVRC2012_ID) and are translated to WordNet ids
by the kit's table, or by a list of names and WordNet ids. Labels follow the sorted WordNet ids, as everywhere else.
"""

import re
from dataclasses import replace
from pathlib import Path

from alexnet.data.sources.archives import Mounted, TarArchive, open_archive
from alexnet.data.sources.folders import has_image_suffix
from alexnet.data.sources.image_names import ValList
from alexnet.data.sources.listing import collect
from alexnet.data.sources.matlab import read_matlab
from alexnet.data.sources.source import Options, Record, Source
from alexnet.data.store.format import TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.wording import counted

_PATTERNS = {
    "train": re.compile(r"ILSVRC20(10|12)(_images|_img)?_train\.tar", re.IGNORECASE),
    "val": re.compile(r"ILSVRC20(10|12)(_images|_img)?_val\.tar", re.IGNORECASE),
    "kit": re.compile(r"ILSVRC20(10|12)_devkit.*\.(tar\.gz|tgz|tar)", re.IGNORECASE),
}


def list_parts(root: Path) -> dict[str, Path]:
    """The archives in a folder that are parts of a challenge set: "train", "val", "kit"."""
    if not root.is_dir():
        return {}
    return {
        part: path
        for path in sorted(root.iterdir())
        for part, pattern in _PATTERNS.items()
        if pattern.fullmatch(path.name) and path.is_file()
    }


def is_ilsvrc(root: Path) -> bool:
    """Whether root is a folder with the archive of training images."""
    return "train" in list_parts(root)


def find_ilsvrc(root: Path, options: Options) -> Source:
    """The images of a challenge set whose archives lie in the folder root.

    Without val_fraction, the archive of validation images is read, with the development kit beside it or the list that
    options name.
    """
    parts = list_parts(root)
    train = _open_train(parts["train"])
    archives: dict[str, TarArchive] = {TRAIN: train}
    images = [name for name in train.names() if has_image_suffix(name)]
    records = [Record(f"{TRAIN}/{name}", name.split("/", 1)[0], TRAIN) for name in sorted(images)]
    titles: dict[str, str] = {}
    if options.val_fraction is None and "val" in parts:
        val = open_archive(parts["val"])
        assert isinstance(val, TarArchive)
        archives[VAL] = val
        names = sorted(name for name in val.names() if has_image_suffix(name))
        if options.val_list is not None:
            known = {record.class_name for record in records}
            classes = _classes_by_list(names, ValList(options.val_list), parts["val"], known)
        elif "kit" in parts:
            classes, titles = _classes_by_kit(names, parts["kit"])
        else:
            raise SourceError(
                f"{parts['val']} does not tell the classes of its images. Put the development kit beside it "
                "(ILSVRC2012_devkit_t12.tar.gz), or name a list of images and WordNet ids: --val-list FILE."
            )
        records += [
            Record(f"{VAL}/{name}", class_name, VAL) for class_name, name in sorted(zip(classes, names, strict=True))
        ]
        options = replace(options, val_list=None)  # used up here
    files = Mounted(archives)
    return collect(root, "ilsvrc", files, records, options, titles=titles, ignored=files.ignored())


def _open_train(path: Path) -> TarArchive:
    try:
        return TarArchive(path, inner=True)
    except Exception as error:
        # Whatever tarfile says of a damaged header, the next step is the same.
        raise SourceError(f"{path} is a damaged archive ({error}). Copy it again from where it came.") from None


def _classes_by_list(names: list[str], listed: ValList, archive: Path, known: set[str]) -> list[str]:
    classes = listed.match(names, known)
    missing = [name for name in names if not classes.get(name)]
    if missing:
        raise SourceError(
            f"{listed.path} gives no class for {counted(len(missing), 'image')} of {archive}; the first is "
            f"{missing[0]}. Each line holds the name of an image and its WordNet id."
        )
    return [classes[name] for name in names]


def _classes_by_kit(names: list[str], kit: Path) -> tuple[list[str], dict[str, str]]:
    """WordNet id of each validation image, and the readable name of each WordNet id, by the development kit."""
    archive = open_archive(kit)
    texts = {name.rsplit("/", 1)[-1]: name for name in archive.names()}
    truth = next((name for name in texts if name.endswith("validation_ground_truth.txt")), None)
    if truth is None or "meta.mat" not in texts:
        raise SourceError(f"{kit} has no validation_ground_truth.txt and meta.mat. Copy it again from where it came.")
    ids, titles = _read_synsets(kit, archive.read(texts["meta.mat"]))
    numbers = [int(line) for line in archive.read(texts[truth]).split()]
    classes = []
    for name in names:
        found = re.search(r"(\d+)\.\w+$", name)
        place = int(found[1]) if found else 0
        if not 1 <= place <= len(numbers):
            raise SourceError(
                f"{kit} tells the classes of {counted(len(numbers), 'image')}; {name} is none of them. Use the kit "
                "that belongs to these images."
            )
        classes.append(ids[numbers[place - 1]])
    return classes, titles


def _read_synsets(kit: Path, data: bytes) -> tuple[dict[int, str], dict[str, str]]:
    """Number of the kit -> WordNet id, and WordNet id -> words, from the kit's MATLAB table."""
    found = read_matlab(
        f"{kit}: meta.mat", data, otherwise=", or name a list of images and WordNet ids: --val-list FILE"
    )
    try:
        synsets = found["synsets"]
        number = next(name for name in synsets[0]._fieldnames if name.endswith("_ID") and name.startswith("ILSVRC"))
        ids = {int(getattr(synset, number)): str(synset.WNID) for synset in synsets}
        return ids, {str(synset.WNID): str(synset.words) for synset in synsets}
    except (KeyError, TypeError, IndexError, AttributeError, StopIteration, ValueError) as error:
        raise SourceError(f"{kit}: meta.mat cannot be read ({error}). Copy it again from where it came.") from None
