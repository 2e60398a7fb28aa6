"""Class folders: train/<class>/... with val/<class>/..., or <class>/... of which a part is set aside.

The same rules hold for a folder on the disk and for the tree inside a zip or tar archive. Classes are those of the
training split, sorted by name; validation images get their label by the name of their folder, never by its position.
A flat folder of validation images gets its labels from a list.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet.data.archives import build_tree, open_archive
from alexnet.data.folders import Folder, scan_folder
from alexnet.data.listing import (
    SPLIT_NAMES,
    Files,
    FolderFiles,
    LabeledPath,
    Options,
    Record,
    Source,
    ValList,
    parse_titles,
    read_titles,
    set_aside,
    shorten,
    suggest,
)
from alexnet.data.store_format import TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.wording import counted


def find_folders(root: Path, options: Options) -> Source:
    """The images under a folder of the disk."""
    try:
        top = scan_folder(root)
    except OSError as error:
        raise SourceError(f"{root} cannot be listed ({error.strerror}). Check its permissions.") from None
    return _label_tree(root, "folders", FolderFiles(root), top, options)


def find_in_archive(root: Path, options: Options) -> Source:
    """The images of a zip or tar archive whose tree is laid out as class folders.

    Folders around the tree, as most archives have one, are passed through.
    """
    archive = open_archive(root)
    top = build_tree(archive)
    ignored = top.ignored
    while not top.images and len(top.folders) == 1 and top.folders[0].folders and not _is_split(top.folders[0]):
        top = top.folders[0]
    top.ignored = ignored
    table = (top.path / "classes.tsv").relative_to(root).as_posix()
    text = archive.read(table).decode("utf-8", "replace") if table in archive.names() else ""
    return _label_tree(root, "archive", archive, top, options, text)


def _label_tree(root: Path, kind: str, files: Files, top: Folder, options: Options, titles_text: str = "") -> Source:
    """Labels of a tree; paths are relative to root, which lies at or above top.

    Args:
        titles_text: A table of readable names that lies beside the class folders in an archive.
    """
    train = _find_split(top, SPLIT_NAMES[TRAIN])
    val = _find_split(top, SPLIT_NAMES[VAL][:3])
    if train is None and val is not None:
        raise SourceError(
            f"{top.path} has {val.name} but no train folder. Put the training images in {top.path / 'train'}/<class>/."
        )
    notes: list[str] = []
    whole = train if train is not None else top
    classes = _find_classes(whole, root)
    names = sorted(classes)
    if val is None:
        if options.val_fraction is None and options.val_list is None:
            raise SourceError(
                _explain_missing_val(top.path, top) if train is None else _explain_missing_val_folder(top, train)
            )
        splits = _divide(root, classes, options)
        if train is not None:
            notes.append(_tell_division(top, train, splits, options))
    else:
        if options.val_fraction is not None:
            raise SourceError(
                f"{top.path} has a {val.name} folder, so a validation fraction has no meaning. Leave out "
                f"--val-fraction, or pass {top.path / whole.name} to divide the training images only."
            )
        splits = {TRAIN: _label([classes[name] for name in names])}
        if options.val_list is not None:
            splits[VAL] = _label_by_list(list(val.walk(root)), ValList(options.val_list), names)
        else:
            splits[VAL] = _label_by_name(val, names, root, notes)
            _note_stray_images(val, notes)
    _note_stray_images(whole, notes)
    for other in top.folders if train is not None else ():
        if other not in (train, val) and other.num_images:
            notes.append(f"{other.name} holds {counted(other.num_images, 'image')} and was not read.")
    return Source(
        root=root,
        kind=kind,
        files=files,
        class_names=tuple(names),
        class_titles=read_titles(root, names, options.class_names_file, notes, parse_titles(titles_text, names)),
        splits=splits,
        ignored=dict(sorted(top.count_ignored().items())),
        notes=tuple(notes),
    )


def _divide(root: Path, classes: Mapping[str, Sequence[str]], options: Options) -> dict[str, list[LabeledPath]]:
    """Both splits of one tree of class folders."""
    labels = {name: label for label, name in enumerate(sorted(classes))}
    records = [Record(path, name, None) for name in labels for path in sorted(classes[name])]
    return {
        split: [LabeledPath(record.path, labels[record.class_name]) for record in part]
        for split, part in zip((TRAIN, VAL), set_aside(root, records, options), strict=True)
    }


def _tell_division(top: Folder, train: Folder, splits: Mapping[str, Sequence[LabeledPath]], options: Options) -> str:
    count, total = len(splits[VAL]), sum(map(len, splits.values()))
    which = (
        f"{100 * options.val_fraction:g} % of each class in {train.name}"
        if options.val_fraction is not None
        else f"what {options.val_list} names in {train.name}"
    )
    return (
        f"{top.path} has no val folder, so {which} is set aside for validation: {count:,} of "
        f"{counted(total, 'image')}, always the same."
    )


def _is_split(folder: Folder) -> bool:
    return any(folder.name.lower() in words for words in SPLIT_NAMES.values())


def _label_by_list(paths: Sequence[str], listed: ValList, names: Sequence[str]) -> list[LabeledPath]:
    """Validation images whose classes a list tells; every image must be in it, and every line must have one."""
    labels = {name: label for label, name in enumerate(names)}
    entries, unlisted, unknown = [], [], set()
    for path in sorted(paths):
        class_name = listed.find(path)
        if class_name is None:
            unlisted.append(path)
        elif class_name not in labels:
            unknown.add(class_name)
        else:
            entries.append(LabeledPath(path, labels[class_name]))
    if unlisted:
        raise SourceError(
            f"{listed.path} does not list {len(unlisted):,} of {counted(len(paths), 'validation image')}: "
            f"{shorten(unlisted, 3)}. Check that the list belongs to these images."
        )
    if unknown:
        raise SourceError(
            f"{listed.path} names classes that are not among the training classes: "
            f"{shorten([suggest(name, names) for name in sorted(unknown)])}. Labels are names of class folders, never "
            "numbers."
        )
    listed.check_all_found()
    return entries


def _find_split(top: Folder, names: Sequence[str]) -> Folder | None:
    found = [folder for folder in top.folders if folder.name.lower() in names]
    if len(found) > 1:
        listed = " and ".join(folder.name for folder in found)
        raise SourceError(f"{top.path} has {listed}; only one of them can be read. Rename or remove the other.")
    return found[0] if found else None


def _find_classes(parent: Folder, root: Path) -> dict[str, list[str]]:
    """Paths of the images of each class folder in parent."""
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
    inner = _find_inner_source(parent)
    if inner is not None:
        raise SourceError(
            f"{parent.path} is not the folder with the classes; {inner.path} looks like it. Pass {inner.path}."
            if parent.path == root
            else f"{parent.path} has its class folders one level down, in {inner.name}. Move them up to {parent.path}."
        )
    if len(parent.folders) == 1:
        raise SourceError(
            f"{parent.path} has one class, {parent.folders[0].name}; a classifier needs two or more. Add a folder for "
            "another class, even if it is only 'other'."
        )
    empty = [folder.name for folder in parent.folders if not folder.num_images]
    if empty:
        raise SourceError(
            f"{parent.path} has class folders without images: {shorten(empty)}. Remove them, or add images."
        )
    return {folder.name: list(folder.walk(root)) for folder in parent.folders}


def _find_inner_source(parent: Folder) -> Folder | None:
    """The folder further down that a user probably meant, if this one is too high."""
    if any(folder.images for folder in parent.folders):
        return None
    for folder in parent.folders:
        if any(child.name.lower() in SPLIT_NAMES[TRAIN] for child in folder.folders):
            return folder
    if len(parent.folders) != 1:
        return None
    only = parent.folders[0]
    num_classes = sum(1 for child in only.folders if child.num_images)
    return _find_inner_source(only) or (only if num_classes >= 2 else None)


def _label(classes: Sequence[list[str]]) -> list[LabeledPath]:
    return [LabeledPath(path, label) for label, paths in enumerate(classes) for path in sorted(paths)]


def _label_by_name(val: Folder, names: Sequence[str], root: Path, notes: list[str]) -> list[LabeledPath]:
    labels = {name: label for label, name in enumerate(names)}
    filled = {folder.name: folder for folder in val.folders if folder.num_images}
    if not filled:
        advice = (
            "Name a list of their classes: --val-list FILE"
            if val.images
            else "Fill it, or remove it and use --val-fraction"
        )
        raise SourceError(f"{val.path} holds no class folders with images. {advice}.")
    unknown = sorted(set(filled) - set(labels))
    if unknown:
        raise SourceError(
            f"{val.path} has classes that are not among the training classes: "
            f"{shorten([suggest(name, names) for name in unknown])}. Rename, move or remove them."
        )
    without = [name for name in names if name not in filled]
    if without:
        notes.append(f"Without validation images: {counted(len(without), 'class', 'classes')} ({shorten(without)}).")
    classes = [list(filled[name].walk(root)) if name in filled else [] for name in names]
    return _label(classes)


def _explain_missing_val(root: Path, top: Folder) -> str:
    parent = root.absolute().parent
    if root.name.lower() in SPLIT_NAMES[TRAIN] and any((parent / name).is_dir() for name in SPLIT_NAMES[VAL][:3]):
        return (
            f"{root} is the training split of {parent}. Pass {parent}, or add --val-fraction 0.1 to use {root} alone."
        )
    return (
        f"{root} has {counted(len(top.folders), 'class', 'classes')} but no validation split. Add --val-fraction 0.1 "
        "to set a tenth of each class aside, or arrange the images as train/<class>/ and val/<class>/."
    )


def _explain_missing_val_folder(top: Folder, train: Folder) -> str:
    test = next((folder.name for folder in top.folders if folder.name.lower() == "test"), None)
    rename = f", or rename {test} to val if its images lie in class folders" if test else ""
    return (
        f"{top.path} has a {train.name} folder but no val folder. Add --val-fraction 0.1 to set a tenth of each class "
        f"aside{rename}."
    )


def _note_stray_images(parent: Folder, notes: list[str]) -> None:
    if parent.images:
        stray = counted(len(parent.images), "image")
        notes.append(f"Not read, since it lies in no class folder: {stray} directly in {parent.name}.")
