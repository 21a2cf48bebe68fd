"""Action units and emotion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from tests.evaluate.layouts.base import face, picture, save, table, write


def make_bp4d(root: Path) -> Path:
    for subject in ("F001", "F002", "M003"):
        for k in range(8):
            save(root / "2D+3D" / subject / "T1" / f"{k + 1:04d}.jpg", k)
        for unit in (6, 10, 12, 14, 17):
            rows = [f"{k + 1},{9 if k == 3 and unit == 6 else (k + unit) % 6}" for k in range(8)]
            write(root / "AUCoding" / "AU_INT" / f"AU{unit:02d}" / f"{subject}_T1_AU{unit:02d}.csv", rows)
    return root


def make_disfa(
    root: Path, subjects: Sequence[str] = ("SN001", "SN002", "SN013", "SN003"), landmarks: bool = True
) -> Path:
    for s, subject in enumerate(subjects):
        for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26):
            write(
                root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt",
                [f"{k + 1},{(k + unit + s) % 6}" for k in range(6)],
            )
        for k in range(6):
            save(root / "Images" / "Left" / subject / f"{k + 1}.jpg", s * 10 + k)
            if landmarks:
                path = root / "Landmark_Points" / subject / "tmp_frame_lm" / f"l{k + 1:04d}_lm.mat"
                path.parent.mkdir(parents=True, exist_ok=True)
                scipy.io.savemat(path, {"pts": face(k, 66)})
    return root


def make_affectnet(root: Path) -> Path:
    header = (
        "subDirectory_filePath",
        "face_x",
        "face_y",
        "face_width",
        "face_height",
        "facial_landmarks",
        "expression",
        "valence",
        "arousal",
    )
    for name, start, count in (("training.csv", 0, 12), ("validation.csv", 50, 6)):
        rows = []
        for i in range(count):
            file = f"{start}/{i}.jpg"
            save(root / "Manually_Annotated" / "Manually_Annotated_Images" / file, start + i)
            rows.append((file, 10, 10, 60, 60, "1;2", i % 8, np.sin(i), np.cos(i)))
        rows.append((f"{start}/0.jpg", 10, 10, 60, 60, "1;2", 10, -2, -2))
        table(root / name, header, rows)
    return root


def make_affectnet_arrays(root: Path) -> Path:
    for part, count in (("train_set", 8), ("val_set", 4)):
        (root / part / "annotations").mkdir(parents=True)
        for i in range(count):
            save(root / part / "images" / f"{i}.jpg", i)
            for kind, value in (("exp", str(i % 8)), ("val", "0.25"), ("aro", str(-0.1 * i))):
                np.save(root / part / "annotations" / f"{i}_{kind}.npy", value)
    return root


def make_afew_va(root: Path) -> Path:
    for clip in range(1, 7):
        frames = {}
        for k in range(4):
            save(root / f"{clip:03d}" / f"{k:05d}.png", clip * 10 + k)
            frames[f"{k:05d}"] = {"landmarks": face(k).tolist(), "valence": float(k - 2), "arousal": float(clip - 3)}
        about = {"video_id": f"{clip:03d}", "actor": f"actor{clip % 3}", "frames": frames}
        (root / f"{clip:03d}" / f"{clip:03d}.json").write_text(json.dumps(about))
    return root


def make_raf_db(root: Path) -> Path:
    lines = []
    for split, count in (("train", 10), ("test", 5)):
        for i in range(1, count + 1):
            save(root / "basic" / "Image" / "aligned" / f"{split}_{i:05d}_aligned.jpg", i, (100, 100))
            lines.append(f"{split}_{i:05d}.jpg {i % 7 + 1}")
    write(root / "basic" / "EmoLabel" / "list_patition_label.txt", lines)
    return root


def make_fer2013(root: Path) -> Path:
    rows = []
    for i in range(20):
        pixels = " ".join(map(str, picture(i, 48, 48)[..., 0].ravel()))
        rows.append((i % 7, pixels, ("Training", "Training", "PublicTest", "PrivateTest")[i % 4]))
    table(root / "fer2013.csv", ("emotion", "pixels", "Usage"), rows)
    return root
