"""What alexnet search shows: lines, JSON and pages."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.text.commands import command
from alexnet.text.names import escape_name
from alexnet.text.wording import counted
from alexnet.verbs.ending import tell_left_out, tell_odd
from alexnet.verbs.options import Place

if TYPE_CHECKING:
    from alexnet.console.terminal import Terminal
    from alexnet.retrieval.index.reader import Index
    from alexnet.retrieval.querying import Answer

THUMBNAIL_PX = 128
PICTURED_GROUPS = 500
"""Groups of near-identical images that a page shows, at most."""
PICTURED_IMAGES = 24
"""Images of a group that it shows, at most."""


def new_terminal() -> "Terminal":
    """A terminal."""
    from alexnet.console.terminal import Terminal

    return Terminal()


def tell_changes(terminal: "Terminal", index: Place, report: Any, as_json: bool) -> None:
    """Say what an index holds now, and exit with 1 if images were left out."""
    if as_json:
        terminal.print_json({"index": escape_name(str(index)), **report._asdict()})
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
    tell_odd(terminal, report.odd)
    tell_left_out(terminal, report.left_out)


def shown(entry: Any) -> str:
    """Path of an image as it is written."""
    return escape_name(entry.path)


def titled(entry: Any) -> str | None:
    """Readable name of an image's class as it is written; None where its class is not known."""
    return None if entry.title is None else escape_name(entry.title)


def entry_json(entry: Any) -> dict[str, Any]:
    """What is known of an image, for programs."""
    label = None if entry.label is None else escape_name(entry.label)
    return {"id": entry.id, "path": shown(entry), "class": label, "title": titled(entry), "split": entry.split}


def answers_json(index: Path, k: int, answers: "list[Answer]", left_out: list[str]) -> dict[str, Any]:
    """Answers for programs."""
    queries = [
        {
            "query": escape_name(each.query),
            "class": None if each.label is None else escape_name(each.label),
            "neighbours": [
                {"distance": hit.distance, **entry_json(hit.entry), "problem": hit.problem} for hit in each.hits
            ],
        }
        for each in answers
    ]
    return {"index": escape_name(str(index)), "k": k, "queries": queries, "left_out": left_out}


def show_answers(terminal: "Terminal", answers: "list[Answer]", index: Path) -> None:
    """Print answers for people."""
    changed = False
    for each in answers:
        terminal.print(escape_name(each.query))
        for place, hit in enumerate(each.hits, start=1):
            words = [titled(hit.entry), shown(hit.entry), f"({hit.problem})" if hit.problem else None]
            terminal.print(f"{place:>4}  {hit.distance:>9.4g}  {'  '.join(word for word in words if word)}")
            changed = changed or hit.problem is not None
    if changed:
        terminal.say(
            "Some images are not what was indexed. Index them again: "
            f"{command('search', 'add', index, 'IMAGES')}; or remove them: "
            f"{command('search', 'remove', index, missing=True)}"
        )


def _thumbnails(index: "Index") -> Callable[[Any], bytes | None]:
    import numpy as np
    from PIL import Image

    from alexnet.data.images.jpeg import encode_jpeg
    from alexnet.retrieval.index.images import Originals

    originals = Originals(index)

    def draw(entry: Any) -> bytes | None:
        pixels = originals.read(entry, THUMBNAIL_PX)
        if pixels is None:
            return None
        image = Image.fromarray(pixels)
        if image.size != (THUMBNAIL_PX, THUMBNAIL_PX):
            image = image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        return encode_jpeg(np.asarray(image), 85)

    return draw


def write_answers(index: "Index", answers: "list[Answer]", path: Path) -> None:
    """Write a page of queries and their neighbours."""
    from alexnet.data.images.decode import open_image
    from alexnet.data.images.jpeg import encode_jpeg
    from alexnet.interpretation.page import Thumbnail
    from alexnet.pages.writing import write_page

    draw = _thumbnails(index)
    rows = []
    any_differs = False
    for each in answers:
        asked = encode_jpeg(open_image(each.query, size=THUMBNAIL_PX), 85)
        own = None if each.label is None else index.title_of(each.label)
        pictures = [Thumbnail(asked, " · ".join(["query", *([escape_name(own)] if own else [])]))]
        for hit in each.hits:
            words = [
                f"{hit.distance:.4g}",
                titled(hit.entry) or "",
                escape_name(Path(hit.entry.path).name),
                hit.problem or "",
            ]
            differs = None not in (each.label, hit.entry.label) and hit.entry.label != each.label
            any_differs = any_differs or differs
            pictures.append(Thumbnail(draw(hit.entry), " · ".join(filter(None, words)), differs))
        rows.append((escape_name(each.query), pictures))
    lead = f"Among {counted(len(index), 'image')} of {index.path.name}, by distance of {index.layer}; nearest first."
    lead += " Red: of another class than the query." if any_differs else ""
    write_page(path, "pictures.html", kicker="AlexNet search", title="Nearest images", lead=lead, rows=rows)


def write_groups(index: "Index", groups: Any, path: Path) -> None:
    """Write a page of near-identical images."""
    from alexnet.interpretation.page import Thumbnail
    from alexnet.pages.writing import write_page

    draw = _thumbnails(index)
    rows = []
    for group in groups[:PICTURED_GROUPS]:
        notes = [
            *(["across splits"] if group.across_splits else []),
            *(["across classes"] if group.across_classes else []),
        ]
        if len(group.rows) > PICTURED_IMAGES:
            notes.append(f"the first {PICTURED_IMAGES} of {len(group.rows):,}")
        heading = " · ".join([f"distance {group.distance:.4g}, {group.closeness:.2f} of that to others", *notes])
        entries = [index.entry(row) for row in group.rows[:PICTURED_IMAGES]]
        words = [
            " · ".join(filter(None, [entry.split, titled(entry), escape_name(Path(entry.path).name)]))
            for entry in entries
        ]
        rows.append((heading, [Thumbnail(draw(entry), each) for entry, each in zip(entries, words, strict=True)]))
    lead = f"{counted(len(groups), 'group')} among {counted(len(index), 'image')} of {index.path.name}."
    lead += f" The first {PICTURED_GROUPS} are here; --json has all." if len(groups) > PICTURED_GROUPS else ""
    write_page(path, "pictures.html", kicker="AlexNet search", title="Near-identical images", lead=lead, rows=rows)


def show_comparison(terminal: "Terminal", result: Any) -> None:
    """Print a comparison for people."""
    from alexnet.retrieval.codes.comparison import K

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
        f"the {K} nearest. Equally far images share what room there is.",
    )
