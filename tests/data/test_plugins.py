"""HEIC and JPEG XL: read with a plugin, upright and in the right colors; without one, named with the remedy."""

import base64
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from alexnet.data.images import formats
from alexnet.data.images.color import build_display_p3
from alexnet.data.images.decode import decode_image
from alexnet.data.images.formats import read_jpeg_xl_size
from alexnet.data.prepare.prepare import prepare
from alexnet.errors import ImageError
from damage.zoo import QUADRANTS, TURNS, encode, picture

HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
TURNED = {number: base64.b64decode(f"/woD{start}RATCAABAJwASxiTjoODCQCBvPRygSAAgp0KAExfmffQpgaRCOgM/TR8shCXCZMr")
          for number, start in {1: "B", 3: "F", 5: "J", 6: "L", 8: "P"}.items()}  # fmt: skip
"""EXIF's number -> a lossless JPEG XL, stored as 24 x 16, whose header, not its EXIF, says how to turn it."""
P3 = base64.b64decode("/woDQUAmNwIIAAEAUABLGIsVANSIwZg4BxABZ7oWcBBOPg==")
"""JPEG XL, 24 x 16: (250, 60, 60) in the colors of Display P3."""
P3_AS_SRGB = [255, 20, 46]


def quadrants(data: bytes) -> np.ndarray:
    image = decode_image(data, size=32)
    middles = [slice(4, 12), slice(20, 28)]
    return np.array([[image[rows, columns].mean((0, 1)) for columns in middles] for rows in middles])


def stored(orientation: int) -> Image.Image:
    """The picture of the zoo, turned so that EXIF's number turns it upright."""
    pixels = np.ascontiguousarray(TURNS[orientation](QUADRANTS))
    return Image.fromarray(pixels).resize((96, 64), Image.Resampling.NEAREST)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.fixture
def heif() -> Callable[..., bytes]:
    """heif(image, **options): a HEIC file."""
    plugin = pytest.importorskip("pillow_heif", reason="needs pillow-heif, of the extra heif")
    plugin.register_heif_opener()  # to write; reading does without
    return lambda image, **options: encode(image, "HEIF", quality=95, **options)


@pytest.fixture
def jxl() -> Callable[..., bytes]:
    """jxl(image, **options): a JPEG XL file."""
    pytest.importorskip("pillow_jxl", reason="needs pillow-jxl-plugin, of the extra jxl")
    return lambda image, **options: encode(image, "JXL", **options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_photograph_comes_upright_whoever_turns_it(heif: Callable[..., bytes], orientation: int) -> None:
    data = heif(stored(orientation), exif=exif_of(orientation))
    assert (b"irot" in data or b"imir" in data) == (orientation != 1)
    assert np.abs(quadrants(data) - QUADRANTS).max() <= 6


def test_heic_has_the_colors_of_its_profile_or_of_the_number_that_names_them(heif: Callable[..., bytes]) -> None:
    red = Image.new("RGB", (64, 64), (250, 60, 60))
    lossless: dict[str, Any] = {"chroma": 444, "matrix_coefficients": 0}
    for options, expected in (
        ({}, [250, 60, 60]),
        ({"color_primaries": 12, "transfer_characteristics": 13}, P3_AS_SRGB),
    ):
        assert np.abs(decode_image(heif(red, **lossless, **options), size=16)[8, 8].astype(int) - expected).max() <= 3
    data = heif(red, **lossless, icc_profile=build_display_p3())
    assert np.abs(decode_image(data, size=16)[8, 8].astype(int) - P3_AS_SRGB).max() <= 3


def test_a_jpeg_xl_comes_upright_and_in_srgb(jxl: Callable[..., bytes]) -> None:
    assert np.abs(quadrants(jxl(picture(96, 64), quality=95)) - QUADRANTS).max() <= 6
    # Its own header turns it; EXIF's entry says what was done, and is not to be followed.
    assert np.abs(quadrants(jxl(picture(96, 64), exif=exif_of(6))) - QUADRANTS).max() <= 6
    upright = Image.fromarray(np.asarray(picture(24, 16)))
    for orientation, data in TURNED.items():
        turn = {1: None, 3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
                8: Image.Transpose.ROTATE_90}[orientation]  # fmt: skip
        expected = upright if turn is None else upright.transpose(turn)
        assert (decode_image(data, size=16) == decode_image(encode(expected), size=16)).all()
    assert decode_image(P3, size=16)[8, 8].tolist() == P3_AS_SRGB


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_jpeg_packed_in_jpeg_xl_is_turned_by_its_exif(
    jxl: Callable[..., bytes], tmp_path: Path, orientation: int
) -> None:
    stored(orientation).save(tmp_path / "a.jpg", quality=95, exif=exif_of(orientation))
    with Image.open(tmp_path / "a.jpg") as image:
        data = jxl(image, lossless_jpeg=True)
    assert np.abs(quadrants(data) - QUADRANTS).max() <= 6


def test_every_mode_and_every_damage_of_both(heif: Callable[..., bytes], jxl: Callable[..., bytes]) -> None:
    generator = np.random.default_rng(0)
    for write in (heif, jxl):
        clear = decode_image(write(Image.new("RGBA", (40, 32), (200, 0, 0, 0))), size=16)
        assert (clear >= 254).all()
        gray = decode_image(write(Image.new("L", (40, 32), 90)), size=16)
        assert np.abs(gray.astype(int) - 90).max() <= 2
        data = write(picture(96, 64))
        for _ in range(15):
            damaged = np.frombuffer(data, np.uint8).copy()
            damaged[generator.integers(0, len(data), 6)] = generator.integers(0, 256, 6)
            for broken in (damaged.tobytes(), data[: generator.integers(12, len(data))]):
                try:
                    decode_image(broken, size=16)
                except ImageError as problem:
                    assert str(problem).startswith("image: ")  # noqa: PT017 - it may also be read


@pytest.mark.parametrize("side", [1, 8, 256, 300, 513, 1024, 8193, 300_000])
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(side: int) -> None:
    def naked(width: int, height: int) -> bytes:
        bits, length = 0, 1  # the first bit: not a multiple of 8
        for value, then in ((height, 3), (width, 0)):  # three bits of 0 between them: no ratio
            choice = next(number for number, count in enumerate((9, 13, 18, 30)) if value <= 1 << count)
            bits |= choice << length | (value - 1) << length + 2
            length += 2 + (9, 13, 18, 30)[choice] + then
        return b"\xff\x0a" + bits.to_bytes(12, "little")

    stream = naked(side, 77)
    assert read_jpeg_xl_size(stream) == (side, 77)

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    start = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"Exif", bytes(30))
    assert read_jpeg_xl_size(start + box(b"jxlc", stream)) == (side, 77)
    assert read_jpeg_xl_size(start + box(b"jxlp", bytes(4) + stream)) == (side, 77)
    assert read_jpeg_xl_size(start + struct.pack(">I4sQ", 1, b"jxlc", 16 + len(stream)) + stream) == (side, 77)
    with pytest.raises(ValueError, match="truncated"):
        read_jpeg_xl_size(start)


def test_ratios_and_small_sizes_of_a_jpeg_xl() -> None:
    for data in TURNED.values():
        assert read_jpeg_xl_size(data) == (24, 16)


def test_a_bomb_in_jpeg_xl_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_find_plugin", lambda *names: pytest.fail)  # decoding it would be the failure
    bits = 3 << 1 | (2**20 - 1) << 3 | 1 << 33  # 2**20 pixels high, and as wide
    with pytest.raises(ImageError) as caught:
        decode_image(b"\xff\x0a" + bits.to_bytes(12, "little"), name="a.jxl")
    assert str(caught.value) == "a.jxl: has more than 120,000,000 pixels (14 bytes). Save a smaller copy of it."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HEIC_START, "is a HEIC photograph, which is not read (24 bytes). To read it: pip install 'alexnet[heif]'. Or save it as JPEG, as most phones can."),
        (b"\xff\x0a\x00\x00", "is a JPEG XL photograph, which is not read (4 bytes). To read it: pip install 'alexnet[jxl]'. Or save it as JPEG or PNG."),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "is an AVIF photograph, which is not read (16 bytes). To read it: pip install --upgrade pillow. Or save it as JPEG or PNG."),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "is a camera's raw file, which is not read (16 bytes). Develop it: save it as JPEG or TIFF with the camera's program."),
        (b"II*\0\x10\0\0\0CR\2\0", "is a camera's raw file, which is not read (12 bytes). Develop it: save it as JPEG or TIFF with the camera's program."),
    ],
)  # fmt: skip
def test_without_a_plugin_a_photograph_is_named_with_the_remedy(
    data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_find_plugin", lambda *names: None)
    monkeypatch.setattr(formats, "_available_formats", lambda: ("PNG", "TIFF"))
    with pytest.raises(ImageError) as caught:
        decode_image(data, name="a.jpg")
    assert str(caught.value) == f"a.jpg: {reason}"


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1}, {262: 32803}])
def test_a_tiff_that_holds_a_sensors_data_is_not_taken_for_its_preview(tags: dict[int, Any]) -> None:
    with pytest.raises(ImageError, match="is a camera's raw file"):
        decode_image(tiff_with(tags))
    assert decode_image(tiff_with({270: "a title"}), size=16).shape == (16, 16, 3)


def tiff_with(tags: dict[int, Any]) -> bytes:
    from PIL import TiffImagePlugin

    if 262 not in tags:
        return encode(picture(), "TIFF", tiffinfo=tags)
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[262] = tags[262]
    return b"II*\0" + struct.pack("<I", 8) + directory.tobytes(8)


def test_photographs_that_cannot_be_read_are_left_out_by_name_and_stop_a_set_that_is_full_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_find_plugin", lambda *names: None)
    root = tmp_path / "PHOTOS"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            picture(40 + number).save(root / name / f"{number}.jpg")
    (root / "a/phone.HEIC").write_bytes(HEIC_START)
    (root / "a/0.CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0")  # what 0.jpg was made of
    (root / "b/alone.nef").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    report = prepare(root, tmp_path / "STORE", size=16, val_fraction=0.3)
    assert [path for path, _ in report.skipped] == ["a/phone.HEIC", "b/alone.nef"]
    assert report.skipped[0][1].startswith(
        "is a HEIC photograph, which is not read (24 bytes). To read it: pip install"
    )
    assert dict(report.ignored) == {"raw file beside its picture": 1}
    for number in range(11):
        (root / f"a/{number}.heic").write_bytes(HEIC_START)
    with pytest.raises(Exception, match=r"cannot be used, more than the share .* pip install 'alexnet\[heif\]'"):
        prepare(root, tmp_path / "STORE2", size=16, val_fraction=0.3)


def test_display_p3_is_a_profile_that_lcms_reads() -> None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(build_display_p3()))
    assert ImageCms.getProfileDescription(profile).strip() == "Display P3"
    assert profile.profile.xcolor_space.strip() == "RGB"
