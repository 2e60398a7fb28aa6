"""Lets every call that changes files fail once, in every way that it can, and looks at what is left.

    python -m faults.matrix --out build/faults         all of it; goes on where it was stopped
    python -m faults.matrix --stage train --points     the calls of one stage

Each fault is a line of OUT/faults.jsonl. Exit code 1 where anything was lost.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from alexnet.network import dialects
from faults import injection, rehearsal, trees
from faults.injection import FAULTS, KILLS, Ended
from faults.stages import BASE, STAGES, Stage, call, fill, make_pictures, tiny


def names_file(text: str, path: str) -> bool:
    """Whether the last sentence of an error names what the user knows of a path, which may be a temporary one."""
    known = re.split(r"[./-]", path.lstrip("."))[0]
    return known in re.split(r"(?:Failed|Error|failed|Left out): ", text)[-1]


def judge(
    stage: Stage, path: str, how: str, ended: Ended, old: dict[str, str], new: dict[str, str], now: dict[str, str]
) -> tuple[str, list[str]]:
    """Return what state a fault left, "old", "new" or "between", and everything that is wrong with how it ended."""
    wrong = []
    if ended.code is None:
        wrong.append("it hung")
    elif how in KILLS:
        if ended.code != -9 and not ended.code:  # a process that it had started was killed
            wrong.append("it was killed and says that it went well")
    elif ended.code not in (0, 1):
        wrong.append(f"exit code {ended.code}")
    if re.search(r"Traceback|Exception ignored|terminate called|Error in sys", ended.text):
        wrong.append("traceback")
    if ended.code == 1 and not re.search(r"(Failed|Error|failed|Left out)\b.*\.", ended.text, re.DOTALL):
        wrong.append("no sentence")
    elif ended.code == 1 and how not in KILLS and not names_file(ended.text, path):
        wrong.append("a sentence that does not name the file")
    if ".writing" in ended.text or "Errno" in ended.text:
        wrong.append("it names what nobody knows")
    wrong += [f"{name} is {what}" for name, what in now.items() if what.startswith("broken")]
    wrong += [f"{name} is gone" for name in old if name in new and name not in now]
    state = "old" if now == old else "new" if now == new else "between"
    return state, wrong


def put_right(again: Ended, state: str, new: dict[str, str], now: dict[str, str], left: list[str]) -> list[str]:
    """Return everything that is wrong after the same command has been given again."""
    wrong = []
    if again.code is None or "Traceback" in again.text:
        wrong.append("the second time: it hung or a traceback")
    elif again.code and state != "new":
        wrong.append(f"the second time: exit code {again.code}")
    for name in {**new, **now}:
        if new.get(name) != now.get(name):
            wrong.append(
                f"the second time: {name} is {'other' if name in new and name in now else 'lacking' if name in new else 'too much'}"
            )
    return [*wrong, *(f"the second time: {name} is left over" for name in left)]


class Matrix:
    """The stages in a folder for work, and the faults that are done."""

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self.results = self.out / "faults.jsonl"
        self.base = self.out / "base"
        self.case = self.out / "case"
        self.out.mkdir(parents=True, exist_ok=True)
        self.done = {key for key, row in read_results(self.results).items() if not row["wrong"]}

    def make_base(self) -> None:
        if (self.base / "done").exists():
            return
        shutil.rmtree(self.base, ignore_errors=True)
        make_pictures(self.base / "PHOTOS")
        for words in BASE:
            ended = injection.run(lambda words=words: call(words), self.base, {})  # type: ignore[misc]
            if ended.code != 0:
                raise SystemExit(f"{' '.join(words)}: {ended.text}")
        (self.base / "done").touch()

    def survey(self, stage: Stage) -> tuple[list[list[str]], dict[str, str], dict[str, str], Path | None]:
        """Run a stage without a fault; returns its calls, what there was before and after, and a copy of the former."""
        old_copy = None
        fill(self.case, self.base, stage)
        if stage.before:
            ended = injection.run(lambda: call(stage.before), self.case, {})
            if ended.code != 0:
                raise SystemExit(f"{stage.name}, before: {ended.text}")
            old_copy = self.out / "old"
            shutil.rmtree(old_copy, ignore_errors=True)
            shutil.copytree(self.case, old_copy)
        old = trees.look(self.case)
        log, loaded = self.out / "calls", self.out / "loaded"
        log.unlink(missing_ok=True)

        def rehearse() -> None:
            try:
                stage.do()
            finally:
                rehearsal.note(loaded)

        ended = injection.run(rehearse, self.case, injection.environment(self.case, log))
        if ended.code != 0:
            raise SystemExit(f"{stage.name}: {ended.text}")
        rehearsal.load(loaded)
        return injection.read_log(log), old, trees.look(self.case), old_copy

    def run(self, stage: Stage, most: int | None = None) -> None:
        """Do the faults of a stage that are not done yet; of more than `most`, so many, evenly spaced."""
        start = time.monotonic()
        calls, old, new, old_copy = self.survey(stage)
        print(f"{stage.name}: {len(calls)} calls, {time.monotonic() - start:.1f} s", flush=True)
        unflushed = injection.find_unflushed(calls)
        if unflushed:
            print(f"  named before they are on the disk: {', '.join(unflushed)}", flush=True)
        if old == new or any(what.startswith("broken") for what in new.values()):
            raise SystemExit(f"{stage.name}: nothing changes, or {new}")
        cases = [(point, how) for point in injection.find_points(calls) for how in FAULTS.get(point.call, ("none",))]
        settled: dict[str, tuple[int | None, list[str]]] = {}
        places = range(len(cases)) if most is None else sorted({i * len(cases) // most for i in range(most)})
        for point, how in (cases[place] for place in places):
            row: dict[str, Any] = {"stage": stage.name, **point._asdict(), "how": how}
            if key_of(row) in self.done:
                continue
            fill(self.case, self.base, stage, old_copy)
            ended = injection.run(stage.do, self.case, injection.environment(self.case, None, point, how))
            now = trees.look(self.case)
            row["met"] = injection.was_met(self.case, point)
            state, wrong = judge(stage, point.path, how, ended, old, new, now)
            # From the same files the same command does the same: it is given again once for each state.
            left = trees.fingerprint(self.case, now)
            if left not in settled:
                again = injection.run(stage.do_again, self.case, {})
                then = trees.look(self.case)
                if stage.renews and new.items() <= now.items():  # it was done, and is another now
                    then = new | {name: what for name, what in then.items() if what.startswith("broken")}
                found = put_right(again, state, new, then, trees.leftovers(self.case))
                settled[left] = again.code, [f"{each} ({again.text.strip()[-300:]})" for each in found]
            # What could not be removed stays, until the file is written again.
            after = [
                each for each in settled[left][1] if point.call != "remove" or f"{point.path} is left over" not in each
            ]
            row |= {"state": state, "code": ended.code, "again": settled[left][0], "wrong": wrong + after,
                    "text": ended.text.strip()[-600:] if how not in KILLS or wrong else ""}  # fmt: skip
            if wrong := row["wrong"]:
                print(f"  {point.call} {point.path} #{point.turn} {how}: {'; '.join(wrong[:3])}", flush=True)
            with self.results.open("a") as file:
                file.write(json.dumps(row) + "\n")


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["stage"], row["call"], row["path"], row["turn"], row["how"]


def read_results(results: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the last line of each fault: where something was wrong, it is done again."""
    rows = map(json.loads, results.read_text().splitlines() if results.exists() else [])
    return {key_of(row): row for row in rows}


def tabulate(results: Path) -> tuple[str, int]:
    """Return a table of the faults that were done, and how many lost something."""
    rows = list(read_results(results).values())
    lines = ["| Stage | Calls | Faults | Old state | New state | Between | Lost |", "|---|---|---|---|---|---|---|"]
    for name in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == name]
        states = Counter(row["state"] for row in own)
        points = len({(row["call"], row["path"], row["turn"]) for row in own})
        lost = sum(bool(row["wrong"]) for row in own)
        lines.append(
            f"| {name} | {points} | {len(own):,} | {states['old']} | {states['new']} | {states['between']} | {lost} |"
        )
    return "\n".join(lines), sum(bool(row["wrong"]) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/faults"))
    parser.add_argument("--stage", action="append", choices=[stage.name for stage in STAGES])
    parser.add_argument("--points", action="store_true", help="only list the calls")
    parser.add_argument("--most", type=int, help="faults of a stage, evenly spaced among all of them")
    options = parser.parse_args()
    if "libfaults.so" not in os.environ.get("LD_PRELOAD", ""):
        options.out.mkdir(parents=True, exist_ok=True)
        library = injection.build(options.out.resolve())
        os.environ |= {"LD_PRELOAD": str(library), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
        os.execv(sys.executable, [sys.executable, "-m", "faults.matrix", *sys.argv[1:]])  # noqa: S606 - this very program
    injection.adopt_orphans()
    matrix = Matrix(options.out)
    stages = [stage for stage in STAGES if not options.stage or stage.name in options.stage]
    dialects.DIALECTS["tiny"] = tiny
    if any(not callable(stage.work) for stage in stages):
        rehearsal.start_quickly()
        rehearsal.keep_drawings(matrix.out / "drawn")
    if any(stage.needs for stage in stages):
        matrix.make_base()
    for stage in stages:
        if options.points:
            for line in matrix.survey(stage)[0]:
                print(*line)
        else:
            matrix.run(stage, options.most)
    if not options.points:
        table, lost = tabulate(matrix.results)
        print(table)
        sys.exit(lost > 0)


if __name__ == "__main__":
    main()
