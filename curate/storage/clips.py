"""Pictures as a video file."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from curate.errors import UnavailableError
from curate.records import Pixels

CODECS = ("libx264", "mpeg4")
"""The first that PyAV has here is used; its own wheels have both."""
TICKS = 90_000
"""Of a second: those of MPEG, which hold the times of any usual rate exactly."""


def encoder() -> str:
    """The name of the first of `CODECS` that PyAV has here.

    Raises:
        UnavailableError: it has none of them.
    """
    for name in CODECS:
        try:
            av.codec.Codec(name, "w")
        except (av.error.FFmpegError, ValueError):
            continue
        return name
    raise UnavailableError(f"PyAV here has no video encoder ({' or '.join(CODECS)}); pip install --force-reinstall av")


def write_clip(path: Path, pictures: Sequence[Pixels], times_s: Sequence[float]) -> None:
    """Writes an MP4 whose frames are shown at their times, the first one at zero.

    Args:
        pictures: uint8 [height, width, 3], RGB, of one size; of an odd one the last row or column is left out, since
            such videos have none.
        times_s: seconds, ascending.
    """
    name = encoder()
    height, width = (side - side % 2 for side in pictures[0].shape[:2])
    with av.open(str(path), "w", format="mp4") as container:
        options = {"crf": "18", "preset": "veryfast", "bf": "0"} if name == "libx264" else {"qmin": "3", "qmax": "3"}
        stream = container.add_stream(name, rate=TICKS // 3600, options=options)
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = width, height
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.thread_count = 1  # slices, and with them the bytes, depend on the number of threads
        for picture, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(picture[:height, :width].copy(), format="rgb24")
            frame.pts, frame.time_base = round((time_s - times_s[0]) * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
