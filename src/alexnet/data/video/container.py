"""Frames of whatever FFmpeg reads, by PyAV, the extra `video`.

Files are data from strangers: only containers that hold their own pictures are opened, from the disk alone. Playlists
and descriptions of streams, which name other files and hosts, are refused.

- Turned and mirrored as the container's display matrix says, of square pixels, by whole quarter turns.
- Interlaced: the upper field, its rows twice; the two fields are two moments.
- Transparent parts on white, as in images. Ten bits and more are reduced to eight, high dynamic range without tone
  mapping. Where the file does not name its colors, BT.709 above 576 rows and BT.601 below, as players take them.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.color import convert_to_rgb
from alexnet.data.images.unusable import MAX_PIXELS, UnusableError, check_size
from alexnet.data.video.timeline import Decoded
from alexnet.text.wording import counted

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

CONTAINERS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "nut", "ivf", "rm", "dv",
    "h264", "hevc", "obu", "m4v", "mpegvideo", "yuv4mpegpipe",
    "mp3", "wav", "flac", "aac",
)  # fmt: skip
"""Demultiplexers of FFmpeg that may be used; the last row so that sound is called by its name."""

_UNSPECIFIED_COLORS = 2  # ITU-T H.273
_SMALL_ROWS = 576


@contextmanager
def open_container(source: str | bytes, max_pixels: int = MAX_PIXELS) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """The container and its pictures.

    Raises:
        UnusableError: PyAV is missing, the file is damaged, of no container that is read, or has no moving pictures.
        OSError: it is not there any more, or may not be read.
    """
    try:
        import av
    except ImportError:
        raise UnusableError("is a video, which is not read", "To read it: pip install 'alexnet[video]'.") from None
    file = os.path.abspath(source) if isinstance(source, str) else BytesIO(source)
    rules = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        container = av.open(file, container_options=rules)
    except (FileNotFoundError, PermissionError) as error:
        raise OSError(error.errno, error.strerror) from None
    except (av.FFmpegError, ValueError, RuntimeError) as error:
        if getattr(error, "errno", None) == errno.EINVAL:
            raise UnusableError("is of no kind of video that is read", "Save it as MP4, WebM or MKV.") from None
        raise UnusableError(
            f"is no video, or its header is damaged ({_say(error)})", "Copy it again from where it came."
        ) from None
    with container:
        streams = [each for each in container.streams.video if not each.disposition & _attached()]
        if not streams:
            raise UnusableError("has no moving pictures, perhaps only sound", "Give a video.")
        known = [each for each in streams if each.codec_context is not None]
        if not known:
            raise UnusableError("has pictures of a codec that is not read", "Save it as H.264 in MP4.")
        stream = max(known, key=lambda each: each.width * each.height)
        if stream.width and stream.height:
            check_size(_square_width(stream.width, stream.sample_aspect_ratio), stream.height, max_pixels)
        yield container, stream


def measure_duration(source: str | bytes) -> float | None:
    """Seconds that the header of a video names, true or not; None where it names none.

    Raises:
        UnusableError: as `open_container`.
    """
    with open_container(source) as (container, stream):
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return container.duration / 1e6 if container.duration is not None else None


def list_timestamps(source: str | bytes) -> list[Decoded]:
    """Frames in the order in which they are shown, by what the container says of them; none is decoded or can be drawn.

    Raises:
        UnusableError: as `open_container`.
    """
    from av import FFmpegError

    with open_container(source) as (container, stream):
        found: list[tuple[float, float | None]] = []
        try:
            for packet in container.demux(stream):
                if packet.pts is not None and packet.time_base is not None and packet.size:
                    duration = float(packet.duration * packet.time_base) if packet.duration else None
                    found.append((float(packet.pts * packet.time_base), duration))
        except FFmpegError:  # what comes before counts
            pass
        return [Decoded(start_s, duration_s, lambda: np.zeros(0, np.uint8)) for start_s, duration_s in sorted(found)]


def decode_container(
    source: str | bytes, notice: Callable[[str], None], max_pixels: int = MAX_PIXELS
) -> Iterator[Decoded]:
    """Frames in the order in which they are shown; what cannot be decoded is left out and told to notice.

    Raises:
        UnusableError: as `open_container`.
    """
    from av import FFmpegError
    from av.video.reformatter import VideoReformatter

    with open_container(source, max_pixels) as (container, stream):
        num_bad, converter = 0, VideoReformatter()  # one for all frames: to set it up costs more than a conversion
        packets, decoder = container.demux(stream), _choose_decoder(stream, max_pixels)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except FFmpegError as error:
                notice(f"an end that cannot be read ({_say(error)})")
                break
            try:
                frames = decoder.decode(packet)
            except FFmpegError:
                num_bad += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    num_bad += 1
                else:
                    yield _describe(frame, stream, converter, max_pixels)
        if num_bad:
            notice(f"{counted(num_bad, 'frame')} that cannot be decoded")


def _choose_decoder(stream: "VideoStream", max_pixels: int) -> "VideoCodecContext":
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name == "vp9":
        from av.codec import CodecContext

        decoder = CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own decoder drops transparency
    decoder.options = {"max_pixels": str(max_pixels)}
    decoder.thread_type = "AUTO"
    return decoder


def _describe(frame: "VideoFrame", stream: "VideoStream", converter: "VideoReformatter", max_pixels: int) -> Decoded:
    base = frame.time_base or stream.time_base
    rate = stream.average_rate
    duration = float(frame.duration * base) if frame.duration and base else float(1 / rate) if rate else None
    width = _square_width(frame.width, stream.sample_aspect_ratio)
    return Decoded(frame.time, duration, lambda: _draw(frame, width, converter, max_pixels))


def _square_width(width: int, pixel_ratio: Fraction | None) -> int:
    """How wide a picture is when its pixels, which a header says are so many times as wide as high, are square."""
    return max(1, round(width * (pixel_ratio or 1)))


def _draw(frame: "VideoFrame", width: int, converter: "VideoReformatter", max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, upright."""
    from av import FFmpegError

    check_size(width, frame.height, max_pixels)
    is_transparent = any(component.is_alpha for component in frame.format.components)
    is_unnamed = frame.colorspace == _UNSPECIFIED_COLORS and frame.height > _SMALL_ROWS
    try:
        pixels = converter.reformat(
            frame,
            format="rgba" if is_transparent else "rgb24",
            width=width,
            src_colorspace="ITU709" if is_unnamed else None,
            threads=1,
        ).to_ndarray()
    except FFmpegError as error:
        raise UnusableError(f"has frames that cannot be drawn ({_say(error)})", "Save it as H.264 in MP4.") from None
    if is_transparent:
        pixels = np.array(convert_to_rgb(Image.fromarray(pixels), None))
    if frame.interlaced_frame:
        pixels = np.repeat(pixels[::2], 2, axis=0)[: len(pixels)]
    return np.ascontiguousarray(_turn(pixels, frame.side_data.get("DISPLAYMATRIX")))


def _turn(pixels: NDArray[np.uint8], matrix: Any) -> NDArray[np.uint8]:
    """The picture upright: the display matrix sends column x and row y to columns a x + c y and rows b x + d y."""
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _attached() -> Any:
    """Covers of albums and still thumbnails, which containers list among moving pictures."""
    from av.stream import Disposition

    return Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def _say(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
