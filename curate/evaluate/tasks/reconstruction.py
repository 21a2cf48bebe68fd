"""Three-dimensional landmarks: found in the crop, scored in pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from curate.evaluate import metrics
from curate.evaluate.config import Heads
from curate.evaluate.crops import Matrix
from curate.evaluate.datasets.points import MIRROR
from curate.evaluate.probes import Predictor, ProbeData
from curate.evaluate.samples import ShapeTarget
from curate.evaluate.tasks.points import in_crop, in_pictures, unmirror
from curate.evaluate.tasks.task import Floats, Head, MapShapes, OnFeature, Predictions, masked_l1, regression

OUTER = 36, 45
"""The outer eye corners of the usual 68 points."""


@dataclass(frozen=True, eq=False)
class ShapeTask:
    """See `Task`; x0, y0, z0, x1, ... as `curate.evaluate.tasks.points` has them."""

    shapes: ShapeTarget
    spatial: bool = True

    @property
    def mirrors(self) -> bool:
        """Only where each point's partner is known."""
        return self.shapes.points.shape[1] in MIRROR

    @property
    def width(self) -> int:
        """Three numbers a point."""
        return 3 * len(self.shapes.points[0])

    def known(self) -> NDArray[np.bool_]:
        """See `Task`."""
        found = np.asarray(~np.isnan(self.shapes.points[..., :2]).any(axis=(1, 2)))
        found[list(self.shapes.surfaces)] = True
        return found

    def target(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:
        """See `Task`."""
        points = self.shapes.points[index]
        return in_crop(points, matrix, size, MIRROR.get(len(points)) if mirrored else None)

    def votes(self, targets: Floats) -> Floats:
        """Their own coordinates."""
        return targets

    def head(self, dim: int, maps: MapShapes, options: Heads) -> Head:  # noqa: ARG002  # of Task
        """All coordinates by a linear layer and L1."""
        return Head(OnFeature(nn.Linear(dim, self.width)), masked_l1)

    def probe(self, data: ProbeData) -> Predictor:
        """Ridge regression of the coordinates."""
        return regression(data)

    def unmirrored(self, values: Floats) -> Floats:
        """See `Task`; where `mirrors`."""
        return unmirror(values, MIRROR[self.shapes.points.shape[1]], 3)

    def errors(self, predictions: Predictions) -> Floats:
        """NME of the 68 points of each face in two coordinates, or the distance to its scan, float64 [n]."""
        found, targets = in_pictures(predictions, 3), self.shapes.points[predictions.rows]
        if self.shapes.surfaces:
            scans = [self.shapes.surfaces[int(row)] for row in predictions.rows]
            return np.array([metrics.surface_error(p[:68], s) for p, s in zip(found, scans, strict=True)])
        return metrics.shape_nme_each(found[:, :68, :2], targets[:, :68, :2])

    def score(self, predictions: Predictions) -> dict[str, float]:
        """NME of three and of two coordinates, over all, by bins of yaw, and the mean over bins."""
        rows, found = predictions.rows, in_pictures(predictions, 3)
        targets, yaw = self.shapes.points[rows], self.shapes.yaw[rows]
        if self.shapes.surfaces:
            scans = [self.shapes.surfaces[int(row)] for row in rows]
            errors = np.array([metrics.surface_error(p[:68], s) for p, s in zip(found, scans, strict=True)])
            return {"nme_surface": metrics.mean_error(errors)} | _by_yaw("nme_surface", errors, yaw)
        result: dict[str, float] = {}
        size_of = metrics.box_size(metrics.tight_boxes(targets[:, :68, :2]))
        for name, dims, part in (
            ("nme_3d", 3, slice(68)),
            ("nme_2d", 2, slice(68)),
            ("nme_dense", 3, slice(68, None)),
        ):
            if not targets[:, part].size or np.isnan(targets[:, part, :dims]).any():
                continue  # without depths only the projected points can be scored
            errors = metrics.shape_nme_each(found[:, part, :dims], targets[:, part, :dims], size_of)
            result |= {name: metrics.mean_error(errors)} | _by_yaw(name, errors, yaw)
        if not np.isnan(targets).any():
            eyes = np.linalg.norm(targets[:, OUTER[0]] - targets[:, OUTER[1]], axis=1)
            errors = np.array([metrics.icp_error(p, t, d) for p, t, d in zip(found, targets, eyes, strict=True)])
            result |= {"nme_icp": metrics.mean_error(errors)} | _by_yaw("nme_icp", errors, yaw)
        return result

    def each(self, predictions: Predictions) -> dict[str, Floats]:
        """Of NME in three coordinates."""
        found, targets = in_pictures(predictions, 3)[:, :68], self.shapes.points[predictions.rows, :68]
        if self.shapes.surfaces or np.isnan(targets).any():
            return {}
        return {
            "nme_3d": metrics.shape_nme_each(found, targets, metrics.box_size(metrics.tight_boxes(targets[..., :2])))
        }


def _by_yaw(name: str, errors: Floats, yaw: Floats) -> dict[str, float]:
    """The metric in each bin of yaw that holds a face, and the mean over these bins."""
    bins, balanced = metrics.by_yaw(errors, yaw)
    labels = [f"{name}_yaw_{int(low)}_{int(high)}" for low, high in metrics.YAW_BINS]
    within, within_balanced = metrics.by_yaw(errors, yaw, beyond=False)
    found = {label: float(value) for label, value in zip(labels, bins, strict=True)} | {f"{name}_balanced": balanced}
    if not np.array_equal(within, bins, equal_nan=True):  # some faces are beyond 90 degrees
        found |= {f"{labels[-1]}_paper": float(within[-1]), f"{name}_balanced_paper": within_balanced}
    return {label: value for label, value in found.items() if not np.isnan(value)}
