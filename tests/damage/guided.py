"""`damage.fuzz`, guided: what runs new edges of the program is kept and changed further. Needs atheris 3.

python -m damage.guided --seconds 60          as damage.fuzz; OUT/corpus/FAMILY keeps files from call to call
python -m damage.guided --edges FOLDER…       how many edges the files of each folder run, as --keep keeps them
"""

import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atheris

if TYPE_CHECKING:
    from damage.family import Family
    from damage.fuzz import Run

MOST_BYTES = 400_000


def instrument() -> None:
    """Have the package report what it runs, if called before it is imported. What Numba compiles cannot report."""
    spec = importlib.util.find_spec("alexnet")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    compiled = [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if re.search(r"import numba|alexnet\.compiling import", path.read_text(encoding="utf-8"))
    ]
    atheris.instrument_imports(include=["alexnet"], exclude=compiled).__enter__()


def begin(run: Any, corpus: Path, *words: str, **hooks: Any) -> None:
    """Hand a corpus to libFuzzer, which ends this process. Times are watched by damage.fuzz, not by a clock."""
    atheris.Setup(
        [sys.argv[0], "-timeout=0", "-rss_limit_mb=0", f"-max_len={MOST_BYTES}", "-len_control=0", *words, str(corpus)],
        run, **hooks,
    )  # fmt: skip
    atheris.Fuzz()


def follow(family: "Family", files: list[bytes], run: "Run", corpus: Path, seed: int) -> None:
    """Change the files of a corpus, and keep those in it that run what none did before."""
    import hashlib

    from damage.fuzz import change

    for data in files:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return change(family, data, seed, lambda data: atheris.Mutate(data, most))[:most]

    begin(run, corpus, f"-seed={seed % 2**31}", "-verbosity=0", custom_mutator=mutate)


def count_edges(family: "Family", corpus: Path) -> int:
    """Read the files of a folder once, and return how many edges of the program they run."""
    from damage.fuzz import Trial

    with tempfile.TemporaryDirectory(prefix="alexnet-fuzz-") as folder, tempfile.TemporaryFile() as told:
        child = os.fork()
        if not child:
            trial = Trial(family, Path(folder))
            os.dup2(told.fileno(), 2)
            begin(lambda data: trial.read(data) and None, corpus, "-runs=0")
        os.waitpid(child, 0)
        told.seek(0)
        found = re.findall(rb"INITED cov: (\d+)", told.read())
    return int(found[-1]) if found else 0


def main() -> None:
    from damage import fuzz
    from damage.families import FAMILIES

    if sys.argv[1:2] != ["--edges"]:
        fuzz.main(follow)
    for folder in map(Path, sys.argv[2:]):
        family = next(each for each in FAMILIES if each.name.replace(" ", "-") == folder.name)
        print(
            f"{count_edges(family, folder.resolve()):,} edges by {len(list(folder.iterdir())):,} files of {folder}",
            flush=True,
        )


if __name__ == "__main__":
    instrument()
    main()
