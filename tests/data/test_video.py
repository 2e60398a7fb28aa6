"""Clips: what is seen at which time, upright, from files of every kind; bad ones say why."""

import errno
import os
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images.unusable import UnusableError
from alexnet.data.video.animation import decode_animation
from alexnet.data.video.clip import Bounds, is_clip, name_frame, open_clip, read_frames
from alexnet.data.video.timeline import MAX_STEP_S, Decoded, Timeline
from alexnet.errors import ConfigError, ImageError
from conftest import write_clip

av = pytest.importorskip("av", reason="needs PyAV, the extra video")

RED, GREEN = (255, 0, 0), (0, 255, 0)


def draw_frames(count: int = 20, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """Red at the upper left, green at the upper right, below a grey of 12 times the number of the frame."""
    frames = []
    for number in range(count):
        pixels = np.full((height, width, 3), 12 * number, np.uint8)
        pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
        frames.append(pixels)
    return frames


def numbers_seen(source: Any, every_s: float = 0.5) -> list[tuple[float, float]]:
    """Each time with the number of the frame that is seen."""
    return [(time_s, float(pixels[-1, 0, 0]) / 12) for time_s, pixels in read_frames(source, every_s)]


# --- which frame at which time ---


@pytest.mark.parametrize("suffix", ["mkv", "avi", "nut"])
def test_frames_are_those_that_a_player_shows_at_the_times(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", draw_frames())
    assert numbers_seen(path) == [(0.0, 0), (0.5, 5), (1.0, 10), (1.5, 15)]
    assert numbers_seen(path, 0.25)[:4] == [(0.0, 0), (0.25, 2), (0.5, 5), (0.75, 7)]
    assert numbers_seen(path, 60) == [(0.0, 0)]
    assert numbers_seen(path.read_bytes()) == numbers_seen(path)


def test_of_a_variable_frame_rate_times_count_and_not_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v.mkv", draw_frames(6), times_s=[0, 0.1, 0.7, 0.75, 3.0, 3.1])
    assert numbers_seen(path) == [(0, 0), (0.5, 1), (1, 3), (1.5, 3), (2, 3), (2.5, 3), (3, 4)]
    standing = [pixels for time_s, pixels in read_frames(path, 0.5) if 1 <= time_s < 3]
    assert all(pixels is standing[0] for pixels in standing)


def test_timestamps_that_start_late_count_from_the_first_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "late.mkv", draw_frames(4), times_s=[5, 5.5, 6, 6.5])
    clip = open_clip(path)
    assert [frame.time_s for frame in clip.frames(0.5)] == [0, 0.5, 1, 1.5]
    assert clip.oddities == []


def test_timestamps_that_jump_do_not_stretch_the_clip_and_are_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "jump.mkv", draw_frames(6), times_s=[0, 0.5, 1, 5000, 5000.5, 5001])
    clip = open_clip(path)
    assert [(frame.time_s, frame.pixels[-1, 0, 0] // 12) for frame in clip.frames(0.5)] == [
        (0, 0), (0.5, 1), (1, 2), (1.5, 3), (2, 4)
    ]  # fmt: skip
    assert clip.oddities == [
        "timestamps that jump",
        "frames for 2.2 s of the 5001.1 s that its header names",
    ]


def test_a_timeline_fills_in_what_a_file_does_not_say() -> None:
    def decoded(*starts: float | None, duration_s: float | None = None) -> list[Decoded]:
        return [Decoded(s, duration_s, lambda n=n: np.full((1, 1, 3), n, np.uint8)) for n, s in enumerate(starts)]

    def times(frames: list[Decoded], every_s: float) -> tuple[list[tuple[float, int]], Timeline]:
        timeline = Timeline(frames, every_s)
        return [(round(time_s, 6), int(pixels[0, 0, 0])) for time_s, pixels in timeline], timeline

    assert times(decoded(None, None, None), 0.04)[0] == [(0, 0), (0.04, 1), (0.08, 2)]
    assert times(decoded(None, None, duration_s=1.0), 0.5)[0] == [(0, 0), (0.5, 0), (1, 1), (1.5, 1)]
    found, timeline = times(decoded(3.0, 4.0, 2.0, 3.0), 1.0)  # joined files begin again
    assert found == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert timeline.num_jumps == 1
    assert timeline.end_s == 4
    assert len(times(decoded(0.0, duration_s=1e9), 1.0)[0]) == MAX_STEP_S
    assert times(decoded(0.0, 0.0, 0.0), 1.0)[0] == [(0, 0)]
    assert times([], 1.0)[0] == []


def test_the_name_of_a_frame_is_its_clip_and_time() -> None:
    assert [name_frame("a/b.mp4", time_s) for time_s in (0.0, 12.5, 1 / 3, 3600.0, 0.1 * 3)] == [
        "a/b.mp4@0s", "a/b.mp4@12.5s", "a/b.mp4@0.333s", "a/b.mp4@3600s", "a/b.mp4@0.3s"
    ]  # fmt: skip


@pytest.mark.parametrize("every_s", [0, -1, float("nan"), float("inf")])
def test_a_time_between_frames_that_is_none_is_refused(tmp_path: Path, every_s: float) -> None:
    clip = open_clip(write_clip(tmp_path / "a.mkv", draw_frames(1)))
    with pytest.raises(ConfigError) as caught:
        clip.frames(every_s)
    assert str(caught.value) == f"A frame every {every_s:g} seconds; accepted are 0.001 and more, for example 0.5."


# --- what is seen ---


@pytest.mark.parametrize(
    ("turn", "corners"),  # upper left, upper right, lower left, lower right; G for green, R for red
    [
        (None, "RG.."), ((90, False, False), "G.R."), ((-90, False, False), ".R.G"), ((180, False, False), "..GR"),
        ((0, True, False), "GR.."), ((0, False, True), "..RG"), ((90, True, False), ".G.R"), ((90, False, True), "R.G."),
    ],
)  # fmt: skip
def test_a_clip_is_turned_and_mirrored_as_its_container_says(tmp_path: Path, turn: Any, corners: str) -> None:
    path = write_clip(tmp_path / "a.mov", draw_frames(1), codec="png", pix_fmt="rgb24", turn=turn)
    [frame] = read_frames(path)
    assert frame.pixels.shape == (
        (64, 48, 3) if (turn and turn[0] == 90) or turn == (-90, False, False) else (48, 64, 3)
    )
    assert frame.pixels.flags.c_contiguous
    letters = {RED: "R", GREEN: "G", (0, 0, 0): "."}
    seen = [letters[tuple(frame.pixels[y, x].tolist())] for y in (0, -1) for x in (0, -1)]
    assert "".join(seen) == corners


def test_oblong_pixels_are_made_square(tmp_path: Path) -> None:
    options = {"x264-params": "sar=2/1", "qp": "0"}
    path = write_clip(tmp_path / "a.mp4", draw_frames(2), codec="libx264", pix_fmt="yuv444p", options=options)
    assert next(read_frames(path)).pixels.shape == (48, 128, 3)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.mov", "qtrle", "argb"), ("a.mkv", "ffv1", "bgra"), ("a.webm", "libvpx-vp9", "yuva420p")],
)  # fmt: skip
def test_what_is_transparent_is_seen_on_white(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = [np.dstack([pixels, np.full((48, 64), 128, np.uint8)]) for pixels in draw_frames(2)]
    [frame] = read_frames(write_clip(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt))
    assert (
        np.abs(
            frame.pixels[[10, 10, 40], [10, 50, 30]].astype(int) - [[255, 127, 127], [127, 255, 127], [127, 127, 127]]
        ).max()
        <= 6
    )


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "yuv420p10le"), ("ffv1", "yuv422p12le"), ("libx265", "yuv420p10le"), ("ffv1", "gray16le")])  # fmt: skip
def test_more_than_eight_bits_become_eight(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    options = {"x265-params": "log-level=none:crf=5:pools=none:frame-threads=1"} if codec == "libx265" else {}
    frames = [np.full((48, 64, 3), 100, np.uint8)] * 2
    try:
        path = write_clip(tmp_path / "a.mkv", frames, codec=codec, pix_fmt=pix_fmt, options=options)
    except av.FFmpegError as problem:  # this encoder fails now and then, and is not what is tested
        if codec != "libx265":
            raise
        pytest.skip(f"libx265 could not write the clip: {problem}")
    [frame] = read_frames(path)
    assert np.abs(frame.pixels.astype(int) - 100).max() <= 2


def test_of_interlaced_pictures_one_moment_is_seen(tmp_path: Path) -> None:
    comb = np.full((64, 64, 3), 20, np.uint8)
    comb[::2] = 200

    def interlace(stream: Any) -> None:
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me

    options = {"x264-params": "tff=1", "qp": "1"}
    path = write_clip(
        tmp_path / "a.mp4", [comb] * 3, codec="libx264", pix_fmt="yuv444p", options=options, set_up=interlace
    )
    [frame] = read_frames(path)
    assert np.abs(frame.pixels.astype(int) - 200).max() <= 3


def test_colors_that_are_not_named_are_those_of_high_definition_where_rows_are_many(tmp_path: Path) -> None:
    for height, space in ((480, "ITU601"), (720, "ITU709")):
        path = tmp_path / f"{height}.mkv"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, height, "yuv444p"
            green = av.VideoFrame.from_ndarray(np.tile(np.uint8([20, 180, 40]), (height, 64, 1)), format="rgb24")
            file.mux(stream.encode(green.reformat(format="yuv444p", dst_colorspace=space)))
            file.mux(stream.encode())
        [frame] = read_frames(path)
        assert np.abs(frame.pixels.astype(int) - [20, 180, 40]).max() <= 3


def test_sizes_from_one_pixel_to_8k_are_read(tmp_path: Path) -> None:
    for height, width in ((1, 1), (4320, 7680)):
        pixels = np.full((height, width, 3), 77, np.uint8)
        path = write_clip(tmp_path / f"{width}.nut", [pixels], codec="rawvideo", pix_fmt="rgb24")
        [frame] = read_frames(path)
        assert np.array_equal(frame.pixels, pixels)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_animation_is_a_clip_with_the_times_that_it_gives(tmp_path: Path, suffix: str) -> None:
    first, *rest = (Image.fromarray(pixels) for pixels in draw_frames(10))
    first.save(
        tmp_path / f"a.{suffix}", save_all=True, append_images=rest, duration=[200] * 5 + [1000] * 5, lossless=True
    )
    seen = numbers_seen(tmp_path / f"a.{suffix}")
    assert seen[:7] == [(0, 0), (0.5, 2), (1, 5), (1.5, 5), (2, 6), (2.5, 6), (3, 7)]
    assert seen[-1] == (5.5, 9)


def test_an_animation_that_is_shown_for_no_time_takes_a_tenth_of_a_second(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(pixels) for pixels in draw_frames(10))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=0)
    assert numbers_seen(tmp_path / "a.gif") == [(0, 0), (0.5, 5)]


def test_transparent_parts_of_an_animation_are_white(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.dstack([pixels, np.full((48, 64), 0, np.uint8)])) for pixels in draw_frames(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    assert next(read_frames(tmp_path / "a.webp")).pixels.min() == 255


# --- bad clips ---


def test_what_is_a_clip_is_told_by_its_content(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(pixels) for pixels in draw_frames(3))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=rest)
    first.save(tmp_path / "still.gif")
    first.save(tmp_path / "still.webp")
    for name in ("a.mkv", "a.avi", "a.mp4", "a.ts", "a.mpg", "a.flv", "a.wmv"):
        codec = {"a.mpg": "mpeg2video", "a.flv": "flv", "a.wmv": "wmv2"}.get(name, "mpeg4")
        write_clip(tmp_path / name, draw_frames(20), codec=codec, pix_fmt="yuv420p", rate=25)
        assert is_clip(tmp_path / name), name
        assert len(list(read_frames(tmp_path / name))) == 1, name
    assert is_clip(tmp_path / "moving.gif")
    assert not is_clip(tmp_path / "still.gif")
    assert not is_clip(tmp_path / "still.webp")
    assert is_clip(tmp_path / "nothing.mp4")  # so that the sentence is that of a clip
    assert not is_clip(tmp_path / "nothing.png")


def fails(source: Any) -> str:
    with pytest.raises(ImageError) as caught:
        list(open_clip(source, name="clip.mp4").frames())
    return str(caught.value)


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode())
    return path


def test_each_kind_of_bad_clip_has_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_clip(tmp_path / "a.mp4", draw_frames(), codec="libx264", pix_fmt="yuv420p").read_bytes()
    copy = "Copy it again from where it came."
    headless = f"clip.mp4: is no video, or its header is damaged (Invalid data found when processing input). {copy}"
    assert fails(b"") == headless
    assert fails(bytes(5000)) == headless
    assert fails(whole[: len(whole) // 2]) == headless
    assert (
        fails(write_sound(tmp_path / "a.wav")) == "clip.mp4: has no moving pictures, perhaps only sound. Give a video."
    )
    thin = write_clip(tmp_path / "thin.mkv", [np.zeros((2, 200, 3), np.uint8)])
    assert fails(thin) == "clip.mp4: is 200 x 2 pixels, one side over 50 times the other. Cut out a part of it."
    assert (
        fails(tmp_path / "none")
        == "clip.mp4: cannot be read (No such file or directory). Check that it exists and its permissions."
    )
    assert fails(tmp_path) == "clip.mp4: cannot be read (it is a folder, not a file). Give a file."
    png = write_clip(tmp_path / "b.mov", draw_frames(3), codec="png", pix_fmt="rgb24").read_bytes()
    assert fails(png.replace(b"\x89PNG", bytes(4))) == f"clip.mp4: has no frame that can be decoded. {copy}"
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert fails(whole) == "clip.mp4: is a video, which is not read. To read it: pip install 'alexnet[video]'."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{other}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile '{other}'\n"),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 1 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    ],
)  # fmt: skip
def test_a_list_of_other_files_or_hosts_is_never_followed(tmp_path: Path, name: str, text: str) -> None:
    other = write_clip(tmp_path / "a.mkv", draw_frames(2))
    (tmp_path / name).write_text(text.format(other=other))
    said = "clip.mp4: is of no kind of video that is read. Save it as MP4, WebM or MKV."
    assert fails(tmp_path / name) == said
    assert fails((tmp_path / name).read_bytes()).startswith("clip.mp4: is ")


@pytest.mark.parametrize(
    ("size", "ratio", "reason"),
    [
        ((64, 48), "60000:1", "has more than 120,000,000 pixels. Save a smaller copy of it."),
        ((640, 480), "500:1", "has more than 120,000,000 pixels. Save a smaller copy of it."),
        ((64, 48), "60:1", "is 3840 x 48 pixels, one side over 50 times the other. Cut out a part of it."),
        ((64, 48), "1:60000", None),
        ((64, 48), "2:1", None),
    ],
)
def test_a_picture_is_as_wide_as_its_header_says_its_pixels_are(
    tmp_path: Path, size: tuple[int, int], ratio: str, reason: str | None
) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(write_y4m(size, ratio))
    if reason is None:
        assert next(read_frames(path)).pixels.shape == (48, 128 if ratio == "2:1" else 1, 3)
        return
    assert fails(path) == f"clip.mp4: {reason}"
    with pytest.raises(ImageError) as caught:
        open_clip(path, name="clip.mp4").times()
    assert str(caught.value) == f"clip.mp4: {reason}"


def test_the_bound_on_pixels_is_of_the_picture_and_not_of_what_is_stored(tmp_path: Path) -> None:
    data = write_y4m((64, 48), "4:1")
    assert len(list(open_clip(data, bounds=Bounds(9, 9, 256 * 48)).frames())) == 1
    with pytest.raises(ImageError, match=r"^clip: has more than 12,287 pixels\. "):
        list(open_clip(data, bounds=Bounds(9, 9, 256 * 48 - 1)).frames())


def test_what_the_drawing_of_a_frame_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise av.error.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr(
        "av.video.reformatter.VideoReformatter", lambda: type("Refusing", (), {"reformat": staticmethod(refuse)})()
    )
    expected = "clip.mp4: has frames that cannot be drawn (Invalid argument). Save it as H.264 in MP4."
    assert fails(write_y4m((64, 48), "1:1")) == expected


def write_y4m(size: tuple[int, int], pixel_ratio: str) -> bytes:
    """One grey frame."""
    width, height = size
    return f"YUV4MPEG2 W{width} H{height} F10:1 Ip A{pixel_ratio} C420\nFRAME\n".encode() + b"\x80" * (
        width * height * 3 // 2
    )


def test_of_a_clip_that_is_cut_off_what_decodes_is_used_and_the_rest_said(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "a.mkv", draw_frames()).read_bytes()
    clip = open_clip(data[: len(data) * 2 // 3])
    assert [frame.pixels[-1, 0, 0] // 12 for frame in clip.frames(0.5)] == [0, 5, 10]
    assert clip.oddities == ["frames for 1.2 s of the 2.0 s that its header names"]


def test_frames_that_cannot_be_decoded_are_left_out_and_counted(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "a.mov", draw_frames(), codec="png", pix_fmt="rgb24").read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 4] == b"\x89PNG"]
    for start in starts[5:8]:
        data[start : start + 8] = bytes(8)
    clip = open_clip(bytes(data))
    assert [frame.time_s for frame in clip.frames(0.5)] == [0, 0.5, 1, 1.5]
    assert clip.oddities == ["3 frames that cannot be decoded"]


def test_a_cut_animation_gives_the_frames_before(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3), np.uint8)
    first, *rest = (Image.fromarray(pixels) for pixels in noise)
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=500)
    data = (tmp_path / "a.gif").read_bytes()
    clip = open_clip(data[: len(data) * 2 // 3])
    assert 5 <= len(list(clip.frames(0.5))) <= 7
    assert clip.oddities == ["an end that cannot be decoded"]


def test_a_clip_that_is_not_there_any_more_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", draw_frames())
    clip = open_clip(path)
    path.unlink()
    for read in (clip.times, lambda every_s: list(clip.frames(every_s))):
        with pytest.raises(ImageError) as caught:
            read(0.5)
        assert str(caught.value) == (
            f"{path}: cannot be read (No such file or directory). Check that it exists and its permissions."
        )


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_a_disk_that_fails_within_an_animation_is_no_end_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(BytesIO):
        """The disk behind it fails in its second half."""

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if self.tell() > len(whole) // 2:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return data

    noise = np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3), np.uint8)
    first, *rest = (Image.fromarray(pixels) for pixels in noise)
    path = tmp_path / name
    first.save(path, save_all=True, append_images=rest, duration=500)
    whole = path.read_bytes()
    clip = open_clip(path)
    assert len(clip.times(0.5)) == 10
    monkeypatch.setattr("alexnet.data.video.animation._file", lambda _: Failing(whole))
    for read in (clip.times, lambda every_s: list(clip.frames(every_s))):
        with pytest.raises(ImageError) as caught:
            read(0.5)
        assert str(caught.value) == (
            f"{path}: cannot be read (Input/output error). Check that it exists and its permissions."
        )


def test_an_animation_that_was_cut_at_any_byte_says_so(tmp_path: Path) -> None:
    """Between two frames Pillow sees the end of a GIF as it sees that of a whole one; a cut WebP it does not open."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), np.uint8)
    first, *rest = (Image.fromarray(pixels) for pixels in noise)
    for name in ("a.gif", "a.webp"):
        first.save(tmp_path / name, save_all=True, append_images=rest, duration=500)
        data = (tmp_path / name).read_bytes()
        told: list[str] = []
        assert len(list(decode_animation(data, told.append))) == 3
        if name == "a.gif":  # what a program writes behind the last byte is overlooked
            assert len(list(decode_animation(data + b"\0\0", told.append))) == 3
        assert told == []
        endings = set()
        for length in range(12, len(data)):
            told.clear()
            try:
                frames = len(list(decode_animation(data[:length], told.append)))
            except UnusableError as problem:
                endings.add(str(problem))
                continue
            assert frames <= 3
            assert len(told) == 1, length
            endings.update(told)
        assert "has a damaged header or ends early" in str(endings)
        assert ({"an end that is missing", "an end that cannot be decoded"} <= endings) == (name == "a.gif")


def test_a_cover_is_no_moving_picture(tmp_path: Path) -> None:
    def call_it_a_cover(stream: Any) -> None:
        stream.disposition = av.stream.Disposition.attached_pic

    path = write_clip(tmp_path / "a.mp4", draw_frames(1), codec="mjpeg", pix_fmt="yuvj420p", set_up=call_it_a_cover)
    assert fails(path) == "clip.mp4: has no moving pictures, perhaps only sound. Give a video."


def test_whatever_the_bytes_are_there_is_an_answer_or_a_sentence(tmp_path: Path) -> None:
    chance = random.Random(0)
    first, *rest = (Image.fromarray(pixels) for pixels in draw_frames(4))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest)
    write_clip(tmp_path / "a.mp4", draw_frames(8), codec="libx264", pix_fmt="yuv420p", turn=(90, False, False))
    write_clip(tmp_path / "a.mkv", draw_frames(8), codec="libvpx-vp9", pix_fmt="yuv420p")
    write_clip(tmp_path / "a.avi", draw_frames(8), codec="mpeg4", pix_fmt="yuv420p")
    write_clip(tmp_path / "a.ts", draw_frames(8), codec="mpeg2video", pix_fmt="yuv420p", rate=25)
    outcomes = []
    for path in sorted(tmp_path.iterdir()):
        for _ in range(12):
            data = bytearray(path.read_bytes())
            for _ in range(chance.choice((1, 5, 50))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            try:
                outcomes.append(len(list(read_frames(bytes(data[: chance.choice((len(data), len(data) // 2))])))))
            except ImageError:
                outcomes.append(0)
    assert outcomes.count(0) < len(outcomes)


def test_an_hour_takes_no_more_memory_than_a_minute() -> None:
    """No frame but the one that is shown and the next is alive."""
    alive, most = 0, 0

    class Pixels:
        def __init__(self) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __call__(self) -> NDArray[np.uint8]:
            return np.zeros((1, 1, 3), np.uint8)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    count = sum(1 for _ in Timeline((Decoded(float(n), 1.0, Pixels()) for n in range(3600)), 1.0))
    assert count == 3600
    assert most <= 3
