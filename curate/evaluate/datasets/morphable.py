"""The morphable model of 300W-LP and AFLW2000-3D: parameters of a `.mat` file to points in pixels.

The model itself (Basel Face Model with FaceWarehouse expressions, as 3DDFA gives it out in `Model_Shape.mat` and
`Model_Exp.mat`) may not be passed on: users put these two files into the data set's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError, one_line
from curate.evaluate.datasets.folder import Folder
from curate.evaluate.datasets.mat import load_mat
from curate.storage.files import files_below

Floats = NDArray[np.float64]
DENSE = 500
"""Vertices that stand for the dense face beside the 68 points, evenly spaced in the model's order."""


@dataclass(frozen=True, eq=False)
class Morphable:
    """The chosen vertices of the model: the usual 68 first, then `DENSE` others.

    Attributes:
        mean: float64 [3 V].
        shape: float64 [3 V, 199]; expression: float64 [3 V, 29].
    """

    mean: Floats
    shape: Floats
    expression: Floats

    def points(self, content: dict[str, np.ndarray], height: int, path: Path) -> Floats:
        """Vertices float64 [V, 3] in pixels from (0, 0) of the picture that a `.mat` file describes.

        Source: Zhu et al. 2016 (3DDFA), eq. 1 and 2: weak perspective, rotation Rx Ry Rz, y turned downwards.

        Args:
            content: with `Shape_Para`, `Exp_Para` and `Pose_Para` (pitch, yaw, roll in radians, shift x, y, z, scale).
            height: of the picture, pixels.
            path: of the file, for the error.

        Raises:
            UsageError: one of the three is missing, or is not as long as the model wants.
        """
        try:
            alpha, beta = np.ravel(content["Shape_Para"]), np.ravel(content["Exp_Para"])
            pitch, yaw, roll, tx, ty, tz, scale = np.ravel(content["Pose_Para"])[:7]
            body = self.mean + self.shape @ alpha[: self.shape.shape[1]] + self.expression @ beta
        except (KeyError, ValueError) as error:
            raise UsageError(f"{path}: no parameters of the model ({one_line(error, 100)})") from None
        placed: Floats = scale * body.reshape(-1, 3) @ rotation(pitch, yaw, roll).T + [tx, ty, tz]
        placed[:, 1] = height + 1 - placed[:, 1]
        return placed - [1.0, 1.0, 0.0]  # MATLAB counts pixels from 1


def rotation(pitch: float, yaw: float, roll: float) -> Floats:
    """Rx Ry Rz, float64 [3, 3], with 3DDFA's signs; radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (pitch, yaw, roll))
    x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return np.asarray(x @ y @ z, dtype=np.float64)


def load(folder: Folder) -> Morphable | None:
    """The model, where both of its files lie anywhere below the folder; else None.

    Raises:
        UsageError: a file is not of the format.
    """
    files = files_below(folder.root)
    found = [next((p for p in files if p.name == name), None) for name in ("Model_Shape.mat", "Model_Exp.mat")]
    if found[0] is None or found[1] is None:
        return None
    shape, expression = load_mat(found[0]), load_mat(found[1])
    try:
        keypoints = np.ravel(shape["keypoints"]).astype(np.int64) - 1
        mean = np.ravel(shape["mu_shape"]).astype(np.float64) + np.ravel(expression["mu_exp"]).astype(np.float64)
        bases = np.asarray(shape["w"], dtype=np.float64), np.asarray(expression["w_exp"], dtype=np.float64)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{found[0]}: no model of 3DDFA ({error})") from None
    return choose(mean, *bases, keypoints)


def choose(mean: Floats, shape: Floats, expression: Floats, keypoints: NDArray[np.int64]) -> Morphable:
    """The model cut down to its 68 points and `DENSE` others."""
    others = np.linspace(0, len(mean) // 3 - 1, DENSE).astype(np.int64)
    rows = (np.concatenate([keypoints, others])[:, None] * 3 + np.arange(3)).ravel()
    return Morphable(mean[rows], shape[rows], expression[rows])


def check(found: Floats, target: Floats, path: Path) -> None:
    """Sees that the model puts the 68 points where the file's own `pt3d_68` are, to within 2 pixels.

    Args:
        found: float64 [V, 3], of `Morphable.points`.
        target: float64 [68, 3].

    Raises:
        UsageError: it does not: the files are of another model.
    """
    apart = np.abs(found[:68, :2] - target[:, :2]).mean()
    if apart > 2:
        raise UsageError(
            f"{path}: Model_Shape.mat puts its points {apart:.0f} pixels from pt3d_68; use 3DDFA's own files"
        )
