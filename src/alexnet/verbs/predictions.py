"""How predictions look on the terminal, and as JSON."""

from pathlib import Path
from typing import Any

from alexnet.console.terminal import Terminal, percent
from alexnet.data.video.clip import say_odd
from alexnet.evaluation.clips import ClipPrediction
from alexnet.evaluation.prediction import Prediction, Predictor, describe_distance, describe_labels
from alexnet.network.confidence import UNKNOWN
from alexnet.network.independent import NO_CLASS
from alexnet.text.names import escape_name
from alexnet.text.wording import counted, say_moment, say_views
from alexnet.verbs.ending import tell_odd


class Printer:
    """Prints each prediction when it is there, or keeps all for one JSON document."""

    def __init__(
        self, terminal: Terminal, predictor: Predictor, *, views: int, top: int | None, one_line: bool, as_json: bool
    ) -> None:
        self._terminal, self._views, self._top, self._one_line = terminal, views, top, one_line
        self._titles = dict(zip(predictor.class_names, map(escape_name, predictor.class_titles), strict=True))
        self._best_k = top or (1 if one_line else 5)
        self._most = predictor.rejection.threshold(views) if predictor.rejection else None
        self._documents: dict[str, list[dict[str, Any]]] | None = {"images": [], "clips": []} if as_json else None

    def show_image(self, prediction: Prediction) -> None:
        """Show the classes of an image."""
        if self._documents is not None:
            self._documents["images"].append(self._describe(prediction))
        elif self._one_line:
            self._print_line(prediction)
        else:
            self._terminal.print(escape_name(prediction.source))
            self._print_classes(prediction)

    def show_clip(self, clip: ClipPrediction, every_s: float) -> None:
        """Show the classes of a clip, and when the best one changes."""
        tell_odd(self._terminal, [say_odd(clip.mean.source, oddity) for oddity in clip.oddities])
        if self._documents is not None:
            self._documents["clips"].append(self._describe_clip(clip, every_s))
        elif self._one_line:
            self._print_line(clip.mean)
        else:
            self._terminal.print(
                f"{escape_name(clip.mean.source)}, {counted(len(clip.frames), 'frame')}, one every {every_s:g} s"
            )
            self._print_classes(clip.mean)
            rows = [
                [say_moment(each.start_s), say_moment(each.end_s), self._title(each.name), percent(each.probability)]
                for each in clip.moments
            ]
            self._terminal.table(["from", "to", "best class", "probability"], rows)

    def finish(self, model: Path, left_out: list[str], *, calibrated: bool, total: int) -> None:
        """Print the JSON document, or how pictures were seen."""
        if self._documents is not None:
            head = {"model": escape_name(str(model)), "views": self._views, "calibrated": calibrated}
            threshold = {} if self._most is None else {"threshold": self._most}
            clips = {"clips": self._documents["clips"]} if self._documents["clips"] else {}
            images = {"images": self._documents["images"]}
            self._terminal.print_json({**head, **threshold, **images, **clips, "left_out": left_out})
        elif len(left_out) < total:
            self._terminal.say(f"Each picture was seen in {say_views(self._views)} (--views {self._views}).")

    def _title(self, name: str) -> str:
        return self._titles.get(name, name)

    def _list_best(self, prediction: Prediction) -> list[dict[str, Any]]:
        return [
            {"name": escape_name(name), "title": self._titles[name], "probability": probability}
            for name, probability in prediction.top(self._best_k)
        ]

    def _describe(self, prediction: Prediction) -> dict[str, Any]:
        labels = describe_labels(prediction, self._titles)
        path = {"path": escape_name(prediction.source)}
        return {**path, **describe_distance(prediction), **labels, "top": self._list_best(prediction)}

    def _describe_clip(self, clip: ClipPrediction, every_s: float) -> dict[str, Any]:
        return {
            **self._describe(clip.mean),
            "every": every_s,
            "oddities": list(clip.oddities),
            "moments": [
                {
                    "start": each.start_s,
                    "end": each.end_s,
                    "name": escape_name(each.name),
                    "title": self._title(each.name),
                    "probability": each.probability,
                }
                for each in clip.moments
            ],
            "frames": [
                {"time": float(time_s), **describe_distance(frame), "top": self._list_best(frame)}
                for time_s, frame in zip(clip.times_s, clip.frames, strict=True)
            ],
        }

    def _print_line(self, prediction: Prediction) -> None:
        by_threshold = prediction.thresholds is not None and self._top is None
        listed = prediction.found if by_threshold else prediction.top(self._best_k)
        cells = [f"{self._titles[name]}\t{probability:.4f}" for name, probability in listed] or [NO_CLASS]
        if prediction.is_unknown:
            cells = [f"{UNKNOWN}\t{prediction.distance:.4f}"]
        self._terminal.print("\t".join([escape_name(prediction.source), *cells]))

    def _print_classes(self, prediction: Prediction) -> None:
        if prediction.is_unknown:
            self._terminal.print(
                f"  {UNKNOWN}: its distance is {prediction.distance:.4f}, accepted are up to {self._most:.4f}"
            )
        listed = prediction.top(self._best_k)
        if prediction.thresholds is not None:
            listed = prediction.found if self._top is None else listed
            if not prediction.found:
                self._terminal.print(f"  {NO_CLASS} of the classes is at or above its threshold")
        for name, probability in listed:
            bar = "█" * round(20 * probability)
            self._terminal.print(f"  {percent(probability):>9}  {bar:<20}  {self._titles[name]}")
