"""JPEG: what Pillow passes over in silence is an error here, and every kind of file is decoded right."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.data.images.decode import decode_image
from alexnet.data.images.jpeg import JpegDamageError, decode_jpeg, encode_jpeg, read_jpeg_header
from alexnet.errors import ImageError

Draw = Callable[..., Any]
Encode = Callable[..., bytes]

ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoK"
    "CgoKBggLDAsKDAkKCgr/yQALCAAQABABAREA/8wABgAQEAX/2gAIAQEAAD8A/wDswL8xM3GAmm5No4FkPhyv6bnonXIg/9k="
)
"""Grey 16 x 16, a ramp of 16 per column, by jpegtran -arithmetic: Pillow can neither write nor read it."""


def test_a_jpeg_cut_short_with_an_end_marker_is_found_out(draw: Draw, encode: Encode) -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        data = encode(draw(1, 300, 200), "JPEG", quality=95, **options)
        cut = data[: len(data) // 2] + b"\xff\xd9"
        Image.open(io.BytesIO(cut)).load()  # Pillow says nothing
        with pytest.raises(ImageError) as caught:
            decode_image(cut, size=64, name="a.jpg")
        assert str(caught.value) == (f"a.jpg: data ends early ({len(cut):,} bytes). Copy it again from where it came.")


def test_damage_in_the_middle_is_found_out(draw: Draw, encode: Encode) -> None:
    data = bytearray(encode(draw(2, 400, 300), "JPEG", quality=95))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff\xd9" * 20
    with pytest.raises(ImageError, match=r"data ends early|is damaged"):
        decode_image(bytes(data), size=64)


def test_arithmetic_coding_is_read() -> None:
    pixels, scale = decode_jpeg(ARITHMETIC)
    assert (pixels.shape, scale) == ((16, 16, 3), 1)
    assert np.abs(pixels[..., 0].astype(int) - np.arange(16) * 16).max() <= 8


def without_adobe(data: bytes) -> bytes:
    place = data.index(b"\xff\xee")
    return data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :]


def test_cmyk_is_inverted_only_where_adobe_says_so(encode: Encode) -> None:
    data = encode(Image.new("CMYK", (20, 20), (0, 255, 128, 51)), "JPEG", quality=100)
    assert read_jpeg_header(data).is_adobe
    assert np.abs(decode_image(data, size=16).astype(int) - [204, 0, 102]).max() <= 2
    plain = without_adobe(encode(Image.new("CMYK", (20, 20), (255, 0, 127, 204)), "JPEG", quality=100))
    assert not read_jpeg_header(plain).is_adobe
    assert np.abs(decode_image(plain, size=16).astype(int) - [204, 0, 102]).max() <= 2


def test_ycck_is_cmyk(encode: Encode) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:] = 255 - np.array([0, 255, 128, 51])  # as Adobe stores it
    data = bytearray(encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=100))
    place = data.index(b"Adobe")
    data[place + 11] = 2  # the transform: now the same numbers say Y, Cb, Cr, K
    assert read_jpeg_header(bytes(data)).color == "YCCK"
    assert decode_image(bytes(data), size=16).shape == (16, 16, 3)


def test_a_file_of_a_thousand_scans_is_refused(encode: Encode, draw: Draw) -> None:
    data = encode(draw(3, 64, 64), "JPEG", progressive=True)
    assert read_jpeg_header(data).is_progressive
    place = data.rindex(b"\xff\xda")
    bomb = data[:place] + data[place:-2] * 200 + b"\xff\xd9"
    with pytest.raises(JpegDamageError) as caught:
        decode_jpeg(bomb)
    assert str(caught.value) == "it has more than 100 scans"


def test_the_header_tells_profile_orientation_and_color(encode: Encode, draw: Draw) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(draw(4, 40, 30), "JPEG", icc_profile=bytes(70000), exif=exif)
    header = read_jpeg_header(data)
    assert (header.width, header.height, header.color) == (40, 30, "YCbCr")
    assert header.icc_profile == bytes(70000)  # more than one segment holds
    assert header.exif is not None
    assert not header.is_progressive
    with pytest.raises(JpegDamageError):
        read_jpeg_header(data[:30])


def test_encoding_gives_the_same_bytes_and_nearly_the_same_pixels(draw: Draw) -> None:
    picture = np.asarray(draw(5, 64, 64))
    assert encode_jpeg(picture, 90) == encode_jpeg(picture.copy(), 90)
    pixels, _ = decode_jpeg(encode_jpeg(picture, 90))
    assert np.abs(pixels.astype(int) - picture).mean() < 4


def test_the_memory_of_one_thread_is_used_again(draw: Draw) -> None:
    data = encode_jpeg(np.asarray(draw(6, 64, 64)), 90)
    first, _ = decode_jpeg(data)
    second, _ = decode_jpeg(data)
    assert np.shares_memory(first, second)
