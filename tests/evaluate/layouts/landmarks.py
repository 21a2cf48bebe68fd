"""Landmarks."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import scipy.io

from tests.evaluate.layouts.base import RNG, face, picture, pts, save, write


def make_300w(root: Path) -> Path:
    parts = ("afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset", "ibug", "300W/01_Indoor")
    for k, part in enumerate(parts):
        for i in range(2):
            save(root / part / f"{i}.png", k * 10 + i)
            pts(root / part / f"{i}.pts", face(k * 10 + i))
    return root


def make_wflw(root: Path) -> Path:
    for split, count in (("train", 4), ("test", 3)):
        lines = []
        for i in range(count):
            name = f"0--Parade/{split}{i}.jpg"
            save(root / "WFLW_images" / name, i)
            coordinates = " ".join(f"{v:.6f}" for v in face(i, 98).ravel())
            flags = " ".join(str(int(k == i)) for k in range(6))
            lines.append(f"{coordinates} 10 10 70 70 {flags} {name}")
        write(root / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / f"list_98pt_rect_attr_{split}.txt", lines)
    return root


def make_cofw(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, images, name, count in (("train", "IsTr", "phisTr", 4), ("test", "IsT", "phisT", 3)):
        with h5py.File(root / f"COFW_{split}_color.mat", "w") as file:
            references = np.zeros((1, count), dtype=h5py.ref_dtype)
            for i in range(count):
                pixels = picture(i, 80, 90)
                stored = pixels[..., 0].T if i == 0 else pixels.transpose(2, 1, 0)  # grey ones are among them
                references[0, i] = file.create_dataset(f"#refs#/{split}{i}", data=stored).ref
            file[images] = references
            points = np.stack([face(i, 29) + 1 for i in range(count)])
            file[name] = np.concatenate([points[..., 0].T, points[..., 1].T, np.zeros((29, count))])
    return root


def make_aflw19(root: Path, count: int = 10) -> Path:
    names = np.empty((count, 1), dtype=object)
    for i in range(count):
        names[i, 0] = f"{(0, 2, 3)[i % 3]}/image{i:05d}.jpg"
        save(root / "data" / "flickr" / names[i, 0], i)
    points = np.stack([face(i, 19) for i in range(count)]) + 1
    mask = np.ones((count, 19))
    mask[::2, 3] = 0
    scipy.io.savemat(
        root / "AFLWinfo_release.mat",
        {
            "bbox": np.tile([11.0, 71, 11, 71], (count, 1)),
            "data": np.concatenate([points[..., 0], points[..., 1]], axis=1),
            "mask_new": mask,
            "nameList": names,
            "ra": RNG(0).permutation(count)[None] + 1,
        },
    )
    return root
