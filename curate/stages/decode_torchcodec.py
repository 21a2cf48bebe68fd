"""Reads frames on an NVIDIA GPU, by torchcodec: regular streams whose packets show no damage.

The GPU's decoder conceals damage inside of packets and tells nobody, so a recipe has to ask for it (`decode`). Frames
whose times are not those of their places, and streams that the GPU does not take, are left to the other decoders.
Pictures are those of the CPU but for the rounding of colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.heartbeat import DECODE, beat
from curate.records import Pixels
from curate.stages.decode_index import Index, Suspicious

CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4"})
AT_ONCE = 16
"""Frames that are read at once: 100 MB of 1080p."""


def suits(index: Index) -> bool:
    """Whether the GPU may be asked for a stream."""
    known = index.info.container in CONTAINERS and index.info.codec in CODECS
    return known and index.plain and index.seekable and not index.flawed


def frames(path: Path, index: Index, wanted: list[int], device: str = "cuda") -> Iterator[Pixels]:
    """Reads the frames at `wanted`, ascending places, a few at once.

    Args:
        device: on which torchcodec decodes.

    Raises:
        Suspicious: the next frame cannot be had there; the frames before it could.
    """
    from torchcodec.decoders import VideoDecoder  # loads torch, which the other decoders do without

    shape = (index.info.height, index.info.width, 3)
    try:
        decoder = VideoDecoder(path, stream_index=index.stream, dimension_order="NHWC", device=device)
        if len(decoder) != len(index.times) or decoder.cpu_fallback:
            raise Suspicious
        for start in range(0, len(wanted), AT_ONCE):
            places = wanted[start : start + AT_ONCE]
            batch = decoder.get_frames_at(places)
            if batch.data.shape[1:] != shape or not _at(index, places, batch.pts_seconds.cpu().numpy()):
                raise Suspicious
            before = wanted[start - 1] if start else -1
            beat(DECODE, frames=places[-1] - before)
            yield from batch.data.cpu().numpy()
    except (RuntimeError, ValueError, IndexError):  # torchcodec has no class for its own
        raise Suspicious from None


def _at(index: Index, places: list[int], seconds: NDArray[np.float64]) -> bool:
    """Whether frames that were read show the times of their places."""
    return bool(np.all(np.abs(seconds - index.pts[places] * index.tick_s) < index.tick_s / 2))
