"""Recognition, as its owners and insightface distribute it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tests.evaluate.layouts.base import jpeg, save, table, write

FIVE = np.array([[30.0, 30], [50, 30], [40, 42], [32, 52], [48, 52]])


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
            points.append(f"{faces}.jpg " + " ".join(f"{v:.2f}" for v in FIVE.ravel()) + f" {1 - faces / 100:.2f}")
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
