"""A zoo of odd and bad image files, made on the spot: what each is, and what must become of it."""

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, features

QUADRANTS = np.array([[(220, 40, 40), (40, 200, 60)], [(50, 60, 210), (230, 220, 60)]], np.uint8)
"""Colors of the picture that every good specimen shows: red, green over blue, yellow."""

TURNS = {1: lambda q: q, 2: np.fliplr, 3: lambda q: q[::-1, ::-1], 4: np.flipud, 5: lambda q: q.swapaxes(0, 1),
         6: lambda q: np.rot90(q, 1), 7: lambda q: q[::-1, ::-1].swapaxes(0, 1), 8: lambda q: np.rot90(q, -1)}  # fmt: skip
"""EXIF's orientation -> how a picture is stored that it turns upright."""


@dataclass(frozen=True)
class Specimen:
    """One file."""

    name: str
    """File name; the suffix may lie."""
    data: bytes
    expected: str | None = None
    """The reason it must be left out with (a part of it), or None: it must be read."""
    colors: np.ndarray | None = None
    """Colors of the quadrants that must be read, (2, 2, 3); None where any picture will do."""
    tolerance: int = 12


def picture(width: int = 64, height: int = 64) -> Image.Image:
    return Image.fromarray(QUADRANTS).resize((width, height), Image.Resampling.NEAREST)


def encode(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and has next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def raw_photograph() -> bytes:
    """A TIFF as cameras write it: its first picture is a small preview, which says so, of the one that is not read."""
    buffer = io.BytesIO()
    picture(32, 24).save(buffer, "TIFF", tiffinfo={254: 1})
    return buffer.getvalue()


def png_with_text(kind: bytes, size: int, *, text: bytes = b"") -> bytes:
    """A good PNG with one compressed chunk that unpacks to `size` bytes."""
    data = encode(picture())
    start = {b"zTXt": b"note\0\0", b"iTXt": b"note\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    return data[:33] + chunk(kind, start + zlib.compress(text or b"x" * size)) + data[33:]  # behind the header


def odd_specimens() -> Iterator[tuple[Specimen, str]]:
    """Files with something wrong beside the picture, which is whole, and what is odd about them."""
    rgb = picture()
    for name, options in (("", {}), ("progressive-", {"progressive": True}), ("444-", {"subsampling": 0})):
        data = encode(rgb, "JPEG", quality=95, **options)
        for what, filler in (("zeros", bytes(258)), ("a-few-zeros", bytes(11)), ("text", b"stray text " * 9)):
            stray = "stray bytes before its end marker"
            yield Specimen(f"{name}{what}.jpg", data[:-2] + filler + data[-2:], colors=QUADRANTS), stray
        yield Specimen(f"{name}without-end.jpg", data[:-2], colors=QUADRANTS), "no end marker"
        yield Specimen(f"{name}half-an-end.jpg", data[:-1], colors=QUADRANTS), "no end marker"
        yield Specimen(f"{name}zeros-without-end.jpg", data[:-2] + bytes(90), colors=QUADRANTS), "no end marker"
        film = data + b"\0\0\0\x18ftypmp42" + bytes(5000)
        yield Specimen(f"{name}motion.jpg", film, colors=QUADRANTS), "data behind its end marker"
    texts = "text or a profile that is damaged or over a megabyte"
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        yield Specimen(f"{kind.decode()}.png", png_with_text(kind, 3_000_000), colors=QUADRANTS), texts
    flipped = bytearray(png_with_text(b"zTXt", 100))
    flipped[50] ^= 1
    yield Specimen("damaged-text.png", bytes(flipped), colors=QUADRANTS), texts


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header promises another size than its pixels."""
    data = bytearray(encode(picture(), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


GRAY = np.repeat(np.asarray(picture(2, 2).convert("L"))[..., None], 3, 2)


def good_specimens() -> Iterator[Specimen]:
    """Odd files that hold the picture all the same."""
    rgb, gray = picture(), picture().convert("L")
    yield Specimen("plain.jpg", encode(rgb, "JPEG", quality=95), colors=QUADRANTS)
    yield Specimen("progressive.jpg", encode(rgb, "JPEG", quality=95, progressive=True), colors=QUADRANTS)
    yield Specimen("444.jpg", encode(rgb, "JPEG", quality=95, subsampling=0), colors=QUADRANTS)
    yield Specimen("restart-markers.jpg", encode(rgb, "JPEG", quality=95, restart_marker_blocks=1), colors=QUADRANTS)
    yield Specimen(
        "trailing-bytes.jpg", encode(rgb, "JPEG", quality=95) + b"appended by a camera" * 9, colors=QUADRANTS
    )
    yield Specimen("grey.jpg", encode(gray, "JPEG", quality=95), colors=GRAY)
    yield Specimen("grey.png", encode(gray), colors=GRAY)
    yield Specimen("grey-alpha.png", encode(gray.convert("LA")), colors=GRAY)
    yield Specimen("palette.png", encode(rgb.quantize(8)), colors=QUADRANTS)
    clear = rgb.quantize(8)
    yield Specimen("palette-transparent.png", encode(clear, transparency=clear.getpixel((0, 0))),
                   colors=np.concatenate([[[(255, 255, 255), QUADRANTS[0, 1]]], QUADRANTS[1:]]))  # fmt: skip
    rgba = rgb.convert("RGBA")
    rgba.paste((0, 0, 0, 0), (0, 0, 32, 32))
    yield Specimen(
        "rgba.png", encode(rgba), colors=np.concatenate([[[(255, 255, 255), QUADRANTS[0, 1]]], QUADRANTS[1:]])
    )
    bits = picture().convert("L").point(lambda value: 255 * (value > 100)).convert("1")
    yield Specimen("one-bit.png", encode(bits), colors=(GRAY > 100) * np.uint8(255))
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    yield Specimen("grey16.png", encode(wide), colors=GRAY)
    yield Specimen("grey16.tif", encode(wide, "TIFF"), colors=GRAY)
    inks = Image.fromarray(np.concatenate([255 - np.asarray(rgb), np.zeros((64, 64, 1), np.uint8)], 2), "CMYK")
    adobe = encode(inks, "JPEG", quality=95)
    yield Specimen("cmyk-adobe.jpg", adobe, colors=QUADRANTS)
    inverted = Image.fromarray(255 - np.asarray(inks), "CMYK")
    plain = encode(inverted, "JPEG", quality=95)
    place = plain.index(b"\xff\xee")
    yield Specimen("cmyk-plain.jpg", plain[:place] + plain[place + 16 :], colors=QUADRANTS)
    yield Specimen("cmyk.tif", encode(inks, "TIFF"), colors=QUADRANTS)
    ycck = bytearray(
        encode(Image.merge("CMYK", (*rgb.convert("YCbCr").split(), Image.new("L", (64, 64)))), "JPEG", quality=95)
    )
    ycck[ycck.index(b"Adobe") + 11] = 2
    # Pillow wrote 255 - (Y, Cb, Cr): undoing the inversion of the inks leaves the picture's complement in the file.
    yield Specimen("ycck.jpg", bytes(ycck))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Specimen("icc.jpg", encode(rgb, "JPEG", quality=95, icc_profile=profile), colors=QUADRANTS)
    yield Specimen("icc-broken.jpg", encode(rgb, "JPEG", quality=95, icc_profile=b"no profile"), colors=QUADRANTS)
    for value, stored in TURNS.items():  # stored so that, turned as EXIF says, the picture is upright
        exif = Image.Exif()
        exif[0x0112] = value
        turned = Image.fromarray(np.ascontiguousarray(stored(QUADRANTS))).resize((64, 64), Image.Resampling.NEAREST)
        yield Specimen(f"exif{value}.jpg", encode(turned, "JPEG", quality=95, exif=exif), colors=QUADRANTS)
    exif = Image.Exif()
    exif[0x0112] = 99
    yield Specimen("exif-nonsense.jpg", encode(rgb, "JPEG", quality=95, exif=exif), colors=QUADRANTS)
    for format_ in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"):
        needed = {"WEBP": "webp", "AVIF": "avif"}.get(format_)
        if needed is None or features.check(needed):
            yield Specimen(f"{format_.lower()}-named.jpg", encode(rgb, format_), colors=QUADRANTS, tolerance=25)
    frames = [rgb, Image.new("RGB", (64, 64), "white")]
    for format_ in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], format_, save_all=True, append_images=frames[1:])
        yield Specimen(f"animated.{format_.lower()}", data, colors=QUADRANTS, tolerance=25)
    yield Specimen(
        "one-pixel.png", encode(Image.new("RGB", (1, 1), (9, 99, 199))), colors=np.full((2, 2, 3), (9, 99, 199))
    )
    yield Specimen("wide.png", encode(picture(900, 20)))
    yield Specimen("a" * 245 + ".png", encode(rgb), colors=QUADRANTS)
    yield Specimen("🐈 über, \"quoted\" 'name'.png", encode(rgb), colors=QUADRANTS)
    yield Specimen("new\nline.png", encode(rgb), colors=QUADRANTS)
    yield Specimen("UPPER.JPEG", encode(rgb, "JPEG", quality=95), colors=QUADRANTS)


def bad_specimens() -> Iterator[Specimen]:
    """Files that must be left out, each with its reason."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8))
    for format_, name in (
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
    ):
        data = encode(noise, format_)
        yield Specimen(f"truncated.{name}", data[: len(data) // 2], "data ends early|is damaged|ends early")
    jpeg = encode(noise, "JPEG", quality=90)
    yield Specimen("truncated-with-end.jpg", jpeg[: len(jpeg) // 2] + b"\xff\xd9", "data ends early")
    progressive = encode(noise, "JPEG", quality=90, progressive=True)
    yield Specimen("truncated-progressive.jpg", progressive[: len(progressive) // 2] + b"\xff\xd9", "data ends early")
    yield Specimen("header-only.jpg", jpeg[:20], "has a damaged header or ends early")
    hole = bytearray(jpeg)
    hole[len(hole) // 2 : len(hole) // 2 + 64] = bytes(64)
    yield Specimen("hole.jpg", bytes(hole), "is damaged|data ends early")
    flipped = bytearray(encode(noise))
    flipped[len(flipped) // 2] ^= 1
    yield Specimen("flipped-bit.png", bytes(flipped), "a checksum of its pixels does not agree")
    yield Specimen("zero-bytes.jpg", b"", "is empty")
    yield Specimen("zeros.jpg", bytes(5000), "is not an image of a known format")
    yield Specimen("text.jpg", b"This is a text.\n" * 20, "is not an image of a known format")
    yield Specimen("lfs.jpg", LFS, "is a Git LFS pointer, not an image")
    yield Specimen("film.jpg", b"\0\0\0\x18ftypmp42" + bytes(200), "is a video, not an image")
    yield Specimen("raw.jpg", b"FUJIFILMCCD-RAW 0201" + bytes(200), "is a camera's raw file, which is not read")
    yield Specimen("preview.tif", raw_photograph(), "is a camera's raw file, which is not read")
    missing = jpeg[: len(jpeg) * 3 // 4]
    yield Specimen(
        "filled-with-zeros.jpg", missing + bytes(len(jpeg) - len(missing) + 9000), "data ends early|is damaged"
    )
    yield Specimen("zeros-and-end.jpg", missing + bytes(len(jpeg) + 9000) + b"\xff\xd9", "data ends early|is damaged")
    yield Specimen("error-page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "is a web page")
    yield Specimen("error-page-2.jpg", b"\n <html><head><title>403 Forbidden</title>", "is a web page")
    yield Specimen(
        "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "is a PostScript drawing"
    )
    yield Specimen(
        "vector.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "is a drawing .SVG."
    )
    yield Specimen("pdf.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF document, not an image")
    yield Specimen("bomb.png", png_header(60_000, 60_000), "has more than 120,000,000 pixels")
    yield Specimen("bomb.jpg", jpeg_of_size(65_500, 65_500), "has more than 120,000,000 pixels")
    yield Specimen("ribbon.png", png_header(30_000, 2), "one side over 50 times the other")
    yield Specimen("ribbon.jpg", jpeg_of_size(30_000, 16), "one side over 50 times the other")
    yield Specimen("nothing-wide.png", png_header(0, 10), "is damaged|damaged header")
    place = progressive.rindex(b"\xff\xda")
    scans = progressive[:place] + progressive[place:-2] * 300 + b"\xff\xd9"
    yield Specimen("a-thousand-scans.jpg", scans, "more than 100 scans|is damaged")


def make_zoo(folder: Path) -> dict[str, Specimen]:
    """Write the zoo as one class folder; returns path -> specimen. Names the system cannot hold are left out."""
    zoo = {}
    for specimen in (*good_specimens(), *bad_specimens()):
        (folder / "zoo").mkdir(parents=True, exist_ok=True)
        (folder / "zoo" / specimen.name).write_bytes(specimen.data)
        zoo[f"zoo/{specimen.name}"] = specimen
    if sys.platform.startswith("linux"):
        name = b"not-utf8-\xff\xfe.png"
        specimen = Specimen(os.fsdecode(name), encode(picture()), colors=QUADRANTS)
        (folder / "zoo" / specimen.name).write_bytes(specimen.data)
        zoo[f"zoo/{specimen.name}"] = specimen
    return zoo


def litter(folder: Path) -> dict[str, int]:
    """Put what is no image beside the images; returns what must be counted as passed over."""
    files: dict[str, Callable[[], bytes]] = {
        ".DS_Store": lambda: b"Bud1", "Thumbs.db": lambda: b"\xd0\xcf", "._plain.jpg": lambda: b"AppleDouble",
        "__MACOSX/zoo/._x.jpg": lambda: b"x", ".git/picture.png": lambda: encode(picture()), "notes.txt": lambda: b"n",
        "desktop.ini": lambda: b"d",
    }  # fmt: skip
    for name, make in files.items():
        (folder / "zoo" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "zoo" / name).write_bytes(make())
    (folder / "zoo" / "loop").symlink_to(folder / "zoo", target_is_directory=True)
    (folder / "zoo" / "self.jpg").symlink_to(folder / "zoo" / "self.jpg")
    return {"hidden": 3, "system": 3, "not an image": 1, "loop of links": 1}
