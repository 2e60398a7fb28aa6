"""The report as one HTML file: no scripts, nothing loaded from elsewhere, readable in light and dark.

Everything written here is escaped. What is in the report is decided in report.py.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.console.terminal import duration, percent
from alexnet.evaluation.evaluate import Evaluation
from alexnet.files.writing import write_text
from alexnet.interpretation.drawing import MARGIN_IN, SCREEN_DPI, THEMES, WIDTH_IN, Theme, Themed, Value, printable
from alexnet.text.names import escape_controls
from alexnet.text.wording import counted
from alexnet.version import __version__

MOST_ROWS = 1000
"""A figure with more numbers than this has them in its CSV file only."""
NOT_TESTED = "Not tested: no images were set aside for testing."
VIEWS = {1: "centre view", 10: "ten views"}


def write_report(
    path: Path,
    *,
    title: str,
    recipe_name: str,
    history: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Evaluation],
    drawings: Sequence[Themed],
    facts: Sequence[tuple[str, str]],
    commands: Sequence[str],
    trained_on: str = "",
    environment: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a report; it appears whole or not at all.

    Args:
        history: Rows of the run, one per epoch.
        evaluations: Tests on the same images; the one with most views makes the headline. May be empty.
        drawings: In the order of the page.
        facts: Names and values of a table.
        commands: What to type to get the same again.
        trained_on: A sentence about the images.
        environment: What the run wrote down about its machine and libraries.
    """
    epochs = counted(len(history), "epoch")
    seconds = sum(float(row.get("seconds_with_validation") or row.get("seconds") or 0) for row in history)
    lead = f"Recipe {recipe_name}, {epochs} in {duration(seconds)}. {trained_on}"
    body = [
        f'<p class="kicker">AlexNet report</p><h1>{_text(title)}</h1><p class="lead">{_text(lead)}</p>',
        _headline(evaluations),
        *([_section("Errors", _errors(evaluations))] if evaluations else []),
        *(_section(pair.light.title, _figure(pair)) for pair in drawings),
        _section("Facts", _table((), facts, kind="facts") + _environment(environment)) if facts else "",
        _section("The same again", f"<pre><code>{_lines(commands)}</code></pre>") if commands else "",
        f"<footer>Written by alexnet {_text(__version__)}.</footer>",
    ]
    best = _best(evaluations)
    page = _PAGE.format(
        title=_text(title),
        description=_text(headline(best) if best else NOT_TESTED),
        style=_style(),
        body="\n".join(filter(None, body)),
    )
    write_text(path, page)


_AGAINST = ("Model", "Points", "95 % interval", "Wrong here alone", "Wrong in the first alone", "McNemar p")


def write_test_report(
    path: Path,
    *,
    title: str,
    lead: str,
    evaluation: Evaluation,
    models: Sequence[Sequence[str]],
    head: Sequence[str],
    differences: Sequence[Sequence[str]],
    notes: Sequence[str],
    drawings: Sequence[Themed],
    classes: Sequence[Sequence[str]],
    commands: Sequence[str],
) -> None:
    """Write the report of a test; it appears whole or not at all.

    Args:
        title: Name of the model that makes the headline, and that figures and classes are of.
        evaluation: Of this model.
        models, head: A table with a row for each model.
        differences: A row for each model but the first: points, interval, images that only one gets wrong, p-value.
        notes: What the reader should know before believing it.
        drawings: In the order of the page.
        classes: Rows of class, images, error and interval.
        commands: What to type to get the same again.
    """
    warned = "".join(f"<p>{_text(note)}</p>" for note in notes)
    body = [
        f'<p class="kicker">AlexNet test</p><h1>{_text(title)}</h1><p class="lead">{_text(lead)}</p>',
        _headline([evaluation]),
        _section("To note", warned) if notes else "",
        _section("Errors", _table(head, models)),
        _section(f"Top-1 error against {models[0][0]}, image by image", _table(_AGAINST, differences))
        if differences
        else "",
        *(_section(pair.light.title, _figure(pair)) for pair in drawings),
        _section(
            f"Classes ({title})" if len(models) > 1 else "Classes",
            _table(("Class", "Images", "Top-1 error", "95 % interval"), classes),
        ),
        _section("The same again", f"<pre><code>{_lines(commands)}</code></pre>"),
        f"<footer>Written by alexnet {_text(__version__)}.</footer>",
    ]
    page = _PAGE.format(
        title=_text(title), description=_text(headline(evaluation)), style=_style(), body="\n".join(filter(None, body))
    )
    write_text(path, page)


class Thumbnail(NamedTuple):
    """A picture in a row of them."""

    data: bytes | None
    """JPEG; None where there is none to show."""
    caption: str
    differs: bool = False
    """Whether its caption is red: it is not what was looked for."""


def write_picture_rows(
    path: Path, *, kicker: str, title: str, lead: str, rows: Sequence[tuple[str, Sequence[Thumbnail]]]
) -> None:
    """Write a page of rows of thumbnails; it appears whole or not at all.

    Args:
        rows: A heading and its pictures.
    """
    body = [f'<p class="kicker">{_text(kicker)}</p><h1>{_text(title)}</h1><p class="lead">{_text(lead)}</p>']
    for heading, pictures in rows:
        shown = "".join(
            f"<figure{' class=differs' if each.differs else ''}>{_thumbnail(each.data)}"
            f"<figcaption>{_text(each.caption)}</figcaption></figure>"
            for each in pictures
        )
        body.append(f'<section class="row"><h3>{_text(heading)}</h3><div class="strip">{shown}</div></section>')
    body.append(f"<footer>Written by alexnet {_text(__version__)}.</footer>")
    write_text(path, _PAGE.format(title=_text(title), description=_text(lead), style=_style(), body="\n".join(body)))


def _thumbnail(data: bytes | None) -> str:
    if data is None:
        return '<div class="gone">not there any more</div>'
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}">'


def headline(evaluation: Evaluation) -> str:
    """Return the result of a test in one line of plain text."""
    return (
        f"Top-1 error {_percent(evaluation.top1_error)} (95 % interval {_interval(evaluation.top1_interval)}), "
        f"{counted(evaluation.images, 'image')}, {_views(evaluation)}"
    )


def _headline(evaluations: Sequence[Evaluation]) -> str:
    best = _best(evaluations)
    if best is None:
        return f'<p class="result"><span>{_text(NOT_TESTED)}</span></p>'
    meaning = f"Of 100 images like these, about {100 * best.top1_error:.0f} get a wrong first answer."
    if best.class_names:
        guessing = _percent(1 - 1 / len(best.class_names))
        meaning += (
            f" Guessing among {counted(len(best.class_names), 'class', 'classes')} would be wrong for {guessing}."
        )
    return (
        f'<p class="result"><strong>{_percent(best.top1_error)}</strong> <span><b>{_text(headline(best))}</b>'
        f"<br>{_text(meaning)}</span></p>"
    )


def _best(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    return max(evaluations, key=lambda evaluation: evaluation.num_views, default=None)


def _errors(evaluations: Sequence[Evaluation]) -> str:
    k = evaluations[0].k
    rows = [
        (
            _views(evaluation).capitalize(),
            percent(evaluation.top1_error),
            _interval(evaluation.top1_interval),
            *([percent(evaluation.topk_error), _interval(evaluation.topk_interval)] if k > 1 else []),
            f"{evaluation.cross_entropy:.4f}",
        )
        for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.num_views)
    ]
    meaning = f" Top-{k} counts an image as wrong if its class is not among the {k} most probable." if k > 1 else ""
    note = (
        f"{counted(evaluations[0].images, 'image')}, each counted once.{meaning} The interval says how far chance in "
        "the choice of images reaches."
    )
    if len(evaluations) > 1:
        note += (
            " Ten views are the four corners and the centre, and their mirror images; their probabilities are averaged."
        )
    of_k = [f"Top-{k} error", "95 % interval"] if k > 1 else []
    head = ("", "Top-1 error", "95 % interval", *of_k, "Cross-entropy")
    return f"{_table(head, rows)}<p>{_text(note)}</p>"


def _figure(pair: Themed) -> str:
    drawing = pair.light
    light, dark = (
        f"data:image/webp;base64,{base64.b64encode(drawing.render('webp')).decode('ascii')}" for drawing in pair
    )
    width = round(SCREEN_DPI * (drawing.figure.get_size_inches()[0] + 2 * MARGIN_IN))
    picture = (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{_text(drawing.title)}" width="{width}"></picture>'
    )
    caption = f"<figcaption>{_text(drawing.caption)}</figcaption>"
    return f'<figure><div class="wide">{picture}</div>{caption}</figure>{_numbers(drawing.numbers)}'


def _environment(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return f"<details><summary>The whole environment</summary>{_table((), rows, kind='facts')}</details>"


def _numbers(columns: Mapping[str, Sequence[Value]]) -> str:
    rows = list(zip(*columns.values(), strict=True))
    if not 0 < len(rows) <= MOST_ROWS:
        return ""
    shown = [[_value(name, value) for name, value in zip(columns, row, strict=True)] for row in rows]
    head = [re.sub(r"top(\d)", r"top-\1", name.replace("_", " ")) for name in columns]
    kind = "words" if any(isinstance(value, str) for row in rows for value in row[1:]) else "numbers"
    return f"<details><summary>The numbers</summary>{_table(head, shown, kind=kind)}</details>"


def _value(column: str, value: Value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        is_rate = column.endswith("error") or column in ("lower", "upper", "probability")
        return percent(value) if is_rate else f"{value:.4g}"
    return str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "numbers") -> str:
    titles = "".join(f"<th>{_text(title)}</th>" for title in head)
    lines = ""
    for first, *others in rows:
        lines += f"<tr><th>{_text(first)}</th>{''.join(f'<td>{_text(cell)}</td>' for cell in others)}</tr>"
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{lines}</tbody></table></div>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{content}</section>"


def _lines(commands: Sequence[str]) -> str:
    # Not printable(): it would join spaces, which matter inside a quoted path.
    return "\n".join(escape(escape_controls(command)) for command in commands)


def _text(text: str) -> str:
    return escape(printable(text)).replace(" %", "&nbsp;%")


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f} %"


def _views(evaluation: Evaluation) -> str:
    return VIEWS.get(evaluation.num_views, counted(evaluation.num_views, "view"))


def _style() -> str:
    def colors(theme: Theme) -> str:
        named = {name: color for name, color in asdict(theme).items() if isinstance(color, str)}
        return "".join(f"--{name.replace('_', '-')}:{color};" for name, color in named.items())

    light, dark = (colors(THEMES[name]) for name in ("light", "dark"))
    return (
        f":root{{color-scheme:light dark;{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        + _STYLE.replace("COLUMN", f"{WIDTH_IN * SCREEN_DPI:.0f}px").replace(
            "MARGIN", f"{MARGIN_IN * SCREEN_DPI:.0f}px"
        )
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="{description}">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""

_STYLE = """
*{box-sizing:border-box}
body{margin:0 auto;padding:4rem 1.5rem 3rem;max-width:calc(COLUMN + 3rem);background:var(--background);color:var(--ink);
  font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;-webkit-text-size-adjust:100%}
h1{margin:.1em 0 .3em;font-size:2.1rem;line-height:1.2;letter-spacing:-.015em;overflow-wrap:anywhere}
h2{margin:0 0 1rem;font-size:1.3rem;letter-spacing:-.005em}
p{max-width:44rem;margin:.8rem 0}
.kicker{margin:0;color:var(--muted);font-size:.85rem;font-weight:600;letter-spacing:.08em;text-transform:uppercase}
.lead{margin:0;color:var(--muted);font-size:1.1rem;overflow-wrap:anywhere}
.result{display:flex;align-items:center;gap:.8rem 2rem;flex-wrap:wrap;max-width:none;margin:2.2rem 0 0;
  padding:1.4rem 1.8rem;background:var(--raised);border-radius:.8rem}
.result strong{font-size:3.4rem;line-height:1;letter-spacing:-.03em;white-space:nowrap}
.result b{font-weight:600}
.result span{flex:1 1 20rem}
section{margin-top:3.5rem}
figure{margin:0}
figure .wide{margin:-.4rem calc(-1*MARGIN) 0}
img{display:block;height:auto;max-width:100%}
figcaption{max-width:44rem;margin-top:.6rem;color:var(--muted)}
.wide{overflow-x:auto;scrollbar-width:thin;
  background:linear-gradient(to right,var(--background) 40%,transparent) 0 0/3rem 100% no-repeat local,
  linear-gradient(to left,var(--background) 40%,transparent) 100% 0/3rem 100% no-repeat local,
  linear-gradient(to right,rgba(128,128,128,.45),transparent) 0 0/.6rem 100% no-repeat scroll,
  linear-gradient(to left,rgba(128,128,128,.45),transparent) 100% 0/.6rem 100% no-repeat scroll}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.95rem}
th,td{padding:.42rem 1.6rem .42rem 0;border-bottom:1px solid var(--rule);text-align:right;vertical-align:baseline}
th:first-child,td:first-child{text-align:left}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--muted);font-size:.85rem;font-weight:600;white-space:nowrap}
tbody th{font-weight:500}
.words th,.words td,.facts td{text-align:left}
.facts td{overflow-wrap:anywhere}
.facts th{color:var(--muted);white-space:nowrap}
details{margin-top:1rem}
details .wide{max-height:30rem;overflow-y:auto}
summary{cursor:pointer;color:var(--muted);width:max-content}
summary:hover,summary:focus-visible{color:var(--ink)}
details table{margin-top:.6rem;font-size:.85rem}
pre{margin:0;padding:1.1rem 1.4rem;white-space:pre-wrap;overflow-wrap:anywhere;
  background:var(--raised);border-radius:.8rem;
  font:.9rem/1.7 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font:inherit}
.row{margin-top:2rem;border-top:1px solid var(--rule);padding-top:1rem}
h3{margin:0 0 .8rem;font-size:1rem;overflow-wrap:anywhere}
.strip{display:flex;flex-wrap:wrap;gap:1rem}
.strip figure{width:8rem}
.strip img{width:8rem;border-radius:.3rem}
.strip .differs figcaption{color:var(--wrong)}
.strip figcaption{font-size:.8rem;line-height:1.35;overflow-wrap:anywhere;margin-top:.3rem}
.gone{width:8rem;height:8rem;display:grid;place-items:center;text-align:center;background:var(--raised);color:var(--muted);font-size:.8rem}
footer{margin-top:4rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--muted);font-size:.85rem}
@media (max-width:40rem){body{padding-top:2rem}.result strong{font-size:2.6rem}figure .wide img{min-width:42rem}
  figure .wide::after{content:"Wider than the screen: scroll it sideways →";position:sticky;left:MARGIN;
  display:block;width:max-content;max-width:calc(100vw - 3rem);color:var(--muted);font-size:.85rem}}
@media print{body{padding:0}details{display:none}section{break-inside:avoid}}
"""
