"""What is sent to a server, or looked at as it comes: bodies of requests, clips, pictures that move."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from damage.family import Samples, picture


def make_requests(folder: Path) -> Samples:
    form = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\nContent-Type: image/png\r\n\r\n%s\r\n'
        % (name, picture(number)) for number, name in enumerate((b"a.png", b"../../b.png"))
    )  # fmt: skip
    text = {"images": [{"name": "a.png", "base64": base64.b64encode(picture()).decode()}]}
    good = [
        b"multipart/form-data; boundary=b\n" + form + b"--b--\r\n",
        b"application/json\n" + json.dumps(text).encode(),
        b"image/png\n" + picture(),
    ]
    odd = [
        b"application/json\n" + b"[" * 100_000,
        b"multipart/form-data\n" + form,
        b"multipart/form-data; boundary=b\n"
        + b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * 2000
        + b"--b--\r\n",
        b"application/x-www-form-urlencoded\n" + b"a=b&" * 2000,
    ]
    return Samples(good, odd)


def read_request(path: Path) -> None:
    """The body of a request, whose first line stands for its Content-Type."""
    import asyncio

    from starlette.requests import Request

    from alexnet.data.images.decode import decode_image
    from alexnet.errors import ImageError
    from alexnet.serving.limits import Limits
    from alexnet.serving.uploads import read_uploads

    kind, _, body = path.read_bytes().partition(b"\n")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive)
    for upload in asyncio.run(read_uploads(request, Limits())):
        try:
            decode_image(upload.data, size=16, name=upload.name)
        except ImageError:
            continue


CLIPS = (("mp4", "mpeg4", "yuv420p"), ("mkv", "ffv1", "bgr0"), ("avi", "mjpeg", "yuvj420p"), ("webm", "libvpx", "yuv420p"),
         ("ts", "mpeg2video", "yuv420p"))  # fmt: skip


def make_clips(folder: Path) -> Samples:
    from conftest import write_clip

    frames = list(np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3), dtype=np.uint8))
    good = [
        write_clip(folder / f"good.{suffix}", frames, rate=25, codec=codec, pix_fmt=pixels).read_bytes()
        for suffix, codec, pixels in CLIPS
    ]
    odd = [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ]
    return Samples(good, odd)


def read_clip(path: Path) -> None:
    from alexnet.data.video.clip import Bounds, open_clip

    clip = open_clip(path, bounds=Bounds(seconds=5, frames=100, pixels=10**6))
    assert clip.times(0.02) is not None
    assert all(frame.pixels.shape[2] == 3 for frame in clip.frames(0.02))


def make_moving_pictures(folder: Path) -> Samples:
    frames = [Image.open(io.BytesIO(picture(number))).quantize(16) for number in range(3)]
    good = []
    for kind, options in (("GIF", {"disposal": 2}), ("GIF", {"interlace": 0, "disposal": 3}), ("WEBP", {})):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:], duration=40, **options)
        good.append(stream.getvalue())
    large = bytearray(good[0])
    large[6:10] = b"\xff\xff\xff\xff"  # the screen; its frames stay small
    return Samples(good, [bytes(large)])


def read_moving_picture(path: Path) -> None:
    from alexnet.data.images.decode import decode_image

    assert decode_image(path.read_bytes(), size=16, name=path.name).shape == (16, 16, 3)
    read_clip(path)
