"""What a face picture looks like, as a vector, by a small network: half of the third version of the appearance space.

The network was trained so that edited copies of a picture (re-encoded, shrunk, relit, written over, cut out a little
elsewhere) come to one vector, and other faces, and the same face with another expression, to others
(`benchmarks/train_descriptor.py`, from the pictures that `benchmarks/descriptor_pictures.json` lists).

It answers with an even and an odd part: of its numbers for a picture and for the picture's mirror image one half is
added and the other subtracted. Mirroring the picture therefore turns the sign of the second half and leaves the first
as it is, and the vectors of a mirrored video need no pictures.

It runs in double precision and its answers are rounded, so that all processors give the same one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.stages import aligner

Float = NDArray[np.float32]
Doubles = NDArray[np.float64]

WEIGHTS = Path(__file__).with_name("descriptor.npz")
DIMENSION = 128
SIDE, WINDOW, LOWER = 48, 0.92, 0.05
"""What the network sees: pixels, width and how far its middle lies below that of ArcFace's square, in sides of it."""
CONTRAST_FLOOR, CLIP = 6.0, 2.5
"""Levels added to the deviation that luma is divided by, and where what comes of it is cut off."""
STRIDES = (2, 2, 1, 2, 1, 2)
"""Of the convolutions, each padded by half its width and followed by a ramp."""
GRAIN = 2.0**-20
"""Numbers before their length is taken are whole multiples of this, so that the last bits of a sum do not matter."""

MIRROR = np.repeat(np.array([1, -1], np.float32), DIMENSION // 2)
"""Sign that each number of a vector takes when its picture is mirrored, float32 [DIMENSION]."""


def describe(smoothed: Float, place: Doubles) -> Float:
    """float32 [DIMENSION], of no certain length, of a face.

    Args:
        smoothed: its plane (`aligner.plane`).
        place: where it lies there (`aligner.estimate`).
    """
    seen = aligner.sampled(smoothed, place, SIDE, WINDOW, LOWER).astype(np.float64)
    seen = np.clip((seen - seen.mean()) / (seen.std(ddof=1) + CONTRAST_FLOOR), -CLIP, CLIP)
    picture, mirror = _network(np.stack([seen, seen[:, ::-1]]))
    half = DIMENSION // 2
    both = np.concatenate([picture[:half] + mirror[:half], picture[half:] - mirror[half:]])
    return np.asarray(np.round(both / GRAIN) * GRAIN, np.float32)


def _network(pictures: Doubles) -> Doubles:
    """float64 [n, DIMENSION] of pictures [n, SIDE, SIDE]."""
    *layers, (last, bias) = _weights()
    x = pictures[:, None]
    for (weight, offset), stride in zip(layers, STRIDES, strict=True):
        x = np.maximum(aligner.convolved(x, weight, offset, stride), 0)
    return np.asarray(x.reshape(len(x), -1) @ last.T + bias)


@cache
def _weights() -> list[tuple[Doubles, Doubles]]:
    """Weight and bias of each layer."""
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        count = len(stored.files) // 2
        return [(stored[f"weight{k}"].astype(np.float64), stored[f"bias{k}"].astype(np.float64)) for k in range(count)]
