"""MATLAB's files, in which some data sets tell their labels or keep their pixels; needs scipy, an extra."""

import io
from pathlib import Path
from typing import Any

from alexnet.data.sources.matlab_tags import check_tags
from alexnet.errors import SourceError


def read_matlab(name: Path | str, data: bytes | None = None, *, otherwise: str = "") -> dict[str, Any]:
    """The variables of a file: arrays without axes of length one, tables as arrays of objects with a field a column.

    Args:
        name: The file, which is read unless `data` holds its bytes.
        otherwise: What else a user without scipy can do, to follow "Install it (...)".
    Raises:
        SourceError: it is damaged or not there, or scipy is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise SourceError(
            f"{name} is a MATLAB file; reading it needs scipy. Install it (pip install 'alexnet[ilsvrc]'){otherwise}."
        ) from None
    try:
        data = Path(name).read_bytes() if data is None else data
        check_tags(data)
        found = loadmat(io.BytesIO(data), squeeze_me=True, struct_as_record=False)
    # scipy raises many types for a damaged file; it is unusable whichever it is.
    except Exception as error:
        raise SourceError(f"{name} cannot be read ({error}). Copy it again from where it came.") from None
    return dict(found)
