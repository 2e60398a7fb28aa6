"""A store as WebDataset shards, which other trainers read: tar files of pictures with their classes.

Written for programs that know nothing of this one: `KEY.jpg` or `KEY.png`, `KEY.cls` with the number of the class, and
`KEY.json` with its name and the path of the picture in its source. The same store gives the same bytes.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alexnet.data.images.encoding import encode_image
from alexnet.data.store.jpeg import JpegImages
from alexnet.data.store.reader import Split, Store
from alexnet.errors import ConfigError
from alexnet.files.writing import name_in_errors, stand_in, sync_folder
from alexnet.text.names import escape_name
from alexnet.text.progress import Tick, untold

SHARD_BYTES = 2**28
"""A shard ends with the picture that makes it longer than this."""


class Shards(NamedTuple):
    """What was written."""

    path: Path
    images: int
    shards: int
    bytes: int


def write_shards(store: Store, out: Path, *, shard_bytes: int = SHARD_BYTES, tick: Tick = untold) -> Shards:
    """Write the splits of a store as SPLIT-00000.tar and so on into a new folder, which appears whole or not at all.

    The pictures of a store with codec jpeg are its own bytes, and those of a raw one are PNG: no pixel changes.

    Raises:
        ConfigError: `out` exists, or a picture may have any number of classes, for which there is no .cls.
    """
    if out.exists():
        raise ConfigError(f"--out {out}: exists. Choose another, or delete it.")
    if store.has_sets:
        raise ConfigError(
            f"{store.path} holds any number of classes for a picture, and KEY.cls of WebDataset one. Prepare the "
            "images with one label each."
        )
    unfinished = stand_in(out)
    done, shards, total = 0, 0, sum(map(len, store.splits.values()))
    with name_in_errors(out):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            for name, split in store.splits.items():
                members = _examples(store, name, split)
                for number in range(len(split)):
                    path = unfinished / f"{name}-{number:05d}.tar"
                    if not (written := _write_shard(path, members, shard_bytes)):
                        path.unlink()
                        break
                    shards, done = shards + 1, done + written
                    tick(done, total)
            num_bytes = sum(path.stat().st_size for path in unfinished.iterdir())
            unfinished.rename(out)
            sync_folder(out.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Shards(out, done, shards, num_bytes)


def _examples(store: Store, name: str, split: Split) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the members of each picture of a split: their names and bytes."""
    images, labels, paths = split.images, split.labels.tolist(), split.paths
    for number, label in enumerate(labels):
        key = f"{name}-{number:08d}"
        picture = (
            (f"{key}.jpg", images.read_encoded(number))
            if isinstance(images, JpegImages)
            else (f"{key}.png", encode_image(images[number], "PNG", compress_level=1))
        )
        record = {
            "label": label,
            "class_name": store.class_names[label],
            "class_title": store.class_titles[label],
            "path": escape_name(paths[number]),
            **({} if split.groups is None else {"group": escape_name(split.groups[number])}),
        }
        yield [picture, (f"{key}.cls", str(label).encode()), (f"{key}.json", json.dumps(record).encode())]


def _write_shard(path: Path, examples: Iterator[list[tuple[str, bytes]]], most_bytes: int) -> int:
    """Write examples until the file is long enough or there are no more; return how many."""
    written = 0
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        while file.tell() < most_bytes and (members := next(examples, None)):
            for name, data in members:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            written += 1
    return written
