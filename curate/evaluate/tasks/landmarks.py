"""Landmarks: found in the crop, scored in pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import metrics
from curate.evaluate.crops import Matrix
from curate.evaluate.metrics.landmarks import EYES
from curate.evaluate.samples import LandmarkTarget
from curate.evaluate.tasks.goal import Floats, Indices, Kind
from curate.evaluate.tasks.points import in_crop, in_pictures

THRESHOLDS = (0.08, 0.10)
"""Errors (as a share of the normaliser) at which failures and the area under the CED are measured."""


@dataclass(frozen=True, eq=False)
class LandmarkGoal:
    """See `Goal`; x0, y0, x1, y1, ... as `curate.evaluate.tasks.points` has them."""

    landmarks: LandmarkTarget
    kind: Kind = "landmarks"
    spatial: bool = True

    @property
    def mirrors(self) -> bool:
        """Only where each point's partner is known."""
        return self.landmarks.mirror is not None

    @property
    def width(self) -> int:
        """Two numbers a point."""
        return 2 * len(self.landmarks.points[0])

    def known(self) -> NDArray[np.bool_]:
        """See `Goal`."""
        size = self._size(self.landmarks.normaliser, np.arange(len(self.landmarks.points)))
        some = np.any(np.all(np.isfinite(self.landmarks.points), axis=2), axis=1)
        return np.asarray(some & np.isfinite(size) & (size > 0), dtype=bool)

    def truth(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:
        """See `Goal`."""
        return in_crop(self.landmarks.points[index], matrix, size, self.landmarks.mirror if mirrored else None)

    def errors(self, answers: Floats, rows: Indices, matrices: Floats, size: int) -> Floats:
        """NME of every face by the data set's normaliser, float64 [n]."""
        truth = self.landmarks.points[rows]
        return metrics.nme_each(
            in_pictures(answers, matrices, size, 2), truth, self._size(self.landmarks.normaliser, rows)
        )

    def score(self, answers: Floats, rows: Indices, matrices: Floats, size: int) -> dict[str, float]:
        """NME by the data set's own normaliser and by every other that its points allow; FR and AUC of the first."""
        errors = self.errors(answers, rows, matrices, size)
        result = {"nme": metrics.mean_error(errors)}
        for at in THRESHOLDS:
            result[f"fr@{at:.2f}"] = metrics.failure_rate(errors, at)
            result[f"auc@{at:.2f}"] = metrics.auc(errors, at)
        truth, found = self.landmarks.points[rows], in_pictures(answers, matrices, size, 2)
        others = ["box", "diagonal"] + (["inter_ocular", "inter_pupil"] if truth.shape[1] in EYES else [])
        for name in others:
            normaliser = self._size(name, rows)
            sound = np.isfinite(normaliser) & (normaliser > 0)
            if sound.any():
                result[f"nme_{name}"] = metrics.nme(found[sound], truth[sound], normaliser[sound])
        return result

    def _size(self, name: str, rows: Indices) -> Floats:
        points, boxes = self.landmarks.points[rows], self.landmarks.boxes[rows]
        if name == "inter_ocular":
            return metrics.inter_ocular(points)
        if name == "inter_pupil":
            return metrics.inter_pupil(points)
        return metrics.box_size(boxes) if name == "box" else metrics.diagonal(boxes)
