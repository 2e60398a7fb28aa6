"""How fast clips are read and predicted: frames/s against the bare decode of PyAV, images/s against the images alone.

    python benchmarks/clips.py [MODEL] --out records.jsonl

A clip of H.264, 1280 x 720 at 30 frames a second, is drawn by numbers. Each round does everything once, in turns. Told
are the median of the rounds, the least and the most.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

import alexnet
from alexnet.data.images.decode import square_pixels
from alexnet.data.video.clip import read_frames
from alexnet.evaluation.clips import predict_clip

SECONDS, RATE = 20, 30


def draw(path: Path) -> None:
    """Blurred noise that drifts, so that there is motion to encode."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 60, 3), np.uint8).repeat(40, 0).repeat(40, 1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(SECONDS * RATE):
            shown = np.ascontiguousarray(np.roll(coarse, 3 * number, 1)[100:820, :1280])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        file.mux(stream.encode())


def decode_bare(path: Path) -> int:
    """Decode every frame with PyAV's own threads and look at none."""
    with av.open(str(path)) as file:
        file.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in file.decode(video=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        draw(path)
        total = SECONDS * RATE
        jobs: dict[str, tuple[Callable[[], object], float]] = {
            "bare decode, frames/s": (lambda: decode_bare(path), total),
            "frames every 0.5 s, frames/s": (lambda: [square_pixels(f.pixels) for f in read_frames(path, 0.5)], total),
            "frames every 0.1 s, frames/s": (lambda: [square_pixels(f.pixels) for f in read_frames(path, 0.1)], total),
        }
        if options.model:
            model = alexnet.load(options.model)
            size = model.image_px
            images = [square_pixels(frame.pixels, size) for frame in read_frames(path, 0.1)]
            jobs["images alone, images/s"] = (lambda: model.predict(images), len(images))
            jobs["predict_clip every 0.1 s, images/s"] = (lambda: predict_clip(model, path, every_s=0.1), len(images))
        rates: dict[str, list[float]] = {name: [] for name in jobs}
        for number in range(options.rounds + 1):
            for name, (job, count) in jobs.items():
                start = time.perf_counter()
                job()
                if number:  # the first round compiles and warms up
                    rates[name].append(count / (time.perf_counter() - start))
    first = statistics.median(rates["bare decode, frames/s"])
    for name, found in rates.items():
        share = f", {100 * statistics.median(found) / first:.0f} % of the bare decode" if "frames/s" in name else ""
        print(f"{name}: {statistics.median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f}){share}")
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps({"what": name, "rates": found}) + "\n")


if __name__ == "__main__":
    main()
