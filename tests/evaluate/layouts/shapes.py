"""Three-dimensional shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from tests.evaluate.layouts.base import RNG, save, shape, write


def make_300w_lp(root: Path, landmarks: bool = True, tested: str = "AFLW2000") -> Path:
    for part in ("AFW", "HELEN_Flip"):
        for i in range(3):
            save(root / "300W_LP" / part / f"{part}_{i}_0.jpg", i)
            content = shape(i)
            scipy.io.savemat(
                root / "300W_LP" / part / f"{part}_{i}_0.mat", {k: v for k, v in content.items() if k != "pt3d_68"}
            )
            if landmarks:
                path = root / "300W_LP" / "landmarks" / part / f"{part}_{i}_0_pts.mat"
                path.parent.mkdir(parents=True, exist_ok=True)
                scipy.io.savemat(path, {"pts_3d": content["pt3d_68"][:2].T, "pts_2d": content["pt3d_68"][:2].T})
    return make_aflw2000(root / tested, root)


def make_aflw2000(place: Path, root: Path | None = None) -> Path:
    for i in range(6):
        save(place / f"image{i:05d}.jpg", 40 + i)
        scipy.io.savemat(place / f"image{i:05d}.mat", shape(40 + i))
    return root or place


def make_model(root: Path, vertices: int = 700) -> np.ndarray:
    """3DDFA's two files with a made-up model; returns mean float64 [3 V]."""
    rng = RNG(3)
    mean = rng.normal(0, 2e4, (3 * vertices, 1))
    scipy.io.savemat(
        root / "Model_Shape.mat",
        {"mu_shape": mean, "w": rng.normal(0, 1, (3 * vertices, 199)), "keypoints": np.arange(1, 69)[None]},
    )
    scipy.io.savemat(
        root / "Model_Exp.mat", {"mu_exp": np.zeros((3 * vertices, 1)), "w_exp": rng.normal(0, 1, (3 * vertices, 29))}
    )
    return mean


def make_florence(root: Path) -> Path:
    make_300w_lp(root)
    for subject in ("subject_01", "subject_02"):
        place = root / subject / "Model" / "frontal1" / "obj"
        angle = np.linspace(0, 2 * np.pi, 150, endpoint=False)
        ring = np.linspace(0.01, 1, 80)
        x, y = (np.outer(ring, f(angle)).ravel() * 70 for f in (np.cos, np.sin))
        z = 60 - (x**2 + y**2) / 90
        lines = [f"v {a:.3f} {b:.3f} {c:.3f}" for a, b, c in zip(x, y * 1.3, z, strict=True)]
        lines += [f"vt {0.5 + a / 160:.4f} {0.5 + b / 160:.4f}" for a, b in zip(x, y, strict=True)]
        lines += [f"f {i}/{i} {i + 1}/{i + 1} {i + 2}/{i + 2}" for i in range(1, len(x) - 2)]
        write(place / "scan.obj", lines)
        save(place / "scan.jpg", 5)
    return root
