"""Resampling agrees with Pillow, whatever the box."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet.data.resample import UNROLLED_TAPS, _weigh, resample_box

NOISE = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(left=st.floats(0, 100), top=st.floats(0, 50), side=st.floats(20, 100), size=st.integers(1, 120))
def test_any_box_agrees_with_pillow(left: float, top: float, side: float, size: int) -> None:
    filter_ = Image.Resampling.BILINEAR if side > size else Image.Resampling.BICUBIC
    box = (left, top, left + side, top + side)
    expected = np.asarray(Image.fromarray(NOISE).resize((size, size), filter_, box=box)).astype(int)
    difference = np.abs(resample_box(NOISE, left, top, side, size) - expected)
    if side > size:
        assert difference.max() <= 1
    else:  # Pillow clips to 0 and 255 between its two passes, which noise of full contrast meets all the time
        assert difference.mean() < 4
        assert np.percentile(difference, 50) <= 1


@pytest.mark.parametrize("side", [150, 60, 37.5])
def test_a_flat_picture_stays_flat(side: float) -> None:
    for value in (0, 1, 127, 254, 255):
        flat = np.full((150, 150, 3), value, np.uint8)
        assert (resample_box(flat, 0, 0, side, 50) == value).all()


def test_unrolled_and_general_loops_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (60, 100, 140):
        assert _weigh(3, 140, 210, size)[1].shape[1] in (*UNROLLED_TAPS, 2) or size == 60
        unrolled = resample_box(NOISE, 3, 2, 140, size)
        with monkeypatch.context() as patch:
            patch.setattr("alexnet.data.resample.UNROLLED_TAPS", ())
            assert (resample_box(NOISE, 3, 2, 140, size) == unrolled).all()


def test_the_bytes_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256(resample_box(NOISE, 30.25, 0, 150, 64).tobytes()).hexdigest()
    assert digest[:16] == "b3f2b20e2f27743c"
    digest = hashlib.sha256(resample_box(NOISE, 30.25, 0, 50, 64).tobytes()).hexdigest()
    assert digest[:16] == "3edd77f83e93cea8"
