"""Where exactly a face lies in its crop: by how much it is shifted, scaled and turned against where it should be.

Landmarks tremble when a picture is compressed, shrunk or made grey, and the crop of the copy then shows the face half a
pixel elsewhere, which costs more likeness than the edit itself. A small network looks at the crop and says where the
face is, twice, the second time where the first said. It was trained to say the same of a picture and of its edited
copies (`benchmarks/train_aligner.py`, from the pictures that `benchmarks/aligner_pictures.json` lists), not to be
right: only that copies agree counts.

Each face is looked at together with its mirror image, and in double precision, so that a mirrored crop gets the
mirrored answer and all processors give the same one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.records import Pixels

Float = NDArray[np.float32]
Doubles = NDArray[np.float64]

WEIGHTS = Path(__file__).with_name("aligner.npz")
REACH, PLANE = 0.75, 144
"""Half the width of the smoothed plane, in sides of ArcFace's square, and its pixels."""
SMOOTHED = 0.9 / 48
"""Half the width of the triangle that smooths it, in sides of ArcFace's square: a pixel of what is sampled from it."""
SIDE, WINDOW, LOWER = 48, 1.1, 0.05
"""What the network sees: pixels, width and how far its middle lies below that of ArcFace's square, in sides of it."""
CONTRAST_FLOOR, CLIP = 6.0, 2.5
"""Levels added to the deviation that luma is divided by, and where what comes of it is cut off."""
ROUNDS = 2
STRIDES = (2, 2, 1, 2)
"""Of the convolutions, each padded by half its width and followed by a ramp."""
SCALE = 0.1
"""By which the last layer's numbers are multiplied."""
FURTHEST = np.array([0.12, 0.12, 0.15, 0.2])
"""Largest answers: what is no face must not send the window away."""
MIRROR = np.array([-1.0, 1.0, 1.0, -1.0])
"""Signs that an answer takes in a mirror."""
GRAIN = 2.0**-20
"""Answers are whole multiples of this, so that the last bits of a sum do not matter."""


def plane(crop: Pixels, margin: float) -> Float:
    """float32 [PLANE, PLANE]: smoothed luma of a crop uint8 [side, side, 3]; beyond its edges they go on.

    Args:
        margin: the crop's, see `align.template`.
    """
    rows = _resampling(crop.shape[0], margin)
    return np.asarray(rows @ cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) @ rows.T, np.float32)


def estimate(smoothed: Float) -> Doubles:
    """float64 [4]: shift to the right and down (sides of ArcFace's square), log of the scale, turn (radians).

    The similarity takes points of ArcFace's square, from its middle, to where they lie in the `plane`.
    """
    place = np.zeros(4)
    for _ in range(ROUNDS):
        seen = sampled(smoothed, place, SIDE, WINDOW, LOWER).astype(np.float64)
        seen = np.clip((seen - seen.mean()) / (seen.std(ddof=1) + CONTRAST_FLOOR), -CLIP, CLIP)
        both = _network(np.stack([seen, seen[:, ::-1]]))
        answer = np.clip((both[0] + both[1] * MIRROR) / 2, -FURTHEST, FURTHEST)
        place = np.round(_after(place, answer) / GRAIN) * GRAIN
    return np.clip(place, -FURTHEST, FURTHEST)


def sampled(smoothed: Float, place: Doubles, side: int, window: float, lower: float) -> Float:
    """float32 [side, side]: a window of a plane under a similarity, by linear interpolation.

    Args:
        place: see `estimate`.
        window, lower: its width, and how far its middle lies below that of the square; in sides of ArcFace's square.
    """
    steps = ((np.arange(side) + 0.5) / side - 0.5) * window
    turn = np.exp(place[2] + 1j * place[3])
    points = turn * (steps + 1j * (steps[:, None] + lower)) + complex(place[0], place[1])
    x, y = (np.clip((part / REACH + 1) / 2 * PLANE - 0.5, 0, PLANE - 1) for part in (points.real, points.imag))
    left, top = (np.minimum(part.astype(np.int64), PLANE - 2) for part in (x, y))
    right, low = x - left, y - top
    upper = smoothed[top, left] * (1 - right) + smoothed[top, left + 1] * right
    under = smoothed[top + 1, left] * (1 - right) + smoothed[top + 1, left + 1] * right
    return np.asarray(upper * (1 - low) + under * low, np.float32)


def _after(first: Doubles, second: Doubles) -> Doubles:
    """The similarity that does `second`, then `first`."""
    moved = np.exp(first[2] + 1j * first[3]) * complex(second[0], second[1]) + complex(first[0], first[1])
    return np.array([moved.real, moved.imag, first[2] + second[2], first[3] + second[3]])


def _network(pictures: Doubles) -> Doubles:
    """float64 [n, 4] of pictures [n, SIDE, SIDE]."""
    layers = _weights()
    x = pictures[:, None]
    for (weight, bias), stride in zip(layers, STRIDES, strict=False):
        x = np.maximum(convolved(x, weight, bias, stride), 0)
    (hidden, hidden_bias), (last, last_bias) = layers[len(STRIDES) :]
    features = np.maximum(x.reshape(len(x), -1) @ hidden.T + hidden_bias, 0)
    return np.asarray((features @ last.T + last_bias) * SCALE)


def convolved(x: Doubles, weight: Doubles, bias: Doubles, stride: int) -> Doubles:
    """float64 [n, out, height, width] of x [n, in, ...]; weight: [out, in, k, k]."""
    k = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    n, _, height, width = windows.shape[:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, -1)
    return (columns @ weight.reshape(len(weight), -1).T + bias).reshape(n, height, width, -1).transpose(0, 3, 1, 2)


@cache
def _weights() -> list[tuple[Doubles, Doubles]]:
    """Weight and bias of each layer."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        count = len(stored.files) // 2
        return [(stored[f"weight{k}"].astype(np.float64), stored[f"bias{k}"].astype(np.float64)) for k in range(count)]


@cache
def _resampling(side: int, margin: float) -> Float:
    """float32 [PLANE, side]: from the pixels of a crop to those of the plane along one axis."""
    square = side / (1 + margin)
    places = (side - 1) / 2 + ((np.arange(PLANE) + 0.5) / PLANE - 0.5) * 2 * REACH * square
    places = np.clip(places, 0, side - 1)
    weights = np.clip(1 - np.abs(np.arange(side) - places[:, None]) / max(SMOOTHED * square, 1.0), 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
