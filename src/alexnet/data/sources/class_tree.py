"""Which folders of a tree are the classes, and which images each holds."""

from collections.abc import Iterator
from pathlib import Path

from alexnet.data.sources.division import SPLIT_NAMES
from alexnet.data.sources.folders import Folder
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.text.class_names import normalize_name
from alexnet.text.wording import counted, shorten

WHOLE_PATH = "path"
"""Depth of class folders that means: every folder with images is a class, named by its path below the split."""

Depth = int | str


def find_split_folder(top: Folder, split: str) -> Folder | None:
    """The folder of a split directly below top, by any of its usual names in any case but "dev".

    Raises:
        SourceError: there are two.
    """
    names = [name for name in SPLIT_NAMES.get(split, (split,)) if name != "dev"]  # "dev" may be a class
    found = [folder for folder in top.folders if folder.name.lower() in names or folder.name == split]
    if len(found) > 1:
        listed = " and ".join(folder.name for folder in found)
        raise SourceError(f"{top.path} has {listed}; only one of them can be read. Rename or remove the other.")
    return found[0] if found else None


def find_classes(
    parent: Folder, root: Path, depth: Depth | None, notes: list[str]
) -> tuple[dict[str, list[str]], Depth]:
    """Paths of the images of each class in parent, and the depth of the class folders."""
    if not parent.num_images:
        raise SourceError(
            f"{parent.path} holds no images. Check the path; names of images end in .jpg, .png, .webp, .gif, .bmp, "
            ".tif and the like."
        )
    if not parent.folders:
        advice = f"Make one folder for each class and pass {root}, or"
        raise SourceError(
            f"{parent.path} holds {counted(parent.num_images, 'image')} but no class folders. {advice} pass the folder "
            f"above ({parent.path.parent}) if {parent.path.name} is one class."
        )
    inner = _find_inner_sources(parent)
    if inner and depth is None:
        raise SourceError(
            f"{parent.path} is not the folder with the classes; {_list_paths(inner)}. Pass "
            f"{inner[0].path if len(inner) == 1 else 'one of them'}."
            if parent.path == root
            else f"{parent.path} has its class folders one level down, in {inner[0].name}. Move them up to "
            f"{parent.path}."
        )
    if depth is None:
        _refuse_nested(parent, root)
        depth = 1
    classes = gather_classes(parent, root, depth)
    if not classes:
        raise SourceError(
            f"{parent.path} has no folders with images at depth {depth}. Give --classes-at a smaller number."
        )
    if len(classes) == 1:
        raise SourceError(
            f"{parent.path} has one class, {next(iter(classes))}; a classifier needs two or more. Add a folder for "
            "another class, even if it is only 'other'."
        )
    empty = sorted({name for name, _ in _list_class_folders(parent, depth)} - set(classes))
    if empty:
        raise SourceError(
            f"{parent.path} has class folders without images: {shorten(empty)}. Remove them, or add images."
        )
    folders: dict[str, list[str]] = {}
    for name, folder in _list_class_folders(parent, depth):
        folders.setdefault(name, []).append(folder.path.relative_to(parent.path).as_posix())
    notes += [f"Read as one class, {name}: {' and '.join(paths)}." for name, paths in folders.items() if len(paths) > 1]
    return classes, depth


def gather_classes(parent: Folder, root: Path, depth: Depth) -> dict[str, list[str]]:
    """Class name in normal form -> sorted paths of its images, relative to root.

    Args:
        depth: The folder of this depth below parent, counted from 1, names the class, and folders further down only
            order its images; two folders of one name are one class. With WHOLE_PATH each folder that holds images is a
            class, named by its path: "a/airfield".
    """
    classes: dict[str, list[str]] = {}
    for name, folder in _list_class_folders(parent, depth):
        prefix = folder.path.relative_to(root).as_posix()
        paths = [f"{prefix}/{image}" for image in folder.images] if depth == WHOLE_PATH else folder.walk(root)
        classes.setdefault(name, []).extend(paths)
    return {name: sorted(paths) for name, paths in classes.items() if paths}


def _list_class_folders(parent: Folder, depth: Depth) -> Iterator[tuple[str, Folder]]:
    for parts, folder in _walk_folders(parent, ()):
        if depth == WHOLE_PATH and folder.images:
            yield "/".join(parts), folder
        elif len(parts) == depth:
            yield parts[-1], folder


def _walk_folders(parent: Folder, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Folder]]:
    for folder in parent.folders:
        own = (*parts, normalize_name(folder.name))
        yield own, folder
        yield from _walk_folders(folder, own)


def _refuse_nested(parent: Folder, root: Path) -> None:
    """Refuse class folders that hold nothing but two and more folders: these may be the classes."""
    if any(folder.images for folder in parent.folders) or not any(
        sum(1 for child in folder.folders if child.num_images) > 1 for folder in parent.folders
    ):
        return
    readings = []
    for depth in (1, 2, WHOLE_PATH):
        names = sorted(gather_classes(parent, root, depth))
        readings.append(f"--classes-at {depth}: {counted(len(names), 'class', 'classes')} ({shorten(names, 4)})")
    raise SourceError(
        f"{parent.path} has folders that hold only folders, so which are the classes is open. Add the option of what "
        f"you mean. {'; '.join(readings)}. If one of its folders is the data set, pass that."
    )


def _find_inner_sources(parent: Folder) -> list[Folder]:
    """The folders further down that a user may have meant, if this one is too high."""
    inner = [
        each
        for _, each in _walk_folders(parent, ())
        if find_split_folder(each, TRAIN) and (find_split_folder(each, VAL) or find_split_folder(each, TEST))
    ]
    if inner or any(folder.images for folder in parent.folders):
        return inner
    inner = [each for each in parent.folders if find_split_folder(each, TRAIN)]
    if inner or len(parent.folders) != 1:
        return inner
    only = parent.folders[0]
    num_classes = sum(1 for child in only.folders if child.num_images)
    return _find_inner_sources(only) or ([only] if num_classes >= 2 else [])


def _list_paths(folders: list[Folder]) -> str:
    """The folders, as what looks like the folder that is meant."""
    if len(folders) == 1:
        return f"{folders[0].path} looks like it"
    return f"{shorten([str(folder.path) for folder in folders], 3)} look like it"


def note_stray_images(parent: Folder, depth: Depth, notes: list[str]) -> None:
    """Note the images that lie above the class folders."""
    above = [each for parts, each in _walk_folders(parent, ()) if isinstance(depth, int) and len(parts) < depth]
    for folder in (parent, *above):
        if folder.images:
            stray = counted(len(folder.images), "image")
            notes.append(f"Not read, since it lies in no class folder: {stray} directly in {folder.name}.")
