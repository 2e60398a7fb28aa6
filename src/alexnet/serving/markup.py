"""What was found out about pictures, as HTML: the templates in assets/ and the values that they ask for.

A picture's answer is one piece of HTML with the picture in it, so that answers cannot be mixed up.
"""

import base64
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2

from alexnet.interpretation.maps import find_scale
from alexnet.serving.answers import WHY, Answers, join_labels, tell
from alexnet.serving.examples import Example
from alexnet.serving.pictures import crop, describe_places, embed, paint_heat, paint_maps, shrink
from alexnet.serving.table import write_table
from alexnet.serving.visit import Picture, Visit
from alexnet.text.wording import counted, say_views

VIEWS = 10
"""Views that are shown of a picture."""
_THUMBNAIL_PX = 96


def read_asset(name: str) -> str:
    """Return the text of a file of the page."""
    return (resources.files("alexnet.serving") / "assets" / name).read_text(encoding="utf-8")


class Markup:
    """The parts of the page of a model."""

    def __init__(self, answers: Answers, *, takes_corrections: bool) -> None:
        self._answers, self._takes_corrections = answers, takes_corrections
        loader = jinja2.FileSystemLoader(str(resources.files("alexnet.serving") / "assets"))
        self._templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        self._templates.filters["told"] = tell
        self._templates.filters["percent"] = lambda rate: f"{100 * rate:.1f} %"

    def write_head(self, views: int) -> str:
        """Return the title, and what model answers from how many views."""
        answers = self._answers
        return self._render(
            "head.html",
            title=answers.title,
            classes=counted(len(answers.class_names), "class", "classes"),
            views=say_views(views),
            network=answers.shown.network.spec.dialect,
        )

    def write_drop(self, most: int) -> str:
        """Return the place to drop pictures on, at most so many at a time."""
        return self._render("drop.html", most=most)

    def write_examples(self, examples: Sequence[Example]) -> str:
        """Return the pictures that are offered to try."""
        shown = [
            {"number": number, "title": example.title, "image": embed(shrink(example.pixels, _THUMBNAIL_PX))}
            for number, example in enumerate(examples)
        ]
        return self._render("examples.html", examples=shown)

    def write_busy(self, pictures: Sequence[Picture]) -> str:
        """Return that pictures are looked at."""
        return self._render("busy.html", names=[picture.name for picture in pictures])

    def write_table(self, visit: Visit) -> str:
        """Return the pictures of a visitor, the newest first; nothing while there is only one."""
        done = [picture for picture in visit.pictures if picture.answer or picture.problem]
        if len(done) < 2:
            return ""
        rows = [
            {
                "picture": picture,
                "image": embed(shrink(picture.pixels, _THUMBNAIL_PX)) if picture.pixels is not None else "",
            }
            for picture in reversed(done)
        ]
        csv = base64.b64encode(write_table(done).encode()).decode("ascii")
        return self._render("table.html", rows=rows, shown=visit.shown, csv=f"data:text/csv;base64,{csv}")

    def write_result(self, picture: Picture | None) -> str:
        """Return all that is known of a picture; what is still computed says so."""
        if picture is None:
            return self._render("empty.html")
        if not picture.answer or picture.pixels is None:
            return self._render("problem.html", picture=picture)
        answers = self._answers
        center = crop(picture.pixels, answers.places(1)[0], answers.crop_px)
        return self._render(
            "result.html",
            picture=picture,
            image=embed(picture.pixels),
            image_px=answers.image_px,
            crop_px=answers.crop_px,
            center=embed(center),
            heat=embed(paint_heat(center, picture.heat)) if picture.heat is not None else "",
            chosen=answers.titles[picture.chosen],
            bright=WHY[picture.method].bright,
            methods=list(WHY),
            views=self._describe_views(picture),
            has_index=answers.index is not None,
            neighbors=self._describe_neighbors(picture),
            layers=answers.layers,
            plates=self._describe_activation(picture),
            member=answers.shown.path if answers.shown is not answers.model else "",
            takes_corrections=self._takes_corrections,
            titles=list(dict.fromkeys(answers.class_titles)),
            joined=join_labels(picture.answer),
        )

    def _describe_views(self, picture: Picture) -> dict[str, Any] | None:
        if picture.views is None or picture.pixels is None:
            return None
        answers = self._answers
        titles, places = answers.shown.class_titles, answers.places(VIEWS)
        best, overall = picture.views.argmax(1), int(picture.views.mean(0).argmax())
        each = [
            {
                "place": words,
                "image": embed(crop(picture.pixels, place, answers.crop_px)),
                "title": titles[int(label)],
                "probability": float(row[label]),
                "differs": int(label) != overall,
            }
            for words, place, label, row in zip(describe_places(places), places, best, picture.views, strict=True)
        ]
        return {
            "each": each,
            "title": titles[overall],
            "probability": float(picture.views.mean(0)[overall]),
            "agreeing": int((best == overall).sum()),
            "all": len(each),
        }

    def _describe_neighbors(self, picture: Picture) -> list[dict[str, Any]] | None:
        if picture.neighbors is None:
            return None
        described = []
        for hit in picture.neighbors:
            pixels = self._answers.read_neighbor(hit)
            described.append(
                {
                    "image": embed(shrink(pixels, 2 * _THUMBNAIL_PX)) if pixels is not None else "",
                    "title": hit.entry.title or "no class",
                    "differs": hit.entry.label is not None and hit.entry.label != join_labels(picture.answer),
                    "distance": f"{hit.distance:#.3g}".rstrip("."),
                    "path": hit.entry.path.replace("\\", "/").rpartition("/")[2],
                }
            )
        return described

    def _describe_activation(self, picture: Picture) -> dict[str, Any] | None:
        if picture.activation is None:
            return None
        values, spec = picture.activation, self._answers.shown.network.spec
        towers = 1 if picture.layer.partition(".")[0] == spec.layers[-1].name else spec.towers
        return {
            "shape": " × ".join(map(str, values.shape)),
            "what": "units" if values.ndim == 1 else "maps",
            "silent": int((values.reshape(len(values), -1) == 0).all(1).sum()),
            "count": len(values),
            "end": f"{find_scale(values)[0]:.3g}",
            "plates": [
                {"tower": "abcdefgh"[number] if towers > 1 else "", "image": embed(plate, lossless=True)}
                for number, plate in enumerate(paint_maps(values, towers))
            ],
        }

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(values)
