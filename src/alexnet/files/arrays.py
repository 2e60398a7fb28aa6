"""Arrays in .npy files that may come from strangers, read as data: whatever is wrong with one is a short ValueError."""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alexnet.text.names import escape_name


def read_npy(source: Path | bytes, *, mapped: Literal["r", "c"] | None = None) -> NDArray[Any]:
    """Return the array in a .npy file, or in its bytes; never unpickled.

    Args:
        mapped: The mode in which np.load maps a file into memory; None to read it whole.
    Raises:
        OSError: the file cannot be read.
        ValueError: it is no .npy file of plain values, ends early, or claims more than memory holds.
    """
    try:
        if mapped is not None and isinstance(source, Path):
            # Indexing a plain array is several times faster than indexing np.memmap.
            return np.asarray(np.lib.format.open_memmap(source, mode=mapped))
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except OSError:
        raise
    except Exception as problem:  # NumPy raises many types for a damaged header, MemoryError for a forged shape
        raise ValueError(escape_name(str(problem))[:200]) from None
