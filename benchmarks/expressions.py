"""Other expressions of a face, made by moving its 68 landmarks: what `train_descriptor.py` must not take for copies.

Each is at least as far from the picture as `curate.calibration.expression.CHANGED` asks, in the same units.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from curate.calibration.expression import CHANGED

KINDS = ("mouth", "eyes", "smile", "brows", "gaze", "yaw", "pitch")
CHANCES = (0.27, 0.31, 0.1, 0.1, 0.1, 0.06, 0.06)
FURTHEST = 2.5
"""Largest changes, in those that just count."""
SIDE = 40
"""Places across the field of a move."""
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIPS = ((61, 67), (62, 66), (63, 65))
CLOSED = 0.03
"""Opening at which lids and lips stop."""


def _depths() -> np.ndarray:
    """How far each landmark lies before the middle of the head, in distances between the eyes; nobody's own."""
    depth = np.zeros(68)
    depth[:17] = 0.35 - 1.0 * np.abs(np.linspace(-1, 1, 17)) ** 2
    depth[17:27], depth[27:31], depth[31:36] = 0.35, [0.4, 0.5, 0.62, 0.75], 0.55
    depth[36:48], depth[48:68] = 0.28, 0.45
    return depth - 0.3


DEPTH = _depths()


def moved(points: Tensor, rng: np.random.Generator) -> Tensor:
    """float32 [n, 70, 2]: how 68 landmarks [n, 68, 2] and the middles of both eyes move, one or two changes each."""
    moves = np.zeros((len(points), 70, 2), np.float32)
    for move, face in zip(moves, points.numpy().astype(np.float64), strict=True):
        for kind in rng.choice(KINDS, 1 if rng.random() < 0.7 else 2, replace=False, p=CHANCES):
            move += _change(face, str(kind), rng)
    return torch.from_numpy(moves)


def _change(face: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    move = np.zeros((70, 2))
    eyes = face[36:42].mean(0), face[42:48].mean(0)
    apart, width = np.linalg.norm(eyes[0] - eyes[1]), (_span(face, 36, 39) + _span(face, 42, 45)) / 2
    amount = CHANGED[kind] * rng.uniform(1.0, FURTHEST)
    sign = rng.choice([-1, 1])
    if kind == "mouth":
        opening = np.mean([_span(face, *pair) for pair in LIPS])
        by = _opened(opening, amount * apart, sign, CLOSED * apart)
        lower = rng.uniform(0.6, 1.0)
        move[[*range(55, 60), *range(65, 68)], 1] = by * lower
        move[[49, 50, 51, 52, 53, 61, 62, 63], 1] = -by * (1 - lower)
        move[[55, 59], 1] *= 0.6
        move[[49, 53], 1] *= 0.6
        move[6:11, 1] = by * lower * 0.8
        move[[4, 5, 11, 12], 1] = by * lower * 0.5
    elif kind == "eyes":
        opening = np.mean([_span(face, *pair) for pair in LIDS])
        by = _opened(opening, amount * width, sign, CLOSED * width)
        for upper, under in LIDS:
            move[upper, 1], move[under, 1] = -by * 0.85, by * 0.15
        move[68:, 1] = -by * 0.3
        move[17:27, 1] = -by * rng.uniform(0, 0.5)
    elif kind == "smile":
        by = amount * apart / 2 * sign
        lift = -abs(by) * rng.uniform(-0.3, 0.6)
        for corner, side, near in ((48, -1, (49, 59, 60)), (54, 1, (53, 55, 64))):
            move[corner] = side * by, lift
            move[list(near)] = side * by * 0.6, lift * 0.6
    elif kind == "brows":
        move[17:27, 1] = -amount * apart * sign
    elif kind == "gaze":
        move[68:, 0] = amount * width * sign
    else:
        axis = 0 if kind == "yaw" else 1
        move[:68, axis] = DEPTH * apart * np.sin(np.radians(amount)) * sign
        move[68:, axis] = DEPTH[36] * apart * np.sin(np.radians(amount)) * sign
    return move


def _span(face: np.ndarray, first: int, second: int) -> float:
    return float(np.linalg.norm(face[first] - face[second]))


def _opened(opening: float, amount: float, sign: int, least: float) -> float:
    """By how much lids or lips are opened, or closed where there is enough to close."""
    return -amount if sign < 0 and opening - amount >= least else amount


def field(points: Tensor, moves: Tensor, reach: float) -> Tensor:
    """float32 [n, 2, SIDE, SIDE]: where each place is taken from, relative to itself, in half widths of a plane.

    A thin plate spline through the landmarks, where they have come to lie, and a frame around them that stays.

    Args:
        points: [n, 68, 2], sides of ArcFace's square from its middle. moves: [n, 70, 2], see `moved`.
        reach: half the width of the plane, in the same unit.
    """
    points, moves = points / reach, moves / reach
    middles = torch.stack([points[:, 36:42].mean(1), points[:, 42:48].mean(1)], 1)
    edge = torch.linspace(-1, 1, 6)
    frame = torch.stack(torch.meshgrid(edge, edge, indexing="xy"), -1).reshape(-1, 2)
    frame = frame[frame.abs().amax(1) == 1].expand(len(points), -1, -1)
    known = torch.cat([torch.cat([points, middles], 1) + moves, frame], 1)
    values = torch.cat([-moves, torch.zeros_like(frame)], 1)
    n, count = known.shape[:2]
    affine = torch.cat([torch.ones(n, count, 1), known], 2)
    system = torch.zeros(n, count + 3, count + 3)
    system[:, :count, :count] = _kernel(known, known) + 1e-4 * torch.eye(count)
    system[:, :count, count:] = affine
    system[:, count:, :count] = affine.transpose(1, 2)
    solved = torch.linalg.solve(system.double(), torch.cat([values, torch.zeros(n, 3, 2)], 1).double()).float()
    steps = torch.linspace(-1, 1, SIDE)
    places = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(1, -1, 2).expand(n, -1, -1)
    bases = torch.cat([_kernel(places, known), torch.ones(n, SIDE * SIDE, 1), places], 2)
    return (bases @ solved).transpose(1, 2).reshape(n, 2, SIDE, SIDE)


def _kernel(one: Tensor, two: Tensor) -> Tensor:
    squared = torch.cdist(one, two, compute_mode="donot_use_mm_for_euclid_dist").square()
    return squared * squared.clamp_min(1e-9).log()
