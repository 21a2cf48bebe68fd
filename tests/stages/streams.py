"""Small clips whose frames tell their index, and the same with faults, for the tests of decoding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from curate.records import Frame, VideoInfo
from curate.stages import decode

WIDTH, HEIGHT = 256, 128

CODECS = [
    ("mp4", "libx264", {"preset": "fast", "x264-params": "log-level=none"}),
    ("mkv", "libx264", {"preset": "fast", "x264-params": "log-level=none"}),
    ("ts", "libx264", {"preset": "fast", "x264-params": "log-level=none"}),
    ("avi", "mpeg4", {"b": "900k"}),
    ("mp4", "mpeg4", {"b": "900k"}),
    ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "500k"}),
    ("webm", "libvpx", {"deadline": "realtime", "b": "500k"}),
    ("mpg", "mpeg1video", {"b": "1500k"}),
    ("mpg", "mpeg2video", {"b": "1500k"}),
    ("mov", "mjpeg", {"q": "3"}),
    ("gif", "gif", {}),
]
NAMES = [f"{codec}.{ending}" for ending, codec, _ in CODECS]


def picture(index: int, noise: int = 0) -> np.ndarray:
    """A frame that tells its index, by eight bars of black and white."""
    bars = [(index >> bit & 1) * 200 + 28 for bit in range(8)]
    image = np.repeat(np.array(bars, np.uint8), WIDTH // 8)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)
    if noise:
        image = image.copy()
        image[HEIGHT // 2 :] = np.random.default_rng(index).integers(0, noise, (HEIGHT // 2, WIDTH, 3), np.uint8)
    return image


def told(pixels: np.ndarray) -> int:
    """The index that a decoded frame tells."""
    height, width = pixels.shape[:2]
    bars = pixels[: height // 3].mean(axis=(0, 2)).reshape(8, width // 8).mean(1)
    return sum(int(bar > 128) << bit for bit, bar in enumerate(bars))


def render(
    path: Path,
    codec: str,
    options: dict[str, str],
    ticks: Sequence[int],
    rate: int = 25,
    gop: int = 12,
    tick: Fraction | None = None,
    pix_fmt: str | None = None,
    noise: int = 0,
    width: int = WIDTH,
) -> Path:
    """Writes frame k at `ticks[k]` (in units of `tick`, else of a frame)."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = width, HEIGHT
        stream.pix_fmt = pix_fmt or {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.codec_context.gop_size = gop
        base = tick or Fraction(1, rate)
        stream.codec_context.time_base = base
        for index, at in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(index, noise)[:, :width], format="rgb24")
            frame.pts, frame.time_base = at, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path, fps: float, *span: float | None) -> tuple[list[Frame], VideoInfo]:
    """The sampled frames of a video, or of a range of it, and its row."""
    with decode.open_video(path, *span) as video:
        frames = list(video.frames(fps))
        return frames, video.read
