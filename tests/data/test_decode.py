import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps, features

from alexnet.data.images import decode
from alexnet.data.images.decode import decode_image, open_image
from alexnet.data.images.unusable import MAX_PIXELS
from alexnet.errors import ConfigError, ImageError

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]


def message_of(data: bytes, name: str = "a.jpg") -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, size=16, name=name)
    return str(caught.value)


def png(width: int, height: int, *, bit_depth: int = 8, color_type: int = 0) -> bytes:
    """A PNG whose header promises this size and whose pixels are missing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def flat(mode: str, value: object, size: tuple[int, int] = (20, 16)) -> Image.Image:
    return Image.new(mode, size, value)  # type: ignore[arg-type]


def test_the_centre_is_taken_as_it_is_where_the_shorter_side_fits(draw: Draw, encode: Encode) -> None:
    for width, height, left, top in ((47, 30, 8, 0), (30, 47, 0, 8), (46, 30, 8, 0), (30, 30, 0, 0)):
        picture = draw(1, width, height)
        result = decode_image(encode(picture), size=30)
        assert (result == np.asarray(picture)[top : top + 30, left : left + 30]).all()
    assert (result.shape, result.dtype) == ((30, 30, 3), np.uint8)
    assert result.flags.c_contiguous
    assert result.flags.writeable


def test_the_centre_square_is_reduced_with_antialiasing(encode: Encode) -> None:
    board = (np.indices((120, 160)).sum(0) % 2 * 255).astype(np.uint8)
    result = decode_image(encode(Image.fromarray(board)), size=30)
    assert np.abs(result.astype(int) - 128).max() <= 2


def test_reducing_equals_resizing_the_whole_and_cropping_the_centre(draw: Draw, encode: Encode) -> None:
    picture = draw(2, 600, 400)  # becomes 96 x 64, so the square starts at a whole pixel of both
    whole = np.asarray(picture.resize((96, 64), Image.Resampling.BILINEAR).crop((16, 0, 80, 64)))
    difference = np.abs(decode_image(encode(picture), size=64).astype(int) - whole)
    assert difference[:, 1:-1].max() <= 1


def test_the_centre_stays_in_the_centre_where_the_size_divides_nothing(encode: Encode) -> None:
    for width, height in ((400, 300), (301, 500)):
        pixels = np.zeros((height, width), np.uint8)
        pixels[height // 2 - 30 : height // 2 + 30, width // 2 - 30 : width // 2 + 30] = 255
        result = decode_image(encode(Image.fromarray(pixels)), size=64)[..., 0].astype(float)
        rows, columns = np.indices(result.shape)
        assert np.average(rows, weights=result) == pytest.approx(31.5, abs=0.15)
        assert np.average(columns, weights=result) == pytest.approx(31.5, abs=0.15)


def test_enlarging_is_bicubic(draw: Draw, encode: Encode) -> None:
    picture = draw(3, 30, 20)
    expected = picture.resize((64, 64), Image.Resampling.BICUBIC, box=(5, 0, 25, 20))
    difference = np.abs(decode_image(encode(picture), size=64).astype(int) - np.asarray(expected))
    assert difference.max() <= 2  # Pillow rounds and clips between its two passes


SIZES = [(40, 30), (41, 64), (67, 90), (69, 64), (64, 64), (33, 70), (211, 150), (30, 20)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_torchvisions_framing_is_resize_and_center_crop(
    draw: Draw, encode: Encode, width: int, height: int, format_: str
) -> None:
    data = encode(draw(30, width, height), format_)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    # torchvision 0.29, transforms.Resize(32) and CenterCrop(28) of a PIL image, from its description
    long = int(32 * max(width, height) / min(width, height))
    resized = picture.resize((32, long) if width <= height else (long, 32), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 28) / 2), round((resized.height - 28) / 2)
    expected = np.asarray(resized.crop((left, top, left + 28, top + 28)))
    found = decode_image(data, size=32, framing="torchvision")
    assert (found[2:30, 2:30] == expected).all()


def test_a_large_jpeg_is_decoded_in_full_for_torchvision(draw: Draw, encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(-60, 60, (600, 800, 3))
    detailed = np.clip(np.asarray(draw(7, 800, 600)).astype(int) + noise, 0, 255).astype(np.uint8)
    data = encode(Image.fromarray(detailed), "JPEG", quality=90)
    resized = Image.open(io.BytesIO(data)).resize((85, 64), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((10, 0, 74, 64))).astype(int)
    assert np.abs(decode_image(data, size=64, framing="torchvision") - expected).max() <= 1
    assert np.abs(decode_image(data, size=64) - expected).max() > 3


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_caffes_framing_squeezes_the_whole_picture_without_antialiasing(
    draw: Draw, encode: Encode, width: int, height: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))

    def weigh(count: int) -> np.ndarray:
        """Rows of weights as OpenCV's INTER_LINEAR: the two nearest, by their distance from the place's middle."""
        place = np.clip((np.arange(32) + 0.5) * count / 32 - 0.5, 0, count - 1)
        first = np.minimum(place.astype(int), count - 2)
        weights = np.zeros((32, count))
        weights[np.arange(32), first], weights[np.arange(32), first + 1] = 1 - (place - first), place - first
        return weights

    expected = np.einsum("yh,xw,hwc->yxc", weigh(height), weigh(width), pixels)
    data = encode(Image.fromarray(pixels.astype(np.uint8)))
    assert np.abs(decode_image(data, size=32, framing="caffe") - expected).max() <= 1


@pytest.mark.parametrize("framing", ["torchvision", "caffe"])
def test_other_framings_turn_pictures_and_convert_their_colors_too(draw: Draw, encode: Encode, framing: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(np.asarray(draw(31, 50, 75)))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    found = decode_image(encode(turned, exif=exif), size=20, framing=framing)
    assert (found == decode_image(encode(upright), size=20, framing=framing)).all()
    green = decode_image(encode(flat("RGB", (255, 0, 0)), icc_profile=make_profile(swapped=True)), framing=framing)
    assert np.abs(green.astype(int) - [0, 255, 0]).max() <= 2
    assert (decode_image(encode(flat("RGBA", (9, 9, 9, 0))), framing=framing) == 255).all()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(draw: Draw, encode: Encode, format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if format_ == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    options = {"lossless": True} if format_ == "WEBP" else {"quality": 95} if format_ == "JPEG" else {}
    data = encode(draw(4, 75, 50), format_, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    plain = Image.fromarray(np.asarray(upright.convert("RGB")))
    for size in (20, 50, 60):
        difference = decode_image(data, size=size).astype(int) - decode_image(encode(plain), size=size)
        assert np.abs(difference).max() <= 1


def test_damaged_exif_does_not_spoil_the_picture(draw: Draw, encode: Encode) -> None:
    data = encode(draw(5), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")
    assert decode_image(data, size=16).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("picture", "options", "expected"),
    [
        (flat("L", 77), {}, (77, 77, 77)),
        (flat("LA", (0, 128)), {}, (127, 127, 127)),
        (flat("RGBA", (200, 0, 0, 0)), {}, (255, 255, 255)),
        (flat("RGBA", (255, 0, 0, 128)), {}, (255, 127, 127)),
        (flat("1", 1), {}, (255, 255, 255)),
        (flat("P", 0), {}, (0, 0, 0)),
        (flat("P", 0), {"transparency": 0}, (255, 255, 255)),
        (flat("RGB", (1, 2, 3)), {"transparency": (1, 2, 3)}, (255, 255, 255)),
        (flat("L", 9), {"transparency": 9}, (255, 255, 255)),
        (Image.fromarray(np.full((16, 20), 65535, np.uint16)), {}, (255, 255, 255)),
        (Image.fromarray(np.full((16, 20), 257 * 100 + 128, np.uint16)), {}, (100, 100, 100)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_png_mode_becomes_rgb(
    encode: Encode, picture: Image.Image, options: dict[str, object], expected: tuple[int, int, int]
) -> None:
    result = decode_image(encode(picture, "PNG", **options), size=16)
    assert (result == np.array(expected)).all()


def test_grey_of_32_bits_or_floating_point_is_scaled_from_its_own_range(encode: Encode) -> None:
    ramp = np.tile(np.linspace(-3.0, 5.0, 16), (16, 1))
    expected = np.rint(np.linspace(0, 255, 16)).astype(np.uint8)
    result = decode_image(encode(Image.fromarray(ramp.astype(np.float32)), "TIFF"), size=16)
    assert np.abs(result[0, :, 0].astype(int) - expected).max() <= 1
    wide = Image.fromarray((ramp * 1e8).astype(np.int32))
    assert np.abs(decode_image(encode(wide, "TIFF"), size=16)[0, :, 0].astype(int) - expected).max() <= 1
    narrow = Image.fromarray(np.full((16, 16), 32896, np.int32))
    assert (decode_image(encode(narrow, "TIFF"), size=16) == 128).all()
    holes = encode(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF")
    assert message_of(holes) == (
        f"a.jpg: is damaged: it holds values that are not finite numbers ({len(holes):,} bytes). "
        "Copy it again from where it came."
    )


def test_cmyk_is_converted_with_its_black(encode: Encode) -> None:
    data = encode(flat("CMYK", (0, 255, 128, 51)), "TIFF")
    assert (decode_image(data, size=16) == np.array([204, 0, 102])).all()
    jpeg = decode_image(encode(flat("CMYK", (0, 255, 128, 51)), "JPEG", quality=100), size=16)
    assert np.abs(jpeg.astype(int) - [204, 0, 102]).max() <= 2


def test_transparent_edges_do_not_bleed_the_color_below(encode: Encode) -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, :20] = (0, 0, 255, 255)  # opaque blue beside invisible black
    result = decode_image(encode(Image.fromarray(pixels)), size=10)
    assert (result[..., 2] >= 254).all()


def make_profile(*, swapped: bool) -> bytes:
    """The ICC profile of sRGB, or one with red and green exchanged that does not call itself sRGB."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if swapped:
        (count,) = struct.unpack(">I", data[128:132])
        tags = {bytes(data[start : start + 4]): start for start in range(132, 132 + 12 * count, 12)}
        red, green, title = (slice(tags[tag] + 4, tags[tag] + 12) for tag in (b"rXYZ", b"gXYZ", b"desc"))
        data[red], data[green] = data[green], data[red]
        start, length = struct.unpack(">II", data[title])
        data[start : start + length] = bytes(data[start : start + length]).replace(b"s\0R\0G\0B", b"t\0R\0G\0B")
    return bytes(data)


def test_an_icc_profile_is_applied_unless_it_is_srgb_or_broken(encode: Encode) -> None:
    red = flat("RGB", (255, 0, 0))
    swapped = decode_image(encode(red, "PNG", icc_profile=make_profile(swapped=True)), size=16)
    assert np.abs(swapped.astype(int) - [0, 255, 0]).max() <= 2
    for ignored in (make_profile(swapped=False), b"no profile", make_profile(swapped=True)[:200]):
        assert (decode_image(encode(red, "PNG", icc_profile=ignored), size=16) == [255, 0, 0]).all()
    gray = decode_image(encode(flat("L", 90), "PNG", icc_profile=make_profile(swapped=True)), size=16)
    assert (gray == 90).all()


@pytest.mark.parametrize("format_", ["BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_formats_are_recognised_by_content_whatever_their_name(draw: Draw, encode: Encode, format_: str) -> None:
    codec = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}.get(format_)
    if codec is not None and not features.check(codec):
        pytest.skip(f"this Pillow has no {format_}")
    picture = draw(6, 32, 32)
    result = decode_image(encode(picture, format_), size=32, name="a.jpg")
    assert np.abs(result.astype(int) - np.asarray(picture)).mean() < 12


def test_the_first_frame_of_an_animation_is_taken(encode: Encode) -> None:
    frames = [flat("RGB", (250, 10, 10)), flat("RGB", (10, 10, 250))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data, size=16)[..., 0] > 200).all()


@pytest.mark.parametrize("width", [1024, 1031, 2100])
def test_jpeg_decoded_at_a_smaller_scale_stays_within_its_bound(
    draw: Draw, encode: Encode, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    noise = np.random.default_rng(0).integers(-60, 60, (width * 3 // 4, width, 3))
    detailed = np.clip(np.asarray(draw(7, width, width * 3 // 4)).astype(int) + noise, 0, 255).astype(np.uint8)
    data = encode(Image.fromarray(detailed), "JPEG", quality=90)
    reduced = decode_image(data, size=96)
    monkeypatch.setattr(decode, "DRAFT_FACTOR", 10**6)
    full = decode_image(data, size=96)
    difference = np.abs(reduced.astype(int) - full)
    assert 0 < difference.mean() < 3


def test_decoding_at_a_smaller_scale_changes_photographs_less_than_stated(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tarfile

    with tarfile.open(shared_data / "imagenet-samples-300.tar") as archive:
        members = [member for member in archive if member.name.endswith("JPEG")][:60]
        files = [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    reduced = [decode_image(data, size=64).astype(int) for data in files]
    monkeypatch.setattr(decode, "DRAFT_FACTOR", 10**6)
    means = [np.abs(a - decode_image(data, size=64)).mean() for a, data in zip(reduced, files, strict=True)]
    assert 0 < np.mean(means) < 0.6
    assert np.max(means) < 3


def test_truncated_files_are_named_with_their_bytes(draw: Draw, encode: Encode) -> None:
    for format_ in ("JPEG", "PNG"):
        data = encode(draw(8, 200, 150), format_)
        half = data[: len(data) // 2]
        assert message_of(half) == f"a.jpg: data ends early ({len(half):,} bytes). Copy it again from where it came."


def outcome_of(data: bytes) -> str:
    """The message of the one error that damaged data may raise."""
    try:
        decode_image(data, size=16)
    except ImageError as error:
        return str(error)
    return "image: was decoded"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_cut_anywhere_raises_nothing_but_image_errors(draw: Draw, encode: Encode, format_: str) -> None:
    data = encode(draw(9, 33, 27), format_)
    lengths = range(0, len(data), max(1, len(data) // 60))
    assert {outcome_of(data[:length])[:7] for length in lengths} == {"image: "}


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_random_damage_raises_nothing_but_image_errors(draw: Draw, encode: Encode, format_: str) -> None:
    generator = np.random.default_rng(0)
    data = encode(draw(10, 40, 30), format_)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[generator.integers(0, len(data), 8)] = generator.integers(0, 256, 8)
        assert outcome_of(damaged.tobytes()).startswith("image: ")


def test_what_is_no_image_is_said_to_be_none() -> None:
    assert message_of(b"") == "a.jpg: is empty (0 bytes). Copy it again from where it came, or delete it."
    known = "Known are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 and AVIF."
    assert message_of(b"some text") == f"a.jpg: is not an image of a known format (9 bytes). {known}"
    assert message_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == (
        "a.jpg: is a PostScript drawing, not an image (47 bytes). Save it as JPEG or PNG."
    )
    assert message_of(b"\n<!DOCTYPE html><p>404") == (
        "a.jpg: is a web page, not an image (22 bytes). Open it in a browser. If it came instead of a download, that "
        "download failed: obtain it again."
    )
    assert message_of(b"\x89PNG\r\n\x1a\n") == (
        "a.jpg: has a damaged header or ends early (8 bytes). Copy it again from where it came."
    )


@pytest.mark.parametrize(("width", "height"), [(10_001, 12_000), (13_000, 13_000), (50_000, 50_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    data = png(width, height)
    assert width * height > MAX_PIXELS == 120_000_000
    assert message_of(data) == (
        f"a.jpg: has more than 120,000,000 pixels ({len(data)} bytes). Save a smaller copy of it."
    )


def test_an_absurd_aspect_ratio_is_refused(encode: Encode) -> None:
    data = encode(flat("L", 0, (1010, 20)))
    assert message_of(data) == (
        f"a.jpg: is 1010 x 20 pixels, one side over 50 times the other ({len(data)} bytes). Cut out a part of it."
    )
    assert decode_image(encode(flat("L", 0, (1000, 20))), size=16).shape == (16, 16, 3)


def test_a_name_that_is_not_utf8_is_shown_escaped() -> None:
    assert message_of(b"", name="caf\udce9/line\nbreak.jpg").startswith("caf\\xe9/line\\x0abreak.jpg: is empty")


def test_warnings_of_pillow_neither_leak_nor_stay_silenced(draw: Draw, encode: Encode) -> None:
    large = encode(
        draw(11, 40, 30), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff\xff\xff\0\0\0\0"
    )
    filters = list(warnings.filters)
    threads = [threading.Thread(target=decode_image, args=(large,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ImageError):
        decode_image(png(10_500, 12_000))  # Pillow only warns of this size
    assert warnings.filters == filters
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_file_that_is_missing_is_named(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert str(caught.value) == (
        f"{path}: cannot be read (No such file or directory). Check that it exists and its permissions."
    )
    path.write_bytes(encode(draw(12)))
    assert (open_image(path, 30) == decode_image(path.read_bytes(), size=30)).all()
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="is empty") as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        decode_image(b"", size=0)
    assert str(caught.value) == "size is 0; it is a number of pixels, at least 1."


def test_a_png_keeps_the_profile_that_was_too_large_for_pillow(encode: Encode) -> None:
    profile = make_profile(swapped=True)
    padded = (len(profile) + 2**21).to_bytes(4, "big") + profile[4:] + bytes(2**21)
    data = encode(flat("RGB", (255, 0, 0)), icc_profile=padded)
    said: list[str] = []
    assert np.abs(decode_image(data, size=16, notice=said.append).astype(int) - [0, 255, 0]).max() <= 2
    assert said == ["text or a profile that is damaged or over a megabyte"]
