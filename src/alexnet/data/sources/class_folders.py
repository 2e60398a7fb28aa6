"""Class folders: train/<class>/... with val/<class>/..., or <class>/... of which a part is set aside.

The same rules hold for a folder on the disk and for the tree inside a zip or tar archive, in preparing and in testing.
Classes are those of the training split, sorted by name; validation images get their label by the name of their folder,
never by its position. A flat folder of validation images gets its labels from a list.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet.data.sources.archives import build_tree, open_archive
from alexnet.data.sources.class_tree import Depth, find_classes, find_split_folder, gather_classes, note_stray_images
from alexnet.data.sources.division import SPLIT_NAMES, note_contradictions, set_aside, set_test_aside
from alexnet.data.sources.folders import VIDEO, Accept, Folder, has_clip_suffix, has_image_suffix, scan_folder
from alexnet.data.sources.grouping import FOLDER
from alexnet.data.sources.image_names import ValList
from alexnet.data.sources.source import Files, FolderFiles, LabeledPath, Options, Record, Source
from alexnet.data.sources.titles import TITLES_FILES, find_titles, find_titles_file
from alexnet.data.store.format import TEST, TRAIN, VAL
from alexnet.errors import SourceError
from alexnet.files.writing import decode_text
from alexnet.text.class_names import parse_titles
from alexnet.text.wording import counted, shorten, suggest


def find_folders(root: Path, options: Options) -> Source:
    """The images under a folder of the disk."""
    top = scan_top(root, options.accept)
    used = [options.val_list, options.class_names_file or find_titles_file(root)]
    return _label_tree(root, "folders", FolderFiles(root), top, options, used=[path for path in used if path])


def scan_top(root: Path, accept: Accept = has_image_suffix) -> Folder:
    """The tree of files below root: of photographs, or of those whose names `accept` takes.

    Raises:
        SourceError: root may not be listed.
    """
    try:
        return scan_folder(root, accept)
    except OSError as error:
        raise SourceError(f"{root} cannot be listed ({error.strerror}). Check its permissions.") from None


def find_in_archive(root: Path, options: Options) -> Source:
    """The images of a zip or tar archive whose tree is laid out as class folders.

    Folders around the tree, as most archives have one, are passed through.
    """
    archive = open_archive(root)
    top = build_tree(archive, options.accept)
    ignored = top.ignored
    while not top.images and len(top.folders) == 1 and top.folders[0].folders and not _is_split(top.folders[0]):
        top = top.folders[0]
    top.ignored = ignored
    tables = [(top.path / name).relative_to(root).as_posix() for name in TITLES_FILES]
    table = next((name for name in tables if name in archive.names()), None)
    titles = None
    if table is not None:
        try:
            titles = f"{root}: {table}", decode_text(archive.read(table))
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{root}: {table} cannot be read as a UTF-8 text ({error}). Save it as UTF-8.") from None
        if options.class_names_file is None:
            ignored["not an image"] -= 1
    return _label_tree(root, "archive", archive, top, options, titles)


def _label_tree(
    root: Path,
    kind: str,
    files: Files,
    top: Folder,
    options: Options,
    titles: tuple[str, str] | None = None,
    used: Sequence[Path] = (),
) -> Source:
    """Labels of a tree; paths are relative to root, which lies at or above top.

    Args:
        titles: Name and text of a table of readable names that lies beside the class folders in an archive.
        used: Tables and lists that are read; those in the tree were not passed over.
    """
    _check_kind_of_pictures(top, options)
    train, val = find_split_folder(top, TRAIN), find_split_folder(top, VAL)
    if train is None and val is not None:
        raise SourceError(
            f"{top.path} has {val.name} but no train folder. Put the training images in {top.path / 'train'}/<class>/."
        )
    notes: list[str] = []
    read = [train, val]
    whole = train if train is not None else top
    is_grouped = options.grouping is not None and options.grouping.rule == FOLDER  # then inner folders are groups
    depth = options.classes_at or (1 if is_grouped else None)
    classes, depth = find_classes(whole, root, depth, notes)
    names = sorted(classes)
    if val is None:
        if options.val_fraction is None and options.val_list is None:
            raise SourceError(
                _explain_missing_val(top.path, top) if train is None else _explain_missing_val_folder(top, train)
            )
        records = [Record(path, name, None) for name in names for path in classes[name]]
        splits = dict(zip((TRAIN, VAL), set_aside(root, records, options, notes), strict=True))
        if train is not None:
            notes.insert(0, _tell_division(top, train, splits, options))
    else:
        if options.val_fraction is not None:
            raise SourceError(
                f"{top.path} has a {val.name} folder, so a validation fraction has no meaning. Leave out "
                f"--val-fraction, or pass {top.path / whole.name} to divide the training images only."
            )
        records = [Record(path, name, TRAIN) for name in names for path in classes[name]]
        splits = {TRAIN: records, VAL: []}
        if options.val_list is not None:
            splits[VAL] = _label_by_list(list(val.walk(root)), ValList(options.val_list), names)
            foldered = gather_classes(val, root, depth)
            own = {path: name for name, paths in foldered.items() for path in paths if name in classes}
            listed = {record.path: record.class_name for record in splits[VAL] if record.path in own}
            note_contradictions(options.val_list, listed, own, "the list's was taken", notes)
        else:
            splits[VAL] = _label_by_name(val, names, root, depth, notes)
            note_stray_images(val, depth, notes)
    test = find_split_folder(top, TEST) if train is not None else None
    if test is not None and set(gather_classes(test, root, depth)) & set(names):
        splits[TEST] = _label_by_name(test, names, root, depth, notes)
        read.append(test)
    if options.grouping is not None:
        options.grouping.check_apart(splits)
    splits = set_test_aside(root, splits, records, options, notes)
    note_stray_images(whole, depth, notes)
    for other in top.folders if train is not None else ():
        if other not in read and other.num_images:
            notes.append(f"{other.name} holds {counted(other.num_images, 'image')} and was not read.")
    own_titles = parse_titles(titles[1], names, where=titles[0]) if titles else None
    labels = {name: label for label, name in enumerate(names)}
    ignored = top.count_ignored()
    if videos := ignored[VIDEO]:
        notes.append(f"{counted(videos, 'video')} passed over. Clips, moving GIFs too, need --every SECONDS.")
    ignored["not an image"] -= sum(_was_passed_over(path, root) for path in used)
    return Source(
        root=root,
        kind=kind,
        files=files,
        class_names=tuple(names),
        class_titles=find_titles(root, names, options.class_names_file, notes, own_titles),
        splits={
            split: [LabeledPath(record.path, labels[record.class_name]) for record in part]
            for split, part in splits.items()
        },
        groups=options.grouping.name_groups(splits) if options.grouping else {},
        ignored=dict(sorted((+ignored).items())),
        notes=tuple(notes),
    )


def _check_kind_of_pictures(top: Folder, options: Options) -> None:
    """Refuse a tree without images that holds clips, or one without clips where clips are asked for."""
    if top.num_images:
        return
    if options.accept is has_clip_suffix:
        raise SourceError(
            f"{top.path} holds no clips. Check the path; names of clips end in .mp4, .mov, .mkv, .webm, .avi, .gif and "
            "the like. For images leave out --every."
        )
    if videos := top.count_ignored()[VIDEO]:
        raise SourceError(f"{top.path} holds no images, but {counted(videos, 'video')}. Take frames: --every 1.0.")


def _was_passed_over(path: Path, root: Path) -> bool:
    """Whether a file that was read lies where the tree counted it as no image."""
    folder = path.parent.resolve()
    return folder.is_relative_to(root.resolve()) and not path.name.startswith(".") and not has_image_suffix(path.name)


def _tell_division(top: Folder, train: Folder, splits: Mapping[str, Sequence[Record]], options: Options) -> str:
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


def _label_by_list(paths: Sequence[str], listed: ValList, names: Sequence[str]) -> list[Record]:
    """Validation images whose classes a list tells; every image must be in it, and every line must have one."""
    classes = listed.match(paths, names)
    unlisted = [path for path in sorted(paths) if path not in classes]
    if unlisted:
        raise SourceError(
            f"{listed.path} does not list {len(unlisted):,} of {counted(len(paths), 'validation image')}: "
            f"{shorten(unlisted, 3)}. Check that the list belongs to these images."
        )
    bare = [path for path in sorted(paths) if not classes[path]]
    if bare:
        raise SourceError(
            f"{listed.path} gives no class for {counted(len(bare), 'validation image')}: {shorten(bare, 3)}. Each line "
            "holds a path, a tab and the name of a class folder."
        )
    unknown = sorted(set(classes.values()) - set(names))
    if unknown:
        raise SourceError(
            f"{listed.path} names classes that are not among the training classes: "
            f"{shorten([suggest(name, names) for name in unknown])}. Labels are names of class folders, never "
            "numbers."
        )
    return [Record(path, classes[path], VAL) for path in sorted(paths)]


def _label_by_name(val: Folder, names: Sequence[str], root: Path, depth: Depth, notes: list[str]) -> list[Record]:
    filled = gather_classes(val, root, depth)
    unknown = sorted(set(filled) - set(names))
    if not filled or len(unknown) == len(filled):
        lists = _find_lists(val)
        if lists:
            raise SourceError(
                f"{val.path} holds no folders named like the training classes, but {lists[0].name}. If that tells the "
                f"classes of its images, add --val-list {lists[0]}."
            )
    if not filled:
        advice = (
            "Name a list of their classes: --val-list FILE"
            if val.images
            else "Fill it, or remove it and use --val-fraction"
        )
        raise SourceError(f"{val.path} holds no class folders with images. {advice}.")
    if unknown:
        raise SourceError(
            f"{val.path} has classes that are not among the training classes: "
            f"{shorten([suggest(name, names) for name in unknown])}. Rename, move or remove them."
        )
    without = [name for name in names if name not in filled]
    if without:
        notes.append(f"Without images in {val.name}: {counted(len(without), 'class', 'classes')} ({shorten(without)}).")
    return [Record(path, name, None) for name in names for path in filled.get(name, [])]


def _find_lists(folder: Folder) -> list[Path]:
    """Files beside images on the disk that may tell their classes, as Tiny ImageNet's val_annotations.txt does."""
    found = [path for suffix in (".txt", ".csv", ".tsv") for path in sorted(folder.path.glob(f"*{suffix}"))]
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


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
