"""Films photographs: a moving camera, heads that turn a little, changing light, and an encoder at the end.

A photograph holds one picture of a face, and panning over it shows that one picture again and again, which is what a
redundant video looks like. Heads that turn and nod, and light that comes from another side, give faces that differ.
A turn is a bump of parallax: the middle of the face slides over its outline, as it does when a real head turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from curate.records import Pixels
from curate.storage.clips import encoder

FPS = 24
WIDTH, HEIGHT = 640, 360
MAP_STEP = 8
"""Warps are smooth: they are computed at every 8th pixel and interpolated."""
SHAKE = 0.006
"""How far a hand-held camera sways, as a share of what it sees."""
NOISE = 2.0
"""Standard deviation of the sensor's noise, grey levels."""


@dataclass(frozen=True)
class Head:
    """Where a face is in a photograph.

    Attributes:
        x, y: middle of the face, pixels of the photograph.
        width: of the face, pixels.
    """

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class View:
    """What the camera sees, and how the people hold themselves, at one moment of a shot.

    Attributes:
        x, y: middle of the picture, pixels of the photograph.
        width: width of what is seen, pixels of the photograph.
        roll: degrees by which the camera is tilted.
        turn, nod: how far heads are turned to image-right, and up; 1 slides the nose by a sixth of the face.
        light: -1 to 1, the side from which the light comes; 0 leaves it as photographed.
    """

    x: float
    y: float
    width: float
    roll: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    light: float = 0.0


@dataclass(frozen=True)
class Shot:
    """One take: the camera moves from view to view, easing in and out; a single view is a still.

    Attributes:
        photograph: uint8 [height, width, 3], RGB.
        heads: the faces in it.
        views: at equal distances in time.
        hand_held: whether the camera sways.
    """

    photograph: Pixels
    heads: tuple[Head, ...]
    views: tuple[View, ...]
    seconds: float
    hand_held: bool = True


def frames(shots: Iterable[Shot], seed: int) -> Iterator[Pixels]:
    """The frames of a clip, uint8 [360, 640, 3], the same for the same shots and seed."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, NOISE, (HEIGHT * 2, WIDTH * 2, 1)).astype(np.float32)
    for shot in shots:
        phase = rng.uniform(0, 2 * math.pi, 2)
        count = round(shot.seconds * FPS)
        for number in range(count):
            view = _between(shot.views, number / max(1, count - 1))
            x, y = rng.integers(0, (WIDTH, HEIGHT))
            grain = noise[y : y + HEIGHT, x : x + WIDTH]
            sway = SHAKE * view.width * np.sin(phase + number / FPS * np.array((1.9, 1.3))) * shot.hand_held
            yield _expose(shot, view, sway, grain)


def encode(
    path: Path,
    pictures: Iterable[Pixels],
    *,
    codec: str | None = None,
    crf: int = 20,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Path:
    """Writes RGB frames as a video at `FPS`.

    Args:
        path: its suffix names the container.
        codec: an encoder's name; the first of `curate.storage.clips.CODECS` by default.
        crf: quality for libx264, 0 best to 51 worst; for MPEG-4 a third of it is the quantiser.
        size: width and height that the frames are scaled to.

    Raises:
        UnavailableError: PyAV has none of the encoders.
    """
    codec = codec or encoder()
    with av.open(str(path), "w") as container:
        options = (
            {"crf": str(crf), "preset": "veryfast"}
            if codec == "libx264"
            else {"qmin": str(crf // 3), "qmax": str(crf // 3)}
        )
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = size
        stream.codec_context.gop_size = FPS  # a decoder can start again every second
        stream.thread_count = 1  # slices, and with them the picture, depend on the number of threads
        for picture in pictures:
            scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(scaled), format="rgb24")))
        container.mux(stream.encode())
    return path


def decode(path: Path) -> Iterator[Pixels]:
    """The frames of a clip that `encode` wrote, for making copies of it."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def widened(photograph: Pixels) -> Pixels:
    """A picture that is too narrow for the screen, set on a blurred enlargement of itself, as video editors do."""
    height, width = photograph.shape[:2]
    wide = round(height * WIDTH / HEIGHT)
    enlarged = cv2.resize(photograph, (wide, round(height * wide / width)), interpolation=cv2.INTER_CUBIC)
    top = (enlarged.shape[0] - height) // 2
    canvas = cv2.GaussianBlur(enlarged[top : top + height], (0, 0), width / 10)
    left = (wide - width) // 2
    canvas[:, left : left + width] = photograph
    return np.asarray(canvas, dtype=np.uint8)


def _between(views: tuple[View, ...], time: float) -> View:
    """The view at `time` in [0, 1], eased (smoothstep) between its neighbours."""
    place = time * (len(views) - 1)
    before = min(int(place), max(0, len(views) - 2))
    part = place - before
    part = part * part * (3 - 2 * part)
    first, second = views[before], views[min(before + 1, len(views) - 1)]
    names = View.__dataclass_fields__
    return View(**{name: (1 - part) * getattr(first, name) + part * getattr(second, name) for name in names})


def _expose(shot: Shot, view: View, sway: NDArray[np.float64], grain: NDArray[np.float32]) -> Pixels:
    """One frame: the photograph through the camera, with heads turned, light and noise."""
    grid_x, grid_y = np.meshgrid(np.arange(0, WIDTH + 1, MAP_STEP), np.arange(0, HEIGHT + 1, MAP_STEP))
    scale, roll = view.width / WIDTH, math.radians(view.roll)
    across, down = (grid_x - WIDTH / 2) * scale, (grid_y - HEIGHT / 2) * scale
    x = view.x + sway[0] + across * math.cos(roll) - down * math.sin(roll)
    y = view.y + sway[1] + across * math.sin(roll) + down * math.cos(roll)
    gain = np.ones_like(x)
    slide_x, slide_y = np.zeros_like(x), np.zeros_like(y)
    for head in shot.heads:
        near_x, near_y = (x - head.x) / head.width, (y - head.y) / head.width
        bump = np.exp(-2.5 * (near_x**2 + near_y**2 * 0.7))
        slide_x += view.turn * head.width / 6 * bump
        slide_y -= view.nod * head.width / 6 * bump
        gain += view.light * 0.45 * np.tanh(1.5 * near_x) * np.exp(-0.5 * (near_x**2 + near_y**2))
    warp = _enlarge(np.stack([x - slide_x, y - slide_y, gain], axis=-1))
    seen = cv2.remap(shot.photograph, warp[..., :2], None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lit: Pixels = np.clip(seen * warp[..., 2:] + grain, 0, 255).astype(np.uint8)
    return lit


def _enlarge(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values at every `MAP_STEP`-th pixel, float [rows, columns, k], interpolated to every pixel of the screen."""
    down, across = _screen()
    return np.asarray(cv2.remap(values.astype(np.float32), across, down, cv2.INTER_LINEAR), dtype=np.float32)


@cache
def _screen() -> NDArray[np.float32]:
    """float32 [2, height, width]: where each pixel lies among those at which warps are computed, down and across."""
    return np.asarray(np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) / MAP_STEP, np.float32)
