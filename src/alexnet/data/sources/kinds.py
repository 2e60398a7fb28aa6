"""Where images come from: a table of the kinds of source, of which the first that recognises a path reads it.

Each kind is a name, a test that looks at the path (and a little of its content), and a function that lists labelled
images. What all of them give is a `Source`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alexnet.data.sources.archives import is_archive
from alexnet.data.sources.arrays import find_arrays, is_numpy
from alexnet.data.sources.cifar import find_cifar, is_cifar
from alexnet.data.sources.class_folders import find_folders, find_in_archive
from alexnet.data.sources.class_tree import WHOLE_PATH
from alexnet.data.sources.coco import find_in_coco, is_coco
from alexnet.data.sources.corrections import apply_corrections
from alexnet.data.sources.fiftyone import find_in_fiftyone, is_fiftyone
from alexnet.data.sources.folders import has_clip_suffix, has_image_suffix
from alexnet.data.sources.grouping import Grouping
from alexnet.data.sources.hugging_face import find_in_arrow, find_in_parquet, is_arrow, is_parquet
from alexnet.data.sources.ilsvrc import find_ilsvrc, is_ilsvrc
from alexnet.data.sources.pixels import find_pixels, is_pixels
from alexnet.data.sources.published import find_published, is_published
from alexnet.data.sources.source import LabeledPath, LabelsAre, Options, Source
from alexnet.data.sources.tables import find_in_table, is_table
from alexnet.data.sources.webdataset import find_shards, is_webdataset
from alexnet.errors import ConfigError, SourceError
from alexnet.files.writing import TEXT_BYTES, check_file

__all__ = ["KINDS", "Kind", "LabeledPath", "Source", "find_images"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source."""

    name: str
    summary: str
    """What it is, in a few words."""
    detect: Callable[[Path], bool]
    find: Callable[[Path, Options], Source]


KINDS = (
    Kind("table", "a .csv or .tsv file with the columns path, label and perhaps split", is_table, find_in_table),
    Kind("fiftyone", "an export of FiftyOne: labels.json beside the folder data", is_fiftyone, find_in_fiftyone),
    Kind("coco", "COCO's JSON, or the folder with its annotations/instances_….json", is_coco, find_in_coco),
    Kind("ilsvrc", "a folder with ILSVRC2012_img_train.tar and its companions (or 2010)", is_ilsvrc, find_ilsvrc),
    Kind("cifar", "CIFAR-10 or CIFAR-100, its archive or the folder with its batches", is_cifar, find_cifar),
    Kind("pixels", "the files of MNIST and its relatives, SVHN or STL-10", is_pixels, find_pixels),
    Kind(
        "published",
        "Food-101, Pets, Flowers, Textures and more, unpacked, with their lists",
        is_published,
        find_published,
    ),
    Kind("parquet", "Parquet files as Hugging Face writes image data sets", is_parquet, find_in_parquet),
    Kind("arrow", "a data set that Hugging Face's save_to_disk wrote", is_arrow, find_in_arrow),
    Kind("webdataset", "WebDataset shards: tar files with KEY.jpg and KEY.cls", is_webdataset, find_shards),
    Kind("numpy", "an .npz file with arrays of images and labels", is_numpy, find_arrays),
    Kind("archive", "a zip or tar archive of class folders", is_archive, find_in_archive),
    Kind("folders", "train/<class>/... with val/<class>/..., or <class>/...", Path.is_dir, find_folders),
)
"""In the order in which they are tried: the particular before the general."""

CLIP_KINDS = ("table", "archive", "folders")
"""Kinds that may hold clips."""

SETS_KINDS = ("table", "coco", "fiftyone")
"""Kinds of which an image may have any number of labels."""


def find_images(
    source: str | os.PathLike[str],
    *,
    kind: str | None = None,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    val_list: str | os.PathLike[str] | None = None,
    seed: int = 0,
    class_names_file: str | os.PathLike[str] | None = None,
    group: str | None = None,
    classes_at: int | str | None = None,
    corrections: str | os.PathLike[str] | None = None,
    labels: LabelsAre | None = None,
    clips: bool = False,
) -> Source:
    """The images of a source, split and labelled.

    In folders and archives, files count as images by their suffix, in any case, at any depth below their class folder.
    Hidden names, `Thumbs.db`, `__MACOSX` and files with other suffixes are passed over and counted. Links on the disk
    are followed, loops once; links in archives never.

    Args:
        source: What one of KINDS describes.
        kind: The name of one of KINDS; the first that recognises the source when None.
        val_fraction: Where the source has no validation images: the share of each class that becomes validation, above
            0 and below 1, rounded to nearest but at least one image and never all; a class with one image keeps it for
            training. Which ones follows from seed and the paths alone.
        val_list: Instead, a text file that names them; for a flat folder or archive of validation images, with their
            classes (see `image_names.ValList`).
        test_fraction: Where the source has no test images: the share of each class that becomes split "test", taken
            from what would be training images, by the same order and groups.
        seed: Which division the fractions make.
        class_names_file: Tab-separated; the last column is the readable name of the class named in an earlier one.
            The first of `titles.TITLES_FILES` in SOURCE is used when this is None.
        group: Which images belong together and stay on one side of the division: "folder", a column of a table, or a
            regular expression (see `grouping.Grouping`). Where SOURCE or a list divides, groups that cross are refused.
        classes_at: Of folders and archives: the depth of the folders that are the classes, counted from 1, or "path"
            where every folder with images is one, named by its path (see `class_tree.gather_classes`). When None,
            1, unless class folders hold nothing but several folders: that is refused.
        labels: Of tables and COCO: "several" where an image may have any number of labels, "one" where it has one. When
            None, one for tables, unless a label holds "|", which is refused; any number for COCO.
        clips: List clips in place of images, as files with one label each; `prepare.clips` takes their frames.
        corrections: A table of labels to change and images to leave out, see `corrections.apply_corrections`.
    Raises:
        SourceError: the source is damaged or laid out in another way; the message says what to do.
        ConfigError: a fraction, or the sum of both, is outside (0, 1), or there is no such kind.
    """
    for what, fraction in (("validation", val_fraction), ("test", test_fraction)):
        if fraction is not None and not 0 < fraction < 1:
            raise ConfigError(f"The {what} fraction is {fraction}; it lies between 0 and 1, for example 0.1.")
    if (val_fraction or 0) + (test_fraction or 0) >= 1:
        raise ConfigError(
            f"Fractions of {val_fraction} and {test_fraction} leave nothing to train on. Give two whose sum is below 1."
        )
    if val_fraction is not None and val_list is not None:
        raise ConfigError("Both a validation fraction and a validation list are given; use one of them.")
    if classes_at is not None and classes_at != WHOLE_PATH and not (isinstance(classes_at, int) and classes_at > 0):
        raise ConfigError(f"The depth of class folders is {classes_at!r}; accepted are 1, 2 and so on, and 'path'.")
    root = Path(source)
    options = Options(
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        val_list=Path(val_list) if val_list is not None else None,
        seed=seed,
        class_names_file=Path(class_names_file) if class_names_file is not None else None,
        grouping=Grouping(group) if group is not None else None,
        classes_at=classes_at,
        labels=labels,
        accept=has_clip_suffix if clips else has_image_suffix,
    )
    for path in filter(None, (options.val_list, options.class_names_file, None if root.is_dir() else root)):
        if path.exists():
            _check_regular(path, None if path is root else TEXT_BYTES)
    chosen = _choose_kind(root, kind)
    if classes_at is not None and chosen.name not in ("folders", "archive"):
        raise ConfigError(f"{root} is {chosen.summary}; it has no class folders. Leave out --classes-at.")
    if labels == "several" and chosen.name not in SETS_KINDS:
        raise ConfigError(
            f"{root} is {chosen.summary}; it has one label for each image. Leave out --labels, or give a table or "
            "COCO's JSON."
        )
    if clips and chosen.name not in CLIP_KINDS:
        raise ConfigError(
            f"{root} is {chosen.summary}; it holds no clips. Leave out --every, or give a folder, an archive or a "
            "table of clips."
        )
    found = chosen.find(root, options)
    return found if corrections is None else apply_corrections(found, Path(corrections))


def _check_regular(path: Path, most_bytes: int | None) -> None:
    try:
        check_file(path, most_bytes)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}). Give a file.") from None


def _choose_kind(root: Path, name: str | None) -> Kind:
    if name is not None and name not in (kind.name for kind in KINDS):
        raise ConfigError(f"There is no source {name!r}; accepted are {', '.join(kind.name for kind in KINDS)}.")
    if not root.exists():
        raise SourceError(f"{root} does not exist. Check the path, or whether the disk is mounted.")
    chosen = next((kind for kind in KINDS if (kind.name == name if name else kind.detect(root))), None)
    if chosen is None:
        raise SourceError(
            f"{root} is no source of images that is known. Known are: {'; '.join(kind.summary for kind in KINDS)}."
        )
    if name and not chosen.detect(root):
        raise SourceError(f"{root} is not {chosen.summary}. Leave out --source to have the kind detected.")
    return chosen
