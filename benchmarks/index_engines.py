"""Where should a large index be kept? Ours, LanceDB's and faiss's files beside each other, with the same rows.

    python benchmarks/index_engines.py WORK --rows 100000 --dimensions 4096 --out benchmarks/records

Rows are drawn: 1,000 centres and noise, rectified, as the features of a last hidden layer are. Each engine writes them
with their paths and 128-bit codes, made by one encoder, and then, each time in a process of its own and with one
thread: opens and answers one question, the same again, and 32 at once; by codes, the 500 nearest ranked again by exact
distance; adds a hundredth, removes a hundredth, and answers again. Then it is killed while it adds (SIGKILL, several
times) and one byte in the middle of its largest file is changed. Seconds are processor seconds, since the machine does
other things; "wall" is the clock's. Memory is VmHWM. Needs lancedb and faiss-cpu.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BITS, K, RERANK, BATCH, QUERIES, KILLS = 128, 6, 500, 4096, 32, 3
Rows = NDArray[np.float32]


def draw_rows(first: int, count: int, dimensions: int) -> Rows:
    """Return rows first .. first + count; the same ones whenever they are drawn, BATCH at a time."""
    centers = np.random.default_rng(0).standard_normal((1000, dimensions), np.float32)
    blocks = []
    for block in range(first // BATCH, (first + count - 1) // BATCH + 1):
        generator = np.random.default_rng([1, block])
        rows = generator.standard_normal((BATCH, dimensions), np.float32)
        rows += centers[generator.integers(0, 1000, BATCH)]
        blocks.append(np.maximum(rows, 0, out=rows))
    start = first % BATCH
    return np.concatenate(blocks)[start : start + count]


def name_row(row: int) -> str:
    """Return the path of a row."""
    return f"/photos/train/n{row % 1000:08d}/{row:08d}.jpg"


def draw_batches(first: int, stop: int, dimensions: int) -> Iterator[tuple[int, Rows]]:
    """Yield the rows of a stretch, BATCH at a time, each with the number of its first."""
    for start in range(first, stop, BATCH):
        yield start, draw_rows(start, min(BATCH, stop - start), dimensions)


class Engine(Protocol):
    """One way of keeping rows."""

    def write(self, first: int, stop: int) -> None:
        """Add these rows; makes the files if there are none."""

    def ask(self, queries: Rows) -> list[list[str]]:
        """Return the paths of the K nearest rows of each query, exactly."""

    def ask_codes(self, queries: Rows) -> list[list[str]]:
        """The same by codes, RERANK of them ranked again."""

    def remove(self, every: int) -> None:
        """Remove each row whose number is 7 more than a multiple of `every`."""

    def count(self) -> int:
        """Return the number of rows."""

    def check(self) -> None:
        """Read every byte; raises where it is damaged, as far as the engine can tell."""


class Ours:
    """The index of alexnet."""

    def __init__(self, place: Path, dimensions: int, encoder: "Codes") -> None:
        from alexnet.retrieval.index.reader import open_index

        self.place, self.dimensions, self.encoder = place, dimensions, encoder
        self.index = open_index(place) if (place / "index.json").exists() else None

    def write(self, first: int, stop: int) -> None:
        from alexnet.retrieval.codes.encoding import encode_part, write_codes
        from alexnet.retrieval.index.changes import NewPart, commit, sole_writer
        from alexnet.retrieval.index.features import Row
        from alexnet.retrieval.index.format import FORMAT, VERSION, read_header, write_header
        from alexnet.retrieval.index.reader import open_index
        from alexnet.retrieval.index.writer import PART_BYTES

        is_new = self.index is None
        if is_new:
            self.place.mkdir()
            features = {"layer": "fc7.relu", "shape": [self.dimensions], "dimensions": self.dimensions}
            model = {"path": "model", "weights_sha256": "0", "dialect": "paper", "precision": "float32"}
            header: dict[str, Any] = {
                "format": FORMAT, "version": VERSION, "finished": True, "features": {**features, "dtype": "float32"},
                "model": model, "preprocessing": {}, "class_names": [], "class_titles": {}, "sources": [],
                "next_id": 0, "next_part": 0, "parts": [], "removed": None, "codes": {},
            }  # fmt: skip
            write_header(self.place, {**header, "sources": [{"kind": "files"}]})
        with sole_writer(self.place):
            header, part = read_header(self.place), None
            for start, rows in draw_batches(first, stop, self.dimensions):
                part = part or NewPart(self.place, header, 0)
                numbers = range(start, start + len(rows))
                part.append(
                    [
                        Row((n,), {"path": name_row(n), "split": "train", "bytes": 1, "digest": ""}, None, f"{n:032x}")
                        for n in numbers
                    ],
                    rows,
                )
                if part.num_bytes >= PART_BYTES or start + len(rows) == stop:
                    header = part.finish(header)
                    header, part = commit(self.place, encode_part(self.place, header, header["parts"][-1])), None
            if is_new:
                write_codes(open_index(self.place), self.encoder.as_ours())
        self.index = open_index(self.place)

    def _name(self, rows: NDArray[np.int64]) -> list[list[str]]:
        return [[self.index.entry(row).path for row in own] for own in rows.tolist()]

    def ask(self, queries: Rows) -> list[list[str]]:
        from alexnet.retrieval.exact import find_nearest

        return self._name(find_nearest(self.index.features, queries, K, skip=self.index.skip).rows)

    def ask_codes(self, queries: Rows) -> list[list[str]]:
        from alexnet.retrieval.codes.encoding import load_codes
        from alexnet.retrieval.codes.hamming import find_nearest_by_codes

        encoder, codes = load_codes(self.index, BITS)
        found = find_nearest_by_codes(
            self.index.features, codes, queries, encoder.encode(queries), K, rerank=RERANK, skip=self.index.skip
        )
        return self._name(found.rows)

    def remove(self, every: int) -> None:
        from alexnet.retrieval.index.reader import open_index
        from alexnet.retrieval.index.writer import remove_rows

        remove_rows(self.place, lambda index: np.arange(7, index.num_rows, every))
        self.index = open_index(self.place)

    def count(self) -> int:
        return len(self.index)

    def check(self) -> None:
        self.index.verify()


class Lance:
    """A table of LanceDB in a folder."""

    def __init__(self, place: Path, dimensions: int, encoder: "Codes") -> None:
        import lancedb

        self.dimensions, self.encoder = dimensions, encoder
        self.database = lancedb.connect(str(place))
        self.table = self.database.open_table("images") if (place / "images.lance").exists() else None

    def _batches(self, first: int, stop: int) -> Iterator[Any]:
        import pyarrow as pa

        for start, rows in draw_batches(first, stop, self.dimensions):
            numbers = range(start, start + len(rows))
            codes = self.encoder.encode(rows)
            columns = [
                pa.array(numbers, pa.int64()),
                pa.array(map(name_row, numbers), pa.string()),
                pa.FixedSizeListArray.from_arrays(rows.reshape(-1), self.dimensions),
                pa.FixedSizeListArray.from_arrays(codes.reshape(-1), BITS // 8),
            ]
            yield pa.RecordBatch.from_arrays(columns, ["id", "path", "vector", "code"])

    def write(self, first: int, stop: int) -> None:
        import pyarrow as pa

        kinds = {"vector": pa.list_(pa.float32(), self.dimensions), "code": pa.list_(pa.uint8(), BITS // 8)}
        schema = pa.schema({"id": pa.int64(), "path": pa.string(), **kinds})
        reader = pa.RecordBatchReader.from_batches(schema, self._batches(first, stop))
        if self.table is None:
            self.table = self.database.create_table("images", reader)
        else:
            self.table.add(reader)

    def ask(self, queries: Rows) -> list[list[str]]:
        return [
            self.table.search(query, vector_column_name="vector").distance_type("l2").limit(K).select(["path"])
            .to_arrow()["path"].to_pylist()
            for query in queries
        ]  # fmt: skip

    def ask_codes(self, queries: Rows) -> list[list[str]]:
        answers = []
        for query, code in zip(queries, self.encoder.encode(queries), strict=True):
            search = self.table.search(code, vector_column_name="code").distance_type("hamming").limit(RERANK)
            found = search.select(["path", "vector"]).to_arrow()
            vectors = found["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dimensions)
            order = np.argsort(((vectors - query) ** 2).sum(1), kind="stable")[:K]
            answers.append(found["path"].take(order).to_pylist())
        return answers

    def remove(self, every: int) -> None:
        self.table.delete(f"id % {every} = 7")

    def count(self) -> int:
        return int(self.table.count_rows())

    def check(self) -> None:
        for batch in self.table.search().select(["id", "path", "vector", "code"]).to_batches():
            batch.validate(full=True)


class Faiss:
    """A flat and a binary index of faiss in two files; paths in a third, by row."""

    def __init__(self, place: Path, dimensions: int, encoder: "Codes") -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss, self.place, self.encoder = faiss, place, encoder
        if (place / "features.faiss").exists():
            self.flat = faiss.read_index(str(place / "features.faiss"))
            self.binary = faiss.read_index_binary(str(place / "codes.faiss"))
            self.dimensions = dimensions
            return
        place.mkdir(exist_ok=True)
        self.dimensions = dimensions
        self.flat = faiss.IndexIDMap2(faiss.IndexFlatL2(dimensions))
        self.binary = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(BITS))

    def _save(self) -> None:
        self.faiss.write_index(self.flat, str(self.place / "features.faiss"))
        self.faiss.write_index_binary(self.binary, str(self.place / "codes.faiss"))
        for path in self.place.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def write(self, first: int, stop: int) -> None:
        for start, rows in draw_batches(first, stop, self.dimensions):
            numbers = np.arange(start, start + len(rows))
            self.flat.add_with_ids(rows, numbers)
            self.binary.add_with_ids(self.encoder.encode(rows), numbers)
        self._save()

    def ask(self, queries: Rows) -> list[list[str]]:
        return [list(map(name_row, own)) for own in self.flat.search(queries, K)[1].tolist()]

    def ask_codes(self, queries: Rows) -> list[list[str]]:
        _, found = self.binary.search(self.encoder.encode(queries), RERANK)
        stored = self.faiss.rev_swig_ptr(
            self.faiss.downcast_index(self.flat.index).get_xb(), self.flat.ntotal * self.dimensions
        )
        stored = stored.reshape(-1, self.dimensions)
        numbers = self.faiss.vector_to_array(self.flat.id_map)
        answers = []
        for query, own in zip(queries, found, strict=True):
            near = stored[np.searchsorted(numbers, own)]
            order = np.argsort(((near - query) ** 2).sum(1), kind="stable")[:K]
            answers.append([name_row(row) for row in own[order].tolist()])
        return answers

    def remove(self, every: int) -> None:
        numbers = np.arange(7, self.flat.ntotal, every)
        self.flat.remove_ids(numbers)
        self.binary.remove_ids(numbers)
        self._save()

    def count(self) -> int:
        return int(self.flat.ntotal)

    def check(self) -> None:
        pass  # it has been read whole, and holds no checksums


ENGINES: dict[str, Callable[[Path, int, "Codes"], Engine]] = {"ours": Ours, "lancedb": Lance, "faiss": Faiss}


class Codes:
    """The encoder of all engines: signs of rotated principal components (ITQ), fitted once."""

    def __init__(self, work: Path, dimensions: int) -> None:
        path = work / f"encoder-{dimensions}.npz"
        if not path.exists():
            import torch

            from alexnet.retrieval.codes.fitting import fit_encoder

            torch.set_num_threads(1)
            made = fit_encoder(torch.from_numpy(draw_rows(0, 2 * BATCH, dimensions)), BITS, "itq")
            np.savez(path, mean=made.mean, weight=made.weights[0], bias=made.biases[0])
        self.kept = dict(np.load(path))

    def encode(self, rows: Rows) -> NDArray[np.uint8]:
        """Return codes (N, BITS / 8)."""
        sums = (rows - self.kept["mean"]) @ self.kept["weight"].T + self.kept["bias"]
        return np.packbits(sums > 0, axis=1)

    def as_ours(self) -> Any:
        """Return it as alexnet keeps it."""
        import torch

        from alexnet.retrieval.codes.encoding import Encoder

        mean, weight, bias = (torch.from_numpy(self.kept[name]) for name in ("mean", "weight", "bias"))
        return Encoder("itq", mean, (weight,), (bias,))


def work_on(name: str, place: Path, rows: int, dimensions: int, step: str) -> dict[str, Any]:
    """Carry out a step, in this process alone, and return what it took."""
    encoder, engine_kind = Codes(place.parent, dimensions), ENGINES[name]
    queries = draw_rows(rows // 2, QUERIES, dimensions)
    own = [name_row(row) for row in range(rows // 2, rows // 2 + QUERIES)]
    if name == "lancedb":
        import lancedb  # noqa: F401 - not part of opening
    elif name == "faiss":
        import faiss  # noqa: F401
    else:
        import alexnet.retrieval.index.writer  # noqa: F401

    def timed(action: Callable[[], Any]) -> tuple[Any, float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        return result, round(time.process_time() - cpu, 4), round(time.perf_counter() - wall, 4)

    found: dict[str, Any] = {"what": step, "engine": name}
    engine, found["open_s"], found["open_wall"] = timed(lambda: engine_kind(place, dimensions, encoder))
    if step == "grow":
        print(engine.count(), flush=True)
        for start in range(10 * rows, 1000 * rows, 500):
            engine.write(start, start + 500)
            print(engine.count(), flush=True)
    if step == "write":
        drawn = sum(len(each) for _, each in draw_batches(0, min(rows, 5 * BATCH), dimensions))
        _, cost, _ = timed(lambda: [None for _ in draw_batches(0, drawn, dimensions)])
        _, cpu, wall = timed(lambda: engine.write(0, rows))
        found |= {"s": round(cpu - cost * rows / drawn, 2), "wall": wall}
    if step in ("ask", "ask again"):
        first, found["first_s"], found["first_wall"] = timed(lambda: engine.ask(queries[:1]))
        five, found["one_s"], found["one_wall"] = timed(
            lambda: [engine.ask(queries[n : n + 1])[0] for n in range(1, 6)]
        )
        found |= {"one_s": found["one_s"] / 5, "one_wall": found["one_wall"] / 5, "answers": [*first, *five]}
        if step == "ask":
            many, found["many_s"], found["many_wall"] = timed(lambda: engine.ask(queries))
            found["finds_itself"] = sum(a[0] == b for a, b in zip(many, own, strict=True))
    if step == "ask codes":
        engine.ask_codes(queries[:1])
        _, found["one_s"], found["one_wall"] = timed(
            lambda: [engine.ask_codes(queries[n : n + 1]) for n in range(1, 6)]
        )
        many, found["many_s"], found["many_wall"] = timed(lambda: engine.ask_codes(queries[:32]))
        exact = engine.ask(queries[:32])
        found |= {"one_s": found["one_s"] / 5, "one_wall": found["one_wall"] / 5}
        found["recall"] = float(np.mean([len({*a} & {*b}) / K for a, b in zip(many, exact, strict=True)]))
    if step == "add":
        _, found["s"], found["wall"] = timed(lambda: engine.write(rows, rows + rows // 100))
    if step == "remove":
        _, found["s"], found["wall"] = timed(lambda: engine.remove(100))
    if step == "check":
        _, found["s"], found["wall"] = timed(engine.check)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found["peak_mib"] = int(status.split("VmHWM:")[1].split()[0]) // 1024
    found["anonymous_mib"] = int(status.split("RssAnon:")[1].split()[0]) // 1024
    found["rows"] = engine.count()
    return found


def start(name: str, place: Path, options: argparse.Namespace, step: str) -> subprocess.Popen[str]:
    """Start a process that carries out a step."""
    words = [sys.executable, __file__, str(place), "--rows", options.rows, "--dimensions", options.dimensions]
    one = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "LANCE_CPU_THREADS", "RAYON_NUM_THREADS"), "1")}
    return subprocess.Popen(
        [*map(str, words), "--engine", name, "--step", step], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=one,
    )  # fmt: skip


def run(name: str, place: Path, options: argparse.Namespace, step: str) -> dict[str, Any]:
    """Carry out a step in a process of its own; its own words where it fails."""
    process = start(name, place, options, step)
    output, errors = process.communicate()
    if process.returncode:
        return {"what": step, "engine": name, "failed": errors.strip().splitlines()[-1][:300]}
    row: dict[str, Any] = json.loads(output.splitlines()[-1])
    return row


def kill_while_adding(name: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill a process that adds rows, several times; say how many were there each time, and whether all can be read."""
    rng, lost, unreadable, before = random.Random(0), 0, 0, run(name, place, options, "check")["rows"]
    for _ in range(KILLS):
        process = start(name, place, options, "grow")
        said = int((process.stdout.readline() if process.stdout else "") or 0)
        time.sleep(rng.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        rest = (process.stdout.read() if process.stdout else "").split()
        process.wait()
        said = int(rest[-1]) if rest else said
        found = run(name, place, options, "check")
        if "failed" in found:
            unreadable += 1
            break
        lost += found["rows"] < said
        before = found["rows"]
    return {
        "what": "killed while adding",
        "engine": name,
        "kills": KILLS,
        "lost": lost,
        "unreadable": unreadable,
        "rows": before,
    }


def damage(place: Path) -> None:
    """Change one byte in the middle of the largest file."""
    largest = max((each for each in place.rglob("*") if each.is_file()), key=lambda each: each.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def measure_bytes(place: Path) -> int:
    """Bytes below a folder."""
    return sum(each.stat().st_size for each in place.rglob("*") if each.is_file())


def main() -> None:
    """Compare the engines, or carry out one step of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=4096)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--gently", action="store_true", help="neither kill nor damage, and leave the files there")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(work_on(options.engine, options.work, options.rows, options.dimensions, options.step)))
        return
    rows = []

    def keep(row: dict[str, Any]) -> None:
        row = {**row, "of": options.rows, "dimensions": options.dimensions}
        print(json.dumps(row), flush=True)
        rows.append(row)

    options.work.mkdir(parents=True, exist_ok=True)
    Codes(options.work, options.dimensions)
    for name in options.engines.split(","):
        place = options.work / name
        shutil.rmtree(place, ignore_errors=True)
        keep({**run(name, place, options, "write"), "bytes": measure_bytes(place)})
        for step in ("ask", "ask codes", "add", "remove", "ask again"):
            keep(run(name, place, options, step))
        keep({"what": "size", "engine": name, "bytes": measure_bytes(place)})
        if options.gently:
            continue
        keep(kill_while_adding(name, place, options))
        damage(place)
        keep({**run(name, place, options, "check"), "what": "one byte changed"})
        shutil.rmtree(place)
    print(f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.0f} s of processor time", file=sys.stderr)
    if options.out:
        from alexnet.benchmark.suite import write_record

        command = f"python benchmarks/index_engines.py --rows {options.rows} --dimensions {options.dimensions}"
        print(write_record(options.out, f"index-engines-{options.rows}", rows, command))


if __name__ == "__main__":
    main()
