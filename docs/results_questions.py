"""What people ask of a classifier, measured: one table for docs/results.md, from benchmarks/records."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

RECORDS = Path(__file__).parents[1] / "benchmarks" / "records"


def question_rows() -> list[list[str]]:
    """Return rows of question, data, what is measured, and its mean with the standard deviation over the seeds."""
    unequal = json.loads(_newest("unequal-classes").read_text(encoding="utf-8"))
    rows = [
        ["unequal classes", "Imagenette, 400 to 20 images", f"error, {variant}", _percent([one["all"] for one in runs])]
        for variant, runs in unequal.items()
        if variant in ("as they are", "balance=classes", "class_weights=classes")
    ]
    for name, data in (("unknown-scenes", "drawn scenes"), ("unknown-imagenette", "Imagenette")):
        lines = _read(name)
        rows.append(["none of these", data, "error on its own images", _percent([each["error"] for each in lines[0]])])
        for score in ("nearest training image, cosine", "largest probability"):
            [found] = [each for each in lines if each[0]["what"].startswith(f"{score} : other photographs")]
            what = f"AUROC against other photographs, {score}"
            rows.append(["none of these", data, what, _show([each["auroc"] for each in found], ".3f")])
    for heat in ("occlusion", "gradient", "cam"):
        [found] = [each for each in _read("heat") if each[0]["what"] == f"{heat} : trained"]
        for name, words in (("share_inside", "share inside"), ("deletion_area", "deletion area")):
            means = [mean(map(float, each["samples"][name])) for each in found]
            rows.append(["which heat map", "drawn scenes", f"{words}, {heat}", _show(means)])
    for line in _newest("wrong-labels").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        [found] = [v for k, v in record["samples"].items() if k.startswith("pruned") and k.endswith("first 5%")]
        data = {"demo": "drawn scenes"}.get(record["images"], record["images"])
        rows.append(["wrong labels", data, "precision and recall of the first 5 %", _percent(found)])
    return rows


def _newest(what: str) -> Path:
    return max(RECORDS.glob(f"*_{what}_*.json*"))


def _read(what: str) -> list[list[dict[str, Any]]]:
    """Return the rows of a record, those of one name together: a row for each run."""
    named: dict[str, list[dict[str, Any]]] = {}
    for line in _newest(what).read_text(encoding="utf-8").splitlines()[1:]:
        row = json.loads(line)
        named.setdefault(row["what"], []).append(row)
    return list(named.values())


def _show(values: Sequence[float], form: str = ".2f") -> str:
    spread = f" ({stdev(values):{form}})" if len(values) > 1 else " (one seed)"
    return f"{mean(values):{form}}{spread}"


def _percent(values: Sequence[float]) -> str:
    return _show([100 * each for each in values], ".1f").replace(" ", " % ", 1)
