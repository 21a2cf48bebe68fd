"""Five landmarks to one upright square picture of a face, and its JPEG.

A crop is a similarity of the frame (turned, scaled and moved, never sheared), so that a face keeps its proportions.
What lies outside of the frame is black, as the bars of a letterboxed copy are: the crop of such a copy then equals the
crop of its original.
"""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from curate.records import Pixels

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where ArcFace (arXiv 1801.07698) expects the five landmarks in its picture of 112 pixels."""
ARCFACE_SIDE = 112

Float = NDArray[np.float32]


def template(size: int, margin: float) -> Float:
    """float32 [5, 2]: where the five landmarks come to lie in a crop of `size` pixels.

    Args:
        margin: space around ArcFace's square, as a share of its side, both sides together.
    """
    scale = size / (ARCFACE_SIDE * (1 + margin))
    return np.asarray((ARCFACE - ARCFACE_SIDE / 2) * scale + size / 2, np.float32)


def similarity(points: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """float64 [2, 3]: the turn, scale and shift that bring `points` [n, 2] nearest to `target` [n, 2].

    Least squares in closed form (Umeyama 1991); in the plane it is one complex division.
    """
    source = points.astype(np.float64) @ (1, 1j)
    goal = target.astype(np.float64) @ (1, 1j)
    centred = source - source.mean()
    turn = np.vdot(centred, goal - goal.mean()) / max(np.vdot(centred, centred).real, 1e-12)
    shift = goal.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def crop_matrix(landmarks: Float, size: int, margin: float) -> NDArray[np.float64]:
    """float64 [2, 3]: pixels of the frame to pixels of the crop, as `warp` takes it.

    Args:
        landmarks: float32 [5, 2], pixels of the frame.
        margin: see `template`.
    """
    return similarity(landmarks, template(size, margin))


def align(pixels: Pixels, landmarks: Float, size: int, margin: float) -> Pixels:
    """The face of a frame as uint8 [size, size, 3]; for the arguments see `crop_matrix`."""
    return warp(pixels, crop_matrix(landmarks, size, margin), size)


def arcface(crops: Pixels, margin: float) -> Pixels:
    """uint8 [n, 112, 112, 3]: the part of stored crops [n, side, side, 3] that ArcFace looks at."""
    return recut(crops, margin, ARCFACE_SIDE, 0.0)


def recut(crops: Pixels, margin: float, size: int, new_margin: float) -> Pixels:
    """uint8 [n, size, size, 3]: crops made with `margin`, cut again with another size and margin."""
    if len(crops) == 0:
        return np.zeros((0, size, size, 3), np.uint8)
    matrix = similarity(template(crops.shape[1], margin), template(size, new_margin))
    return np.stack([warp(crop, matrix, size) for crop in crops])


def encode(crop: Pixels, quality: int) -> bytes:
    """A crop as JPEG; colour at half resolution, as nearly all video has it."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(crop), quality, colorspace="RGB", colorsubsampling="420")
    return data


def decode(jpeg: bytes) -> Pixels:
    """uint8 [height, width, 3], RGB.

    Raises:
        ValueError: the bytes are no JPEG.
    """
    pixels: Pixels = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    return pixels


def warp(pixels: Pixels, matrix: NDArray[np.float64], size: int) -> Pixels:
    """Moves a picture, grey or colour, by `matrix` [2, 3] into a square of `size`.

    What shrinks is averaged over areas first, against aliasing.

    Pixel centres lie at whole numbers, as in OpenCV's warps; its resizing counts from pixel corners, which the half
    pixels below make up for.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:
        (x0, y0), (x1, y1) = _window(matrix, size, pixels.shape[1], pixels.shape[0])
        part = pixels[y0:y1, x0:x1]
        shape = max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1)
        shrink = np.array([shape[0] / part.shape[1], shape[1] / part.shape[0]])
        pixels = cv2.resize(part, shape, interpolation=cv2.INTER_AREA)
        matrix = matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ (np.array([x0, y0]) + 0.5 / shrink - 0.5)
        matrix[:, :2] /= shrink
    square: Pixels = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    return square


def warp_quickly(pixels: Pixels, matrix: NDArray[np.float64], size: int) -> Pixels:
    """As `warp` in a third of its time, for networks and not for eyes: what shrinks is averaged over whole pixels."""
    factor = int(1 / max(float(np.hypot(matrix[0, 0], matrix[1, 0])), 1e-6))
    if factor > 1:
        (x0, y0), (x1, y1) = _window(matrix, size, pixels.shape[1], pixels.shape[0])
        width, height = (x1 - x0) // factor, (y1 - y0) // factor
        if width and height:
            part = pixels[y0 : y0 + height * factor, x0 : x0 + width * factor]
            pixels = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
            matrix = matrix.copy()
            matrix[:, 2] += matrix[:, :2] @ (np.array([x0, y0]) + factor / 2 - 0.5)
            matrix[:, :2] *= factor
    square: Pixels = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return square


def _window(matrix: NDArray[np.float64], size: int, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The corners of the part of the picture that the square shows, with room for filters, never empty."""
    inverse = np.linalg.inv(matrix[:, :2])
    corners = (np.array([[0, 0], [size, 0], [0, size], [size, size]]) - matrix[:, 2]) @ inverse.T
    room = 4 / np.hypot(matrix[0, 0], matrix[1, 0])
    low = np.clip(np.floor(corners.min(0) - room), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(0) + room), low + 1, [width, height]).astype(int)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
