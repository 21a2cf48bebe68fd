"""What happens to pictures between one upload and the next, done on purpose: the same picture again, by construction.

Thresholds are calibrated on such pairs (`curate.calibration.calibrate`); `benchmarks/near_duplicates.py` compares
spaces on them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from curate.records import Pixels

Clip = list[Pixels]
Matrix = NDArray[np.float64]
Place = Callable[[int, int], Matrix]

MISPLACED = ((0.012, 0.006, 0.010, 0.8), (-0.010, 0.010, -0.012, -0.8))
"""What landmarks found again change about a crop: shift to the right and down, scale, in shares; turn, in degrees."""


RUN, DRIFT = 4, 0.5
"""Frames before and after a picture that is encoded, and pixels that they move by."""


@dataclass(frozen=True)
class Edit:
    """One way to make the same picture again.

    Attributes:
        kind: what is done, e.g. `re-encoded`.
        strength: how much of it, in `unit`.
        apply: pictures of one size, each uint8 [height, width, 3], to as many of one size, maybe another.
        place: height and width of the pictures -> float64 [2, 3], where their points come to lie; None: they stay.
    """

    kind: str
    strength: float
    unit: str
    apply: Callable[[Clip], Clip]
    place: Place | None = None

    @property
    def name(self) -> str:
        """Kind and strength, e.g. `re-encoded at CRF 30`."""
        return f"{self.kind} {self.unit.format(f'{self.strength:g}')}".strip()

    def moved(self, points: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
        """Where points [n, 2] of a picture come to lie, float32 [n, 2]."""
        if self.place is None:
            return points.astype(np.float32)
        matrix = self.place(height, width)
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def on_pictures() -> list[Edit]:
    """The edits that leave a face where it is, so that they may be applied to aligned crops as well."""
    return [
        *(Edit("re-encoded", crf, "at CRF {}", _coder(crf)) for crf in (18, 24, 30, 35, 40)),
        *(_each("brightness", by, "{} levels", _levels(1, by)) for by in (-40, -20, 20, 40)),
        *(_each("contrast", by, "times {}", _levels(by, 128 * (1 - by))) for by in (0.7, 1.3)),
        *(_each("gamma", by, "{}", _gamma(by)) for by in (0.6, 0.8, 1.25, 1.6)),
        *(_each("colour cast", by, "{}", _cast(by)) for by in (-0.2, -0.1, 0.1, 0.2)),
        _each("grey", 1, "", _grey),
        *(_each("noise", by, "of {} levels", _noise(by)) for by in (3, 6, 10)),
        _each("watermark", 1, "", _watermark),
    ]


def on_frames() -> list[Edit]:
    """All edits of whole frames, after which faces have to be found again."""
    scaled = (0.3, 0.5, 0.75, 1.5, 2)
    return [
        *on_pictures(),
        *(_each("rescaled", by, "{} times", _scaler(by), _scaled(by)) for by in scaled),
        *(_moved("shifted", by, "{} px", _shifted(by)) for by in (1, 2, 4)),
        *(_moved("turned", by, "{} degrees", _turned(by)) for by in (-3, 3)),
        *(_each("letterboxed", by, "to {} of the frame", _boxer(by), _boxed(by)) for by in (0.75, 0.5)),
        Edit("half size, brighter and re-encoded", 34, "at CRF {}", _uploaded, _scaled(0.5)),
    ]


def on_crops() -> list[Edit]:
    """Edits of aligned crops: those of pictures, a smaller source, and landmarks found a little elsewhere."""
    return [
        *on_pictures(),
        *(_each("rescaled", by, "{} times", _restored(by)) for by in (0.3, 0.5)),
        *(_moved("misplaced", i + 1, "({})", _misplaced(*how)) for i, how in enumerate(MISPLACED)),
    ]


def mirrored() -> Edit:
    """The picture as in a mirror. A space need not be blind to it, so it is in no list."""

    def place(height: int, width: int) -> Matrix:  # noqa: ARG001  # every place takes both
        return np.array([[-1.0, 0, width - 1], [0, 1.0, 0]])

    return _each("mirrored", 1, "", lambda pixels: np.ascontiguousarray(pixels[:, ::-1]), place)


def reencode(clip: Clip, crf: float) -> Clip:
    """The pictures after H.264 (x264, preset medium, 4:2:0).

    A picture alone would be coded otherwise than in a video, so each is the middle of a run in which it drifts by half
    a pixel a frame.
    """
    height, width = clip[0].shape[:2]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": f"{crf:g}"})
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.thread_count = 1
        for pixels in clip:
            even = cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            for step in range(-RUN, RUN + 1):
                drift = np.array([[1.0, 0, DRIFT * step], [0, 1.0, 0]])
                here = cv2.warpAffine(even, drift, even.shape[1::-1], borderMode=cv2.BORDER_REPLICATE) if step else even
                container.mux(stream.encode(av.VideoFrame.from_ndarray(here, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [
            np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:height, :width])
            for frame in islice(container.decode(video=0), RUN, None, 2 * RUN + 1)
        ]


def _each(kind: str, strength: float, unit: str, edit: Callable[[Pixels], Pixels], place: Place | None = None) -> Edit:
    return Edit(kind, strength, unit, lambda clip: [edit(pixels) for pixels in clip], place)


def _moved(kind: str, strength: float, unit: str, place: Place) -> Edit:
    """Moves the picture inside its frame; what comes in is black."""

    def edit(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        moved: Pixels = cv2.warpAffine(pixels, place(height, width), (width, height), flags=cv2.INTER_CUBIC)
        return moved

    return _each(kind, strength, unit, edit, place)


def _coder(crf: float) -> Callable[[Clip], Clip]:
    return lambda clip: reencode(clip, crf)


def _uploaded(clip: Clip) -> Clip:
    """What a re-upload usually is: smaller, its levels touched, compressed again."""
    shrink, lift = _scaler(0.5), _levels(1.1, 8)
    return reencode([lift(shrink(pixels)) for pixels in clip], 34)


def _scaler(by: float) -> Callable[[Pixels], Pixels]:
    way = cv2.INTER_AREA if by < 1 else cv2.INTER_CUBIC
    return lambda pixels: cv2.resize(pixels, None, fx=by, fy=by, interpolation=way)


def _restored(by: float) -> Callable[[Pixels], Pixels]:
    """Shrunk, and brought back to its size."""
    shrink = _scaler(by)
    return lambda pixels: cv2.resize(shrink(pixels), pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _scaled(by: float, middle: bool = False) -> Place:
    """Pixel centres lie at whole numbers; resizing keeps corners in place."""

    def place(height: int, width: int) -> Matrix:
        size = round(width * by), round(height * by)
        x, y = size[0] / width, size[1] / height
        left, top = ((width - size[0]) // 2, (height - size[1]) // 2) if middle else (0, 0)
        return np.array([[x, 0, left + (x - 1) / 2], [0, y, top + (y - 1) / 2]])

    return place


def _boxed(by: float) -> Place:
    return _scaled(by, middle=True)


def _boxer(by: float) -> Callable[[Pixels], Pixels]:
    """The picture smaller, on black bars at all sides."""

    def edit(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        small = cv2.resize(pixels, (round(width * by), round(height * by)), interpolation=cv2.INTER_AREA)
        top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        boxed = np.zeros_like(pixels)
        boxed[top : top + small.shape[0], left : left + small.shape[1]] = small
        return boxed

    return edit


def _shifted(by: float) -> Place:
    return lambda height, width: np.array([[1.0, 0, by], [0, 1.0, by / 2]])  # noqa: ARG005


def _turned(degrees: float) -> Place:
    return lambda height, width: cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)


def _misplaced(right: float, down: float, scale: float, degrees: float) -> Place:
    def place(height: int, width: int) -> Matrix:
        matrix: Matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1 + scale)
        matrix[:, 2] += right * width, down * height
        return matrix

    return place


def _levels(gain: float, offset: float) -> Callable[[Pixels], Pixels]:
    return _curve(np.arange(256) * gain + offset)


def _gamma(exponent: float) -> Callable[[Pixels], Pixels]:
    return _curve(255 * (np.arange(256) / 255) ** exponent)


def _curve(values: NDArray[np.floating]) -> Callable[[Pixels], Pixels]:
    table = _bytes(values)
    return lambda pixels: table[pixels]


def _cast(by: float) -> Callable[[Pixels], Pixels]:
    """Warmer (red up, blue down) or, below 0, colder."""
    return lambda pixels: _bytes(pixels * np.array([1 + by, 1, 1 - by], np.float32))


def _grey(pixels: Pixels) -> Pixels:
    grey: Pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return grey


def _noise(deviation: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: _bytes(pixels + np.random.default_rng(pixels.size).normal(0, deviation, pixels.shape))


def _watermark(pixels: Pixels) -> Pixels:
    """A channel's name in a lower corner, and a large faint word across the middle."""
    height, width = pixels.shape[:2]
    unit = width / 640

    def write(canvas: Pixels, text: str, x: float, y: float, size: float) -> None:
        place, thick = (int(x * width), int(y * height)), max(1, round(1.8 * size * unit))
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_DUPLEX, size * unit, (255,) * 3, thick, cv2.LINE_AA)

    named, across = pixels.copy(), pixels.copy()
    write(named, "@channel", 0.62, 0.93, 1.1)
    write(across, "SAMPLE", 0.2, 0.55, 3)
    marked: Pixels = cv2.addWeighted(named, 0.82, across, 0.18, 0)
    return marked


def _bytes(values: NDArray[Any]) -> Pixels:
    clipped: Pixels = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return clipped
