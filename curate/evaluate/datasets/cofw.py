"""COFW: 29 points, 1,345 to train on and 507 to test; all lies in two MATLAB files of version 7.3 (HDF5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from curate.errors import UsageError, one_line
from curate.evaluate.datasets.folder import Folder, counts
from curate.evaluate.datasets.points import CROP, MIRROR, boxes_of
from curate.evaluate.pictures import DamagedPictureError
from curate.evaluate.samples import TEST, TRAIN, Dataset, LandmarkTarget, Sample, TaskName
from curate.records import Pixels

ASK = "get COFW_color.zip from data.caltech.edu (Caltech Occluded Faces in the Wild)"
POINTS = 29


@dataclass(frozen=True, slots=True)
class InFile:
    """A picture inside a MATLAB file: MATLAB's [H, W, 3] is HDF5's [3, W, H]."""

    path: Path
    variable: str
    index: int

    def read(self) -> Pixels:
        """See `PictureSource`."""
        try:
            with h5py.File(self.path) as file:
                reference = np.ravel(file[self.variable])[self.index]
                pixels = np.asarray(file[reference])
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise DamagedPictureError(f"{self.path}: picture {self.index}: {one_line(error)}") from None
        if pixels.ndim == 2:
            return np.repeat(np.ascontiguousarray(pixels.T)[..., None], 3, axis=2).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(2, 1, 0)).astype(np.uint8)

    def stamp(self) -> str:
        """See `PictureSource`."""
        about = self.path.stat()
        return f"{self.path}:{about.st_size}:{about.st_mtime_ns}:{self.index}"


def read(root: Path, task: TaskName) -> Dataset:
    """Reads `COFW_train_color.mat` and `COFW_test_color.mat`.

    Raises:
        UsageError: a file is missing, or is not of the format.
    """
    folder = Folder(root, "cofw", ASK)
    samples: list[Sample] = []
    parts = []
    for split, pictures, points in ((TRAIN, "IsTr", "phisTr"), (TEST, "IsT", "phisT")):
        path = folder.need(f"COFW_{split}_color.mat", f"COFW_{split}_color/COFW_{split}_color.mat", f"COFW_{split}.mat")
        found = _points(path, points)
        parts.append(found)
        samples += [
            Sample(f"{split}/{i:04d}", InFile(path, pictures, i), split, box=box)
            for i, box in enumerate(boxes_of(found))
        ]
    faces = np.concatenate(parts)
    target = LandmarkTarget(faces, "inter_ocular", np.array(boxes_of(faces)), MIRROR[POINTS])
    sizes = {f"{split} faces": len(part) for split, part in zip((TRAIN, TEST), parts, strict=True)}
    notes = counts(sizes, {"train faces": 1345, "test faces": 507})
    return Dataset("cofw", task, samples, CROP, (target,), notes=notes)


def _points(path: Path, variable: str) -> np.ndarray:
    """float64 [N, 29, 2], counted from (0, 0): rows of 29 x, 29 y and 29 flags, from (1, 1)."""
    try:
        with h5py.File(path) as file:
            table = np.asarray(file[variable], dtype=np.float64)
    except (OSError, KeyError) as error:
        raise UsageError(f"{path}: no COFW file of version 7.3 with {variable} ({one_line(error, 100)})") from None
    table = table if table.shape[0] == 3 * POINTS else table.T
    if table.shape[0] != 3 * POINTS:
        raise UsageError(f"{path}: {variable} has shape {table.shape}; {3 * POINTS} rows are needed")
    return np.stack([table[:POINTS].T, table[POINTS : 2 * POINTS].T], axis=2) - 1
