"""Any color mode that a picture can be stored in -> sRGB, 8 bits a channel.

- Grey becomes R = G = B. 16-bit grey is scaled by 255/65535, never clipped. Integer and floating-point grey of another
  range is scaled from its own minimum and maximum to 0 and 255.
- Transparent parts (alpha, transparent palette entries or color keys) are composited on white.
- A valid ICC profile that is not sRGB is applied, with its perceptual intent; a broken one, or one for another kind of
  color than the pixels have, is ignored.
- CMYK without a profile: R = (255 - C) (255 - K) / 255 and so on. YCCK is CMYK. (JPEG's inverted inks:
  data/images/loading.py.)

Conversion costs by the pixel, so it happens after the picture was reduced, in the file's own values; only modes that
cannot be averaged (palettes, color keys) are converted before.
"""

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

BACKGROUND = (255, 255, 255)
"""RGB that transparent parts are composited on."""


def simplify_mode(image: Image.Image) -> Image.Image:
    """The same picture in a mode whose values can be averaged: L, LA, RGB, RGBA or CMYK, 8 bits a channel."""
    if image.mode in ("L", "RGB") and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "LA", "RGBA", "CMYK"):
        return image
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("PA", "RGBa", "La"):
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return _scale_gray(image, 0, 65535)
    if image.mode in ("I", "F"):
        low, high = image.getextrema()
        assert isinstance(low, int | float)  # of a picture with one band
        assert isinstance(high, int | float)
        is_16_bit = image.mode == "I" and low >= 0 and high <= 65535
        return _scale_gray(image, 0, 65535) if is_16_bit else _scale_gray(image, low, high)
    return image.convert("RGB")


def convert_to_rgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """A picture from `simplify_mode` as sRGB, transparent parts on white.

    Args:
        image: Mode L, LA, RGB, RGBA or CMYK.
        icc_profile: The profile its file carries, if any.
    """
    if image.mode in ("LA", "RGBA"):
        background = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        background.alpha_composite(image.convert("RGBA"))
        image = background.convert("RGB")
    transform = _find_transform(bytes(icc_profile), image.mode) if icc_profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def keeps_rgb(icc_profile: bytes | None) -> bool:
    """Whether RGB with this profile is sRGB already, or as good as: `convert_to_rgb` would change nothing."""
    return not icc_profile or _find_transform(bytes(icc_profile), "RGB") is None


@functools.cache
def build_display_p3() -> bytes:
    """The ICC profile of Display P3, for files that name these colors by a number: P3's primaries under daylight.

    Source: ICC.1:2010 for the layout; the primaries of SMPTE EG 432-1, adapted to D50 by Bradford's matrix.
    """

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    white = fixed(0.9642, 1.0, 0.8249)
    curve = b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # as sRGB
    name = "Display P3".encode("utf-16-be")
    tags = {
        b"desc": b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(name), 28) + name,
        b"wtpt": b"XYZ \0\0\0\0" + white,
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.51512, 0.24120, -0.00105),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.29198, 0.69225, 0.04189),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.15710, 0.06657, 0.78407),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (header.ljust(68, b"\0") + white).ljust(128, b"\0") + table + body


def _scale_gray(image: Image.Image, low: float, high: float) -> Image.Image:
    """One channel of any depth as L: low becomes 0 and high 255, rounded to nearest; a flat picture becomes 0."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite numbers")
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


@functools.lru_cache(maxsize=64)  # a camera's pictures share a profile, and building a transform takes milliseconds
def _find_transform(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB, or None where there is nothing to convert or nothing to trust."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        if profile.profile.xcolor_space.strip() != {"L": "GRAY"}.get(mode, mode):
            return None
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        # Without its one-pixel cache a transform may be used by several threads at once.
        return ImageCms.ImageCmsTransform(
            profile, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags=ImageCms.Flags.NOCACHE
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
