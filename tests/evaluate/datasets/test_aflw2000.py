"""300W-LP as its owners give it out: points of the four unmirrored folders alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from curate.errors import UsageError
from curate.evaluate.datasets import morphable, read
from curate.evaluate.datasets.folder import Folder
from curate.evaluate.datasets.points import MIRROR
from curate.evaluate.samples import (
    ShapeTarget,
)
from tests.evaluate import layouts
from tests.evaluate.test_datasets import splits


def make(root: Path, width: int = 90) -> Path:
    """Three pictures and their mirror images; points for the former alone."""
    layouts.make_aflw2000(root / "AFLW2000")
    for i in range(3):
        content = layouts.shape(i)
        for part in ("HELEN", "HELEN_Flip"):
            layouts.save(root / "300W_LP" / part / f"HELEN_{i}_0.jpg", i, (80, width))
            scipy.io.savemat(root / "300W_LP" / part / f"HELEN_{i}_0.mat", {"Pose_Para": content["Pose_Para"]})
        path = root / "300W_LP" / "landmarks" / "HELEN" / f"HELEN_{i}_0_pts.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {"pts_3d": content["pt3d_68"][:2].T})
    return root


def test_mirrored_pictures_take_the_points_of_the_others(tmp_path: Path) -> None:
    dataset = read("300w_lp", "reconstruction", make(tmp_path))
    target = dataset.targets[0]
    assert isinstance(target, ShapeTarget)
    points = {s.id: p for s, p in zip(dataset.samples, target.points, strict=True)}
    for i in range(3):
        plain, flipped = (points[f"300W_LP/{part}/HELEN_{i}_0.jpg"][:, :2] for part in ("HELEN", "HELEN_Flip"))
        np.testing.assert_allclose(plain, layouts.shape(i)["pt3d_68"][:2].T - 1)
        np.testing.assert_allclose(flipped, np.stack([89 - plain[:, 0], plain[:, 1]], 1)[list(MIRROR[68])])
    assert "3 mirrored pictures take the points of the unmirrored ones, mirrored" in dataset.notes


def test_pictures_without_points_are_counted_and_without_any_refused(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "300W_LP" / "landmarks" / "HELEN" / "HELEN_1_0_pts.mat").unlink()
    dataset = read("300w_lp", "reconstruction", root)
    assert sum(s.split == "train" for s in dataset.samples) == 4
    assert "2 pictures of 300W-LP without points left out, the first is 300W_LP/HELEN/HELEN_1_0.jpg" in dataset.notes
    assert any("300W-LP is without its folders AFW, AFW_Flip, HELEN_Flip" not in n for n in dataset.notes)
    shutil.rmtree(root / "300W_LP" / "landmarks")
    with pytest.raises(UsageError, match="none of the 6 pictures has points; unpack 300W-LP's landmarks/"):
        read("300w_lp", "reconstruction", root)


def test_aflw2000_alone_has_no_test_part(tmp_path: Path) -> None:
    dataset = read("aflw2000", "reconstruction", layouts.make_aflw2000(tmp_path))
    assert splits(dataset) == {"train": 6}
    target = dataset.targets[0]
    assert isinstance(target, ShapeTarget)
    np.testing.assert_allclose(target.points[2], layouts.shape(42)["pt3d_68"].T - [1, 1, 0])


def test_morphable_model_gives_dense_faces_and_is_checked(tmp_path: Path) -> None:
    root = layouts.make_300w_lp(tmp_path, landmarks=False)
    mean = layouts.make_model(root).reshape(-1, 3)
    with pytest.raises(UsageError, match="pixels from pt3d_68"):
        read("aflw2000", "reconstruction", root)
    model = morphable.load(Folder(root, "aflw2000", ""))
    assert model is not None
    for path in (root / "AFLW2000").glob("*.mat"):
        content = scipy.io.loadmat(path)
        pitch, yaw, roll, x, y, z, scale = content["Pose_Para"].ravel()
        turned = scale * mean[:68] @ morphable.rotation(pitch, yaw, roll).T + [x, y, z]
        turned[:, 1] = 80 + 1 - turned[:, 1]
        scipy.io.savemat(path, {**layouts.shape(0), "Pose_Para": content["Pose_Para"], "pt3d_68": turned.T})
    dataset = read("aflw2000", "reconstruction", root)
    target = dataset.targets[0]
    assert isinstance(target, ShapeTarget) and target.points.shape == (12, 68 + morphable.DENSE, 3)
    assert np.isfinite(target.points).all()
    (root / "300W_LP" / "AFW" / "AFW_1_0.jpg").write_bytes(b"noise")
    (root / "AFLW2000" / "image00000.jpg").write_bytes(b"noise")  # its points are known without the model
    damaged = read("aflw2000", "reconstruction", root)
    assert splits(damaged) == {"train": 5, "test": 6} and "1 faces without usable points left out" in damaged.notes
    scipy.io.savemat(root / "300W_LP" / "AFW" / "AFW_0_0.mat", {"Exp_Para": np.zeros((29, 1))})
    with pytest.raises(UsageError, match=r"AFW_0_0\.mat: no parameters of the model \('Shape_Para'\)"):
        read("aflw2000", "reconstruction", root)
    np.testing.assert_allclose(
        morphable.rotation(0.3, -0.2, 0.1) @ morphable.rotation(0.3, -0.2, 0.1).T, np.eye(3), atol=1e-12
    )
