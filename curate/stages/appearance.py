"""What a face picture looks like, as a vector: the embedding space in which near-duplicates are judged.

Copies of a picture differ in light, colour, sharpness and a little in place; new pictures of the same person differ in
the shape of mouth, eyes and head. So: luma alone, brought to common light, half of it as ranks, which no change of
brightness, contrast or gamma alters; eyes and mouth weighted up, background and hair away; the lowest spatial
frequencies only, which re-encoding spares and small shifts hardly move, with the very lowest held back because faces
share them. Nothing of that is learned from pictures, so no collection fits it better than another. On request the
vector of a small trained network stands beside (`curate.stages.descriptor`). docs/alike.md compares spaces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from curate.recipe import Embed
from curate.records import Pixels
from curate.stages import align, aligner, descriptor
from curate.stages.backend import unit

Float = NDArray[np.float32]


COPIED, COPIED_BY_NETWORK = 0.985, 0.975


@dataclass(frozen=True)
class Space:
    """An embedding space, as `build.json` describes it.

    Attributes:
        descriptor: what makes its vectors; aligned: whether each face is put in its place once more before
            (`curate.stages.aligner`).
        copied: cosine from which a face of a copied video or picture is one with its original's: order and time, or
            their absence, speak too, so that re-encodes which lose what shows a blink are still seen.
    """

    name: str
    version: str
    dimension: int
    preprocessing: str
    descriptor: Literal["spectrum", "network"] = "spectrum"
    aligned: bool = False
    copied: float = COPIED


SIDE = 48
"""Pixels across the window that is described."""
WINDOW, LOWER = 0.9, 0.05
"""Width of the window, and how far its middle lies below that of ArcFace's square; in sides of that square."""
MOUTH, EYES, REST = 2.0, 3.0, 0.15
"""Weights of mouth, eyes and everything else."""
MOUTH_SPREAD, EYE_SPREAD = 0.15, 0.11
"""Standard deviations of the weights around mouth (1.3 times as wide) and eyes, in sides of ArcFace's square."""
CONTRAST_FLOOR = 6.0
"""Levels added to the contrast that luma is divided by, so that noise of flat pictures is not blown up."""
CLIP = 2.5
"""Standard deviations at which luma is cut off: highlights are the first that editing changes."""
CUTOFF = 8.0
"""Half-waves across the window at which a frequency's weight has fallen to 1 / e."""
APPEARANCE = Space(
    "appearance",
    "2",
    128,
    f"luma of a window around eyes and mouth, {SIDE} x {SIDE}, normalised and ranked, weighted by place; "
    f"the 128 lowest DCT coefficients times sqrt(f) exp(-(f / {CUTOFF:g})^2)",
)
ALIGNED = replace(
    APPEARANCE,
    version="2, aligner 1",
    preprocessing=f"where the aligner finds it, {APPEARANCE.preprocessing}",
    aligned=True,
)
"""The same of faces that are put in their place once more."""
LEARNED = Space(
    "appearance",
    "3",
    APPEARANCE.dimension + descriptor.DIMENSION,
    f"the {APPEARANCE.dimension} numbers of version {ALIGNED.version}; then, weighing as much, {descriptor.DIMENSION} "
    f"of a small network that looks at the same window, {descriptor.SIDE} x {descriptor.SIDE}, and its mirror image",
    "network",
    aligned=True,
    copied=COPIED_BY_NETWORK,
)
"""Vectors of `ALIGNED` beside those of a trained network (`curate.stages.descriptor`), which finds what they miss."""
SPACES = APPEARANCE, ALIGNED, LEARNED


def chosen(embed: Embed) -> Space:
    """The space that a recipe asks for."""
    if embed.descriptor == "network":
        return LEARNED
    return ALIGNED if embed.aligner else APPEARANCE


def describe(crops: Pixels, margin: float, space: Space = APPEARANCE) -> Float:
    """float32 [n, space.dimension], unit rows.

    Args:
        crops: uint8 [n, side, side, 3], RGB, aligned.
        margin: theirs, see `align.template`.
    """
    if len(crops) == 0:
        return np.zeros((0, space.dimension), np.float32)
    # one by one: batched kernels may sum in another order for another number of crops
    if space.descriptor == "network":
        return unit(np.stack([_learned(crop, margin) for crop in crops]))
    if space.aligned:
        return unit(np.stack([_spectrum(_placed(*_found(crop, margin))) for crop in crops]))
    rows, columns = (_resampling(crops.shape[1], margin, centre) for centre in (LOWER, 0.0))
    return unit(np.stack([_spectrum(np.asarray(rows @ _luma(crop) @ columns.T)) for crop in crops]))


def mirrored(vectors: NDArray[np.floating], space: Space = APPEARANCE) -> NDArray[np.floating]:
    """The vectors [n, D] that the same faces have in a mirrored video, in their own type.

    Mirroring a picture turns the sign of its DCT coefficients with an odd column and leaves the others as they are, and
    that of the network's differences, so that no picture is needed for it.
    """
    signs = MIRROR if space.descriptor == "spectrum" else np.concatenate([MIRROR, descriptor.MIRROR])
    return vectors * signs.astype(vectors.dtype)


def _luma(crop: Pixels) -> Float:
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.float32)


def _found(crop: Pixels, margin: float) -> tuple[Float, NDArray[np.float64]]:
    """The plane of a crop, and where the aligner finds the face in it."""
    smoothed = aligner.plane(crop, margin)
    return smoothed, aligner.estimate(smoothed)


def _placed(smoothed: Float, place: NDArray[np.float64]) -> Float:
    return aligner.sampled(smoothed, place, SIDE, WINDOW, LOWER)


def _learned(crop: Pixels, margin: float) -> Float:
    """float32 [LEARNED.dimension]: both halves at length 1."""
    smoothed, place = _found(crop, margin)
    halves = _spectrum(_placed(smoothed, place)), descriptor.describe(smoothed, place)
    return np.concatenate([unit(half[None])[0] for half in halves])


def _spectrum(luma: Float) -> Float:
    """float32 [dimension], of no certain length, of the window's luma, float32 [SIDE, SIDE]."""
    mean = float((luma * LIGHT).sum())
    deviation = float(np.sqrt((np.square(luma - mean) * LIGHT).sum()))
    flat = np.clip((luma - mean) / (deviation + CONTRAST_FLOOR), -CLIP, CLIP)
    tone = (flat + _ranks(luma) * deviation / (deviation + CONTRAST_FLOOR)) / 2
    spectrum = (COSINES @ (tone * WEIGHTS) @ COSINES.T).ravel()[LOWEST] * EMPHASIS
    # a picture of one colour has no spectrum; it gets a direction of its own
    return np.asarray(spectrum if spectrum.any() else EMPHASIS, np.float32)


def _ranks(luma: Float) -> Float:
    """Which share of the window is darker (by `LIGHT`), at mean 0, and deviation 1 where all levels are alike often."""
    levels = np.clip(luma, 0, 255)
    histogram = np.bincount(levels.astype(np.uint8).ravel(), LIGHT.ravel(), 256)
    darker = np.cumsum(histogram) - histogram / 2
    return np.asarray((np.interp(levels, np.arange(256), darker) - 0.5) * 12**0.5, np.float32)


def _resampling(side: int, margin: float, centre: float) -> Float:
    """float32 [SIDE, side]: from the pixels of a crop to those of the window along one axis, smoothed by a triangle."""
    step = WINDOW * side / (1 + margin) / SIDE
    middle = (side - 1) / 2 + centre * side / (1 + margin)
    places = middle + (np.arange(SIDE) - (SIDE - 1) / 2) * step
    weights = np.clip(1 - np.abs(np.arange(side) - places[:, None]) / max(step, 1.0), 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _places() -> tuple[Float, Float]:
    """x and y of the window's pixels, in sides of ArcFace's square from its middle."""
    steps = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * WINDOW
    x, y = np.meshgrid(steps, steps + LOWER)
    return x.astype(np.float32), y.astype(np.float32)


def _weights() -> Float:
    """float32 [SIDE, SIDE]: how much each place counts."""
    x, y = _places()
    points = align.ARCFACE / align.ARCFACE_SIDE - 0.5
    points = (points + points[[1, 0, 2, 4, 3]] * (-1, 1)) / 2  # as a mirror has them
    eyes = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * EYE_SPREAD**2)) for px, py in points[:2])
    mouth = np.exp(-((x / 1.3) ** 2 + (y - points[3:, 1].mean()) ** 2) / (2 * MOUTH_SPREAD**2))
    return np.asarray(REST + EYES * eyes + MOUTH * mouth, np.float32)


def _light() -> Float:
    """float32 [SIDE, SIDE], sums to 1: where mean and contrast of luma are taken."""
    x, y = _places()
    bell = np.exp(-(x**2 + (y - LOWER) ** 2) / (2 * (WINDOW * 0.3) ** 2))
    return np.asarray(bell / bell.sum(), np.float32)


def _frequencies() -> tuple[NDArray[np.int64], Float]:
    """Indices of the lowest coefficients but the mean, int64 [dimension], and their weights."""
    row, column = np.mgrid[:SIDE, :SIDE]
    frequency = np.sqrt(row**2 + column**2).ravel()
    lowest = np.argsort(frequency, kind="stable")[1 : APPEARANCE.dimension + 1]
    f = frequency[lowest]
    return lowest, np.asarray(np.sqrt(f) * np.exp(-((f / CUTOFF) ** 2)), np.float32)


def _cosines() -> NDArray[np.float64]:
    """float64 [SIDE, SIDE]: the rows of the orthonormal DCT-II."""
    row, column = np.mgrid[:SIDE, :SIDE]
    waves = np.cos(np.pi * row * (column + 0.5) / SIDE) * np.sqrt(2 / SIDE)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves)


WEIGHTS, LIGHT, COSINES = _weights(), _light(), _cosines()
LOWEST, EMPHASIS = _frequencies()
MIRROR = np.where(LOWEST % SIDE % 2, -1, 1).astype(np.float32)
"""Sign that each number of a vector takes when its picture is mirrored, float32 [dimension]."""
