"""Resampling agrees with Pillow, whatever the box."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.resample import UNROLLED_TAPS, WEIGHT_STEPS, resample_box
from alexnet.data.images.resample_kernel import weigh

NOISE = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)


def resample(pixels: NDArray[np.uint8], left: float, top: float, side: float, size: int) -> NDArray[np.uint8]:
    out = np.empty((size, size, 3), np.uint8)
    resample_box(pixels, left, top, side, side, out)
    return out


@settings(max_examples=60, deadline=None)
@example(left=0.5, top=0, side=20, size=20)  # neither reduced nor enlarged: cubic weights, below zero too
@given(left=st.floats(0, 100), top=st.floats(0, 50), side=st.floats(20, 100), size=st.integers(1, 120))
def test_any_box_agrees_with_pillow(left: float, top: float, side: float, size: int) -> None:
    filter_ = Image.Resampling.BILINEAR if side > size else Image.Resampling.BICUBIC
    box = (left, top, left + side, top + side)
    expected = np.asarray(Image.fromarray(NOISE).resize((size, size), filter_, box=box)).astype(int)
    difference = np.abs(resample(NOISE, left, top, side, size) - expected)
    if side > size:
        assert difference.max() <= 1
    else:  # Pillow clips to 0 and 255 between its two passes, which noise of full contrast meets all the time
        assert difference.mean() < 4
        assert np.percentile(difference, 50) <= 1


@pytest.mark.parametrize("side", [150, 60, 37.5])
def test_a_flat_picture_stays_flat(side: float) -> None:
    for value in (0, 1, 127, 254, 255):
        flat = np.full((150, 150, 3), value, np.uint8)
        assert (resample(flat, 0, 0, side, 50) == value).all()


def test_unrolled_and_general_loops_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (12, 60, 100, 140, 170):  # 12 has more weights than are unrolled, 170 enlarges
        assert (weigh(3.0, 140.0, 210, size, WEIGHT_STEPS)[1].shape[1] in UNROLLED_TAPS) == (size != 12)
        unrolled = resample(NOISE, 3, 2, 140, size)
        with monkeypatch.context() as patch:
            patch.setattr("alexnet.data.images.resample.UNROLLED_TAPS", ())
            assert (resample(NOISE, 3, 2, 140, size) == unrolled).all()


def test_the_bytes_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256(resample(NOISE, 30.25, 0, 150, 64).tobytes()).hexdigest()
    assert digest[:16] == "b3f2b20e2f27743c"
    digest = hashlib.sha256(resample(NOISE, 30.25, 0, 50, 64).tobytes()).hexdigest()
    assert digest[:16] == "3edd77f83e93cea8"


def test_compiled_functions_are_found_again_by_the_next_process(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from alexnet.data.images.resample import resample_box;"
        "resample_box(np.zeros((60, 80, 3), np.uint8), 10.0, 0.0, 60.0, 50.0, np.empty((32, 32, 3), np.uint8))"
    )

    def files_after_a_run() -> set[Path]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        return set(tmp_path.rglob("*.nbc"))

    first = files_after_a_run()
    assert first
    assert files_after_a_run() == first
