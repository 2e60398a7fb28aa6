"""What alexnet search shows: lines, JSON and pages."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.commands import command
from alexnet.wording import counted

if TYPE_CHECKING:
    from alexnet.retrieval.index import Index
    from alexnet.retrieval.querying import Answer
    from alexnet.terminal import Terminal

THUMBNAIL_PX = 128


def new_terminal() -> "Terminal":
    """A terminal."""
    from alexnet.terminal import Terminal

    return Terminal()


def begin(threads: int | None) -> "Terminal":
    """Set threads and allocator; return a terminal."""
    from alexnet.system import set_threads, tune_allocator

    set_threads(threads)
    tune_allocator()
    return new_terminal()


def tell_changes(terminal: "Terminal", index: Path, report: Any, as_json: bool) -> None:
    """Say what an index holds now, and exit with 1 if images were left out."""
    if as_json:
        terminal.print_json(json.dumps({"index": str(index), **report._asdict()}))
    elif report.was_complete:
        terminal.print(
            f"{index} is already complete, made from these images with these options; nothing was written. Search it: "
            f"{command('search', 'query', index, 'picture.jpg')}"
        )
    else:
        words = [counted(report.images, "image")]
        words += [f"{report.added:,} added"] if report.added != report.images else []
        words += [f"{report.kept:,} there already"] if report.kept else []
        words += [f"{counted(report.replaced, 'changed file')} read again"] if report.replaced else []
        terminal.print(f"{index}: {', '.join(words)}. Search it: {command('search', 'query', index, 'picture.jpg')}")
    for reason in report.left_out:
        terminal.show_error("Left out", reason)
    if report.left_out:
        sys.exit(1)


def shown(entry: Any) -> str:
    """Path of an image as messages show it."""
    from alexnet.retrieval.images import show_path

    return show_path(entry)


def entry_json(entry: Any) -> dict[str, Any]:
    """What is known of an image, for programs."""
    return {"id": entry.id, "path": shown(entry), "class": entry.label, "title": entry.title, "split": entry.split}


def answers_json(index: Path, k: int, answers: "list[Answer]", left_out: list[str]) -> dict[str, Any]:
    """Answers for programs."""
    queries = [
        {
            "query": each.query,
            "neighbours": [
                {"distance": hit.distance, **entry_json(hit.entry), "problem": hit.problem} for hit in each.hits
            ],
        }
        for each in answers
    ]
    return {"index": str(index), "k": k, "queries": queries, "left_out": left_out}


def show_answers(terminal: "Terminal", answers: "list[Answer]", index: Path) -> None:
    """Print answers for people."""
    changed = False
    for each in answers:
        terminal.print(each.query)
        for place, hit in enumerate(each.hits, start=1):
            words = [hit.entry.title, shown(hit.entry), f"({hit.problem})" if hit.problem else None]
            terminal.print(f"{place:>4}  {hit.distance:>9.4g}  {'  '.join(word for word in words if word)}")
            changed = changed or hit.problem is not None
    if changed:
        terminal.say(
            "Some images are not what was indexed. Index them again: "
            f"{command('search', 'add', index, 'IMAGES')}; or remove them: "
            f"{command('search', 'remove', index, missing=True)}"
        )


def _thumbnails(index: "Index") -> Callable[[Any], bytes | None]:
    import io

    from PIL import Image

    from alexnet.retrieval.images import Originals

    originals = Originals(index)

    def draw(entry: Any) -> bytes | None:
        pixels = originals.read(entry, THUMBNAIL_PX)
        if pixels is None:
            return None
        image = Image.fromarray(pixels)
        if image.size != (THUMBNAIL_PX, THUMBNAIL_PX):
            image = image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    return draw


def write_answers(index: "Index", answers: "list[Answer]", path: Path) -> None:
    """Write a page of queries and their neighbours."""
    import io

    from PIL import Image

    from alexnet.data.decode import open_image
    from alexnet.interpretation.page import write_picture_rows

    draw = _thumbnails(index)
    rows = []
    for each in answers:
        buffer = io.BytesIO()
        Image.fromarray(open_image(each.query, size=THUMBNAIL_PX)).save(buffer, "JPEG", quality=85)
        pictures: list[tuple[bytes | None, str]] = [(buffer.getvalue(), "query")]
        for hit in each.hits:
            words = [f"{hit.distance:.4g}", hit.entry.title or "", Path(hit.entry.path).name, hit.problem or ""]
            pictures.append((draw(hit.entry), " · ".join(filter(None, words))))
        rows.append((each.query, pictures))
    lead = f"Among {counted(len(index), 'image')} of {index.path.name}, by distance of {index.layer}; nearest first."
    write_picture_rows(path, kicker="AlexNet search", title="Nearest images", lead=lead, rows=rows)


def write_groups(index: "Index", groups: Any, path: Path) -> None:
    """Write a page of near-identical images."""
    from alexnet.interpretation.page import write_picture_rows

    draw = _thumbnails(index)
    rows = []
    for group in groups:
        notes = [
            *(["across splits"] if group.across_splits else []),
            *(["across classes"] if group.across_classes else []),
        ]
        heading = " · ".join([f"distance {group.distance:.4g}, {group.closeness:.2f} of that to others", *notes])
        entries = [index.entry(row) for row in group.rows]
        words = [" · ".join(filter(None, [entry.split, entry.title, Path(entry.path).name])) for entry in entries]
        rows.append((heading, [(draw(entry), each) for entry, each in zip(entries, words, strict=True)]))
    lead = f"{counted(len(groups), 'group')} among {counted(len(index), 'image')} of {index.path.name}."
    write_picture_rows(path, kicker="AlexNet search", title="Near-identical images", lead=lead, rows=rows)


def show_comparison(terminal: "Terminal", result: Any) -> None:
    """Print a comparison for people."""
    from alexnet.retrieval.comparison import K

    ranks = [r for r in (6, 100, 500) if r in result.results[0].recall]
    depths = [k for k in (6, 100) if k in result.results[0].precision]
    terminal.table(
        ["codes", "bits", *(f"recall, {r} again" for r in ranks), *(f"class, {k} nearest" for k in depths)],
        [
            [
                each.method,
                str(each.bits or "–"),
                *(f"{100 * each.recall[r]:.1f} %" for r in ranks),
                *(f"{100 * each.precision[k]:.1f} %" for k in depths),
            ]
            for each in result.results
        ],
        title=f"{counted(result.queries, 'query', 'queries')} ({result.held_out}) among {result.database:,}; recall of "
        f"the {K} nearest",
    )
