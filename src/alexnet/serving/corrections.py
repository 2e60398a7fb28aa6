"""What people say a picture really is: a table that `alexnet prepare` reads, with the pictures beside it."""

import csv
import threading
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from alexnet.data.images.encoding import encode_image
from alexnet.errors import ConfigError
from alexnet.files.writing import format_csv, write_bytes, write_text
from alexnet.text.wording import counted

COLUMNS = ("path", "label", "predicted", "probability", "name")
MOST_ROWS = 10_000
_LONGEST_LABEL = 100


class Corrections:
    """A CSV file with a row for each picture, the newest word about it; pictures are PNG files as the network saw them.

    A picture is named by its pixels, so what is said of it twice is one row.
    """

    def __init__(self, path: Path) -> None:
        """Open a file that is there, or will be with the first correction.

        Raises:
            ConfigError: there is a file of another kind.
        """
        self.path = path
        self._folder = path.with_name(f"{path.stem}-pictures")
        self._lock = threading.Lock()
        self._rows: dict[str, list[str]] = {}
        if path.exists():
            try:
                rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
            except (UnicodeDecodeError, csv.Error):
                rows = []
            if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
                raise ConfigError(
                    f"{path}: is not a file of corrections, which has the columns {', '.join(COLUMNS)}. Name another "
                    "file: --corrections FILE.csv"
                )
            self._rows = {row[0]: row for row in rows[1:]}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, pixels: NDArray[np.uint8], label: str, *, predicted: str, probability: float, name: str) -> None:
        """Write down what a picture is.

        Args:
            pixels: (S, S, 3) RGB.
            label: Name of a class, known or new.
            predicted, probability, name: What the model said, and what the picture is called; for the reader.
        Raises:
            ConfigError: the label is empty, too long or cannot be printed; or the file is full.
            OSError: it cannot be written.
        """
        label = label.strip()
        if not 0 < len(label) <= _LONGEST_LABEL or not label.isprintable():
            raise ConfigError(f"a class is a name of 1 to {_LONGEST_LABEL} characters.")
        file = f"{xxhash.xxh3_128_hexdigest(np.ascontiguousarray(pixels).data)}.png"
        path = f"{self._folder.name}/{file}"
        with self._lock:
            if path not in self._rows and len(self._rows) >= MOST_ROWS:
                raise ConfigError(
                    f"{self.path} holds {counted(MOST_ROWS, 'correction')}. Prepare them and begin another."
                )
            self._folder.mkdir(exist_ok=True)
            if not (self._folder / file).exists():
                write_bytes(self._folder / file, encode_image(pixels, "PNG"))
            rows = {**self._rows, path: [path, label, predicted, f"{probability:.4f}", name]}
            write_text(self.path, format_csv([COLUMNS, *rows.values()]))
            self._rows = rows  # what could not be written was refused, and must not come with the next one
