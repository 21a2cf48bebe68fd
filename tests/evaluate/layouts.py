"""Miniature data sets in the layouts of their owners, with pictures from a seeded generator."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io
from PIL import Image

RNG = np.random.default_rng


def picture(seed: int, height: int = 80, width: int = 80) -> np.ndarray:
    """A smooth random picture, uint8 [height, width, 3]."""
    coarse = RNG(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, seed: int = 0, size: tuple[int, int] = (80, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, *size)).save(path)
    return path


def jpeg(seed: int, side: int = 112) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed, side, side)).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: Path, lines: Iterable[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def face(seed: int, points: int = 68) -> np.ndarray:
    """Points float64 [points, 2] within a picture of 80 pixels."""
    return RNG(seed).uniform(15, 65, (points, 2))


def pts(path: Path, points: np.ndarray) -> Path:
    body = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    return write(path, [f"version: 1\nn_points:  {len(points)}\n{{\n{body}\n}}"])


def shape(seed: int) -> dict[str, np.ndarray]:
    points = np.concatenate([face(seed), RNG(seed + 99).normal(0, 10, (68, 1))], axis=1)
    pose = np.array([[0.1, RNG(seed).uniform(-1.5, 1.5), 0, 40, 40, -50, 1e-3]])
    return {
        "pt3d_68": (points + np.array([1, 1, 0])).T,
        "Pose_Para": pose,
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
    }


def make_pairs(root: Path, people: int = 4, train: bool = False) -> Path:
    rows = []
    for fold in (1, 2):
        for person in range(people):
            for shot in range(2):
                save(root / f"p{fold}{person}" / f"p{fold}{person}_{shot}.jpg", fold * 100 + person * 10 + shot)
            rows.append((fold, f"p{fold}{person}_0.jpg", f"p{fold}{person}_1.jpg", 1))
            rows.append((fold, f"p{fold}{person}_0.jpg", f"p{fold}{(person + 1) % people}_1.jpg", 0))
    if train:
        for person in range(3):
            for shot in range(4):
                save(root / "train" / f"t{person}" / f"{shot}.jpg", 1000 + person * 10 + shot)
    table(root / "pairs.csv", ("fold", "image_a", "image_b", "same"), rows)
    return root


def make_pts(root: Path, count: int = 6, points: int = 68) -> Path:
    for part, start in (("train", 0), ("test", 100)):
        for i in range(count):
            save(root / part / f"{part}{i}.jpg", start + i)
            pts(root / part / f"{part}{i}.pts", face(start + i, points))
    return root


def make_csv(root: Path, kind: str = "emotion", count: int = 24, subjects: bool = False, test: bool = True) -> Path:
    header = ["image", "split", *(["subject"] if subjects else [])]
    header += {"emotion": ["emotion"], "affect": ["valence", "arousal"], "units": ["AU01", "AU12"]}[kind]
    rows = []
    for i in range(count):
        split = "test" if test and i % 3 == 0 else "train"
        save(root / "images" / f"{i}.png", i)
        labels = {
            "emotion": [("happy", "sad")[i // 3 % 2]],
            "affect": [np.sin(i), np.cos(i)],
            "units": [i % 6, i // 2 % 6],
        }[kind]
        rows.append([f"images/{i}.png", split, *([f"{split}{i % 4}"] if subjects else []), *labels])
    table(root / "labels.csv", header, rows)
    return root


def make_mat(root: Path, count: int = 5) -> Path:
    for part, start in (("train", 0), ("test", 100)):
        for i in range(count):
            save(root / part / f"{i}.jpg", start + i)
            scipy.io.savemat(root / part / f"{i}.mat", shape(start + i))
    return root


def make_lfw(root: Path) -> Path:
    lines = ["10\t2"]
    for fold in range(10):
        names = [f"Ann_{fold}", f"Bob_{fold}"]
        for k, name in enumerate(names):
            for number in (1, 2):
                save(root / "lfw" / name / f"{name}_{number:04d}.jpg", fold * 10 + k * 3 + number, (250, 250))
        lines += [f"{name}\t1\t2" for name in names] + [f"{names[0]}\t{i}\t{names[1]}\t{i}" for i in (1, 2)]
    write(root / "pairs.txt", lines)
    return root


def make_bin(path: Path, pairs: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(([jpeg(i) for i in range(2 * pairs)], [i % 2 == 0 for i in range(pairs)])))
    return path


def make_cfp(root: Path) -> Path:
    inner = root / "cfp-dataset"
    for kind, name, count in (("F", "frontal", 2), ("P", "profile", 1)):
        lines = []
        for person in range(1, 5):
            for shot in range(1, count + 1):
                save(inner / "Data" / "Images" / f"{person:03d}" / name / f"{shot:02d}.jpg", person * 10 + shot)
                lines.append(f"{len(lines) + 1} ../Data/Images/{person:03d}/{name}/{shot:02d}.jpg")
        write(inner / "Protocol" / f"Pair_list_{kind}.txt", lines)
    for fold in (1, 2):
        write(
            inner / "Protocol" / "Split" / "FP" / f"{fold:02d}" / "same.txt",
            [f"{4 * fold - 3},{2 * fold - 1}", f"{4 * fold - 1},{2 * fold}"],
        )
        write(
            inner / "Protocol" / "Split" / "FP" / f"{fold:02d}" / "diff.txt",
            [f"{4 * fold - 3},{2 * fold}", f"{4 * fold - 1},{2 * fold - 1}"],
        )
    return root


def make_agedb(root: Path) -> Path:
    lines = []
    for i in range(20):
        for age in (20, 50):
            save(root / "AgeDB" / f"{i}_Person{i}_{age}_f.jpg", i * 2 + age)
        lines.append(f"AgeDB/{i}_Person{i}_20_f.jpg AgeDB/{i}_Person{i}_50_f.jpg 1")
        lines.append(f"AgeDB/{i}_Person{i}_20_f.jpg AgeDB/{(i + 1) % 20}_Person{(i + 1) % 20}_50_f.jpg 0")
    write(root / "agedb_30_pair.txt", lines)
    return root


FIVE = np.array([[30.0, 30], [50, 30], [40, 42], [32, 52], [48, 52]])


def make_vggface2(root: Path, leak: bool = False) -> Path:
    for split, people in (("train", range(3)), ("test", range(2 if leak else 3, 9))):
        rows = []
        for person in people:
            for shot in (1, 2):
                name = f"n{person:06d}/{shot:04d}_01"
                save(root / split / f"{name}.jpg", person * 10 + shot)
                rows.append([name, *FIVE.ravel()])
        table(
            root / "bb_landmark" / f"loose_landmark_{split}.csv",
            ["NAME_ID", *(f"P{i}{a}" for i in range(1, 6) for a in "XY")],
            rows,
        )
    return root


def make_ijb_insightface(root: Path, name: str = "ijbc") -> Path:
    g1, g2 = ("G1", "G2") if name == "ijbc" else ("S1", "S2")
    people, meta = range(6), root / "meta"
    faces, lines, points, labels = 0, [], [], []
    for template in range(12):
        for shot in range(2):
            faces += 1
            save(root / "loose_crop" / f"{faces}.jpg", template % 6 * 50 + template // 6 * 7 + shot)
            lines.append(f"{faces}.jpg {template + 1} {template * 2 + shot}")
            points.append(f"{faces}.jpg " + " ".join(f"{v:.2f}" for v in FIVE.ravel()) + " 0.99")
    for a in range(6):
        labels += [f"{a + 1} {b + 7} {int(a == b)}" for b in range(6)]
    write(meta / f"{name}_face_tid_mid.txt", lines)
    write(meta / f"{name}_name_5pts_score.txt", points)
    write(meta / f"{name}_template_pair_label.txt", labels)
    header = ("TEMPLATE_ID", "SUBJECT_ID", "FILENAME")
    table(meta / f"{name}_1N_gallery_{g1}.csv", header, [(p + 1, p, f"{p}.jpg") for p in people if p < 3])
    table(meta / f"{name}_1N_gallery_{g2}.csv", header, [(p + 1, p, f"{p}.jpg") for p in people if p >= 3])
    table(meta / f"{name}_1N_probe_mixed.csv", header, [(p + 7, p, f"{p}.jpg") for p in people])
    return root


def make_ijb_owners(root: Path, name: str = "ijbb") -> Path:
    g1, g2 = ("G1", "G2") if name == "ijbc" else ("S1", "S2")
    header = ("TEMPLATE_ID", "SUBJECT_ID", "FILENAME", "SIGHTING_ID", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")

    def rows(templates: Iterable[int], kind: str) -> list[tuple[object, ...]]:
        found = []
        for template in templates:
            for shot in range(2):
                file = f"{kind}/{template}_{shot}.png"
                save(root / "images" / file, template % 10 * 50 + shot)
                found.append((template, template % 10, file, template * 2, 10, 12, 50, 55))
        return found

    start = root / "protocol"
    table(start / f"{name}_1N_gallery_{g1}.csv", header, rows((11, 12, 13), "img"))
    table(start / f"{name}_1N_gallery_{g2}.csv", header, rows((14, 15), "img"))
    table(start / f"{name}_1N_probe_mixed.csv", header, rows((21, 22, 23, 24, 25), "frames"))
    write(
        start / f"{name}_11_{g1}_{g2}_matches.csv",
        [f"{a},{b}" for a in (11, 12, 13, 14, 15) for b in (21, 22, 23, 24, 25)],
    )
    return root


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
