"""A decoded frame as a player shows it: upright, in square pixels, one moment, and with the colours of SDR.

* Turned and mirrored by the whole display matrix (ISO/IEC 14496-12 8.2.2.3), to the nearest quarter turn.
* Pixels that are not square are stretched along the side that has too few of them, so that nothing is lost.
* A frame of two interlaced fields whose lines do not match shows its first field; one whose lines match (film and
  still scenes in an interlaced stream) is one moment already, and keeps all of its lines.
* YUV becomes RGB by the matrix and range that the stream names; where it names no matrix, by BT.709 if the picture is
  1280 pixels wide or more than 576 high and by BT.601 if not, as players guess.
* PQ and HLG become SDR by `decode_tone`.

What is plain takes one pass of swscale; for all else libavfilter is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from curate.records import Pixels
from curate.stages import decode_tone
from curate.stages.decode_container import MOST_PIXELS

FIELD_ORDERS = ("unknown", "progressive", "tt", "bb", "tb", "bt")
"""libav's numbers of field orders, in ffprobe's words."""

TRANSFERS = (
    *("reserved", "bt709", "unknown", "reserved", "gamma22", "gamma28", "smpte170m", "smpte240m", "linear", "log100"),
    *("log316", "iec61966-2-4", "bt1361e", "iec61966-2-1", "bt2020-10", "bt2020-12", "smpte2084", "smpte428"),
    "arib-std-b67",
)
"""Transfer functions by their numbers in ITU-T H.273, in ffprobe's words."""

MOST_STRETCH = 10.0
"""Sample aspect ratios beyond this, or below its inverse, are mistakes, and not applied."""

_UNKNOWN = 2
_COMB_STEP = 10
"""Grey levels by which a line differs from both neighbours where a frame shows two moments, and they not from each
other."""
_COMB_BLOCK = 16
"""Side, pixels, of the blocks of which one such is enough."""
_COMBED = 0.2
"""Share of such pixels in a block. Of interlaced motion blocks reach 0.9 and more, of progressive frames 0.13."""


@dataclass(frozen=True)
class Orientation:
    """How a stored frame is made upright: mirrored left to right, or not, then turned clockwise.

    Attributes:
        rotation: degrees, 0, 90, 180 or 270.
    """

    rotation: int = 0
    mirrored: bool = False

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.rotation in (90, 270)

    def applied(self, pixels: Pixels) -> Pixels:
        """The picture upright."""
        if self.mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, -self.rotation // 90)) if self != Orientation() else pixels


def orientation(frame: av.VideoFrame) -> Orientation | None:
    """What the display matrix of a frame asks for; None where it has none."""
    # not frame.side_data, which frame and container would keep each other alive by, until the garbage collector runs
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # its stub lacks it
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.float64)
    mirrored = bool(a * d - b * c < 0)
    angle = np.degrees(np.arctan2(-b, -a) if mirrored else np.arctan2(b, a))
    return Orientation(round(angle / 90) * 90 % 360, mirrored)


def aspect(ratio: float | None) -> float:
    """A sample aspect ratio that can be applied: 1 where there is none, or an absurd one."""
    ratio = float(ratio or 0)
    return ratio if 1 / MOST_STRETCH <= ratio <= MOST_STRETCH else 1.0


def square(width: int, height: int, ratio: float) -> tuple[int, int]:
    """Width and height in square pixels of a picture whose pixels are `ratio` times as wide as high."""
    stretched = (max(round(width * ratio), 1), height) if ratio >= 1 else (width, max(round(height / ratio), 1))
    return stretched if stretched[0] * stretched[1] <= MOST_PIXELS else (width, height)


@dataclass
class Display:
    """Shows the frames of one video.

    Attributes:
        upright: how frames are turned that have no display matrix of their own.
        bottom_first: whether the lower field of an interlaced frame is the earlier one.
    """

    upright: Orientation
    bottom_first: bool = False
    _graphs: dict[tuple[object, ...], Graph] = field(default_factory=dict)

    def show(self, frame: av.VideoFrame, ratio: float) -> Pixels:
        """uint8 [height, width, 3], RGB.

        Args:
            ratio: sample aspect ratio.
        """
        width, height = square(frame.width, frame.height, ratio)
        if frame.interlaced_frame and combed(frame):
            frame = self._field(frame)
        matrix = Colorspace.ITU709 if _untagged_hd(frame) else None
        if frame.color_trc in (decode_tone.PQ, decode_tone.HLG):
            pixels = self._toned(frame, width, height)
        else:
            pixels = frame.to_ndarray(format="rgb24", width=width, height=height, src_colorspace=matrix)
        return (orientation(frame) or self.upright).applied(pixels)

    def _field(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The earlier field, half as high."""
        key = ("field", frame.width, frame.height, frame.format.name)
        if key not in self._graphs:
            chain = Graph()
            size = {"width": frame.width, "height": frame.height}
            source = chain.add_buffer(**size, format=frame.format, time_base=Fraction(1))
            one = chain.add("field", "bottom" if self.bottom_first else "top")
            source.link_to(one)
            one.link_to(chain.add("buffersink"))
            chain.configure()
            self._graphs[key] = chain
        return _through(self._graphs[key], frame)

    def _toned(self, frame: av.VideoFrame, width: int, height: int) -> Pixels:
        matrix = Colorspace.BT2020 if frame.colorspace == _UNKNOWN else None
        signal = frame.reformat(width, height, "gbrp10le", src_colorspace=matrix)
        key = ("tone", width, height, frame.color_trc)
        if key not in self._graphs:
            self._graphs[key] = decode_tone.graph(width, height, signal.format, frame.color_trc)
        toned: Pixels = _through(self._graphs[key], signal).to_ndarray(format="rgb24")
        return toned


def is_plain(frame: av.VideoFrame) -> bool:
    """Whether a frame is shown as swscale converts it, but for its shape."""
    toned = frame.color_trc in (decode_tone.PQ, decode_tone.HLG)
    turned = orientation(frame) not in (None, Orientation())
    return not (turned or frame.interlaced_frame or toned or _untagged_hd(frame))


def combed(frame: av.VideoFrame) -> bool:
    """Whether the lines of a frame show two moments: somewhere, lines differ from those between them."""
    luma = _luma(frame).astype(np.int16)
    above, line, below = luma[:-2], luma[1:-1], luma[2:]
    up, down = line - above, line - below
    teeth = (np.minimum(np.abs(up), np.abs(down)) > _COMB_STEP) & ((up > 0) == (down > 0))
    teeth &= np.abs(above - below) < _COMB_STEP
    height, width = (side // _COMB_BLOCK * _COMB_BLOCK for side in teeth.shape)
    if not height or not width:
        return bool(teeth.mean() > _COMBED)
    blocks = teeth[:height, :width].reshape(height // _COMB_BLOCK, _COMB_BLOCK, width // _COMB_BLOCK, _COMB_BLOCK)
    return bool(blocks.mean((1, 3)).max() > _COMBED)


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    luma: NDArray[np.uint8] = frame.to_ndarray(format="gray")
    return luma


def _untagged_hd(frame: av.VideoFrame) -> bool:
    large = frame.width >= 1280 or frame.height > 576
    return bool(large and frame.colorspace == _UNKNOWN and not frame.format.is_rgb)


def _through(chain: Graph, frame: av.VideoFrame) -> av.VideoFrame:
    chain.vpush(frame)
    return chain.vpull()
