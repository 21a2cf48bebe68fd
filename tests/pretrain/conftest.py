"""A tiny build with a manifest: generated pictures of a few "people", so that nothing need be downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch

from curate.storage.parquet import write_table
from curate.storage.schemas import CLUSTERS, FACES, MANIFEST

SIZE = 32


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def picture(person: int, shot: int, size: int = SIZE) -> np.ndarray:
    """uint8 [size, size, 3]: a pattern that is the person's, in a light that is the shot's."""
    rng = np.random.default_rng(person)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = sum(
        np.sin(2 * np.pi * (rng.uniform(-3, 3) * x + rng.uniform(-3, 3) * y))[..., None] * rng.uniform(-1, 1, 3)
        for _ in range(4)
    )
    light = np.random.default_rng((person, shot)).uniform(0.6, 1.4)
    return np.clip(128 + 60 * light * waves, 0, 255).astype(np.uint8)


def write_build(
    folder: Path, people: int = 8, shots: int = 8, size: int = SIZE, damage: tuple[int, ...] = (), part: int = 24
) -> Path:
    """A build of `people` x `shots` faces in files of `part` rows, and its manifest `all`, in shuffled order.

    Face number i is person i // shots, in one of two videos of that person; `damage` are face numbers whose JPEG breaks
    off half-way.
    """
    count = people * shots
    jpegs = []
    for index in range(count):
        data = simplejpeg.encode_jpeg(picture(index // shots, index % shots, size), quality=95)
        jpegs.append(data[: len(data) // 2] if index in damage else data)
    ids = [f"face{index:03d}" for index in range(count)]
    faces = pa.table(
        {
            field.name: pa.nulls(count, field.type)
            for field in FACES
            if field.name not in ("face_id", "video_id", "track", "image")
        }
        | {
            "face_id": ids,
            "video_id": [f"video{index // shots}-{index % 2}" for index in range(count)],
            "track": pa.array([0] * count, pa.int32()),
            "image": pa.array([{"bytes": data, "path": None} for data in jpegs], FACES.field("image").type),
        }
    ).select(FACES.names)
    for number, start in enumerate(range(0, count, part)):
        path = folder / f"faces/part-{number:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(faces.slice(start, part).cast(FACES), path, row_group_size=10, compression="zstd")
    clusters = {
        "face_id": ids,
        "cluster": [100 + index // shots for index in range(count)],
        "representative": [index % shots == 0 for index in range(count)],
        "similarity": [1.0] * count,
    }
    write_table(folder / "clusters/identity.parquet", pa.table(clusters).cast(CLUSTERS))
    order = np.random.default_rng(0).permutation(count)
    manifest = {
        "face_id": [ids[index] for index in order],
        "video_id": [f"video{index // shots}-{index % 2}" for index in order],
        "cluster": order,
        "representative": [True] * count,
        "file": [f"faces/part-{index // part:05d}.parquet" for index in order],
        "row": order % part,
    }
    path = folder / "manifests/all.parquet"
    write_table(path, pa.table(manifest).cast(MANIFEST), {"size": count, "build": "b" * 64})
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Path of the manifest of a small sound build."""
    return write_build(tmp_path / "build")


@pytest.fixture
def make_build(tmp_path: Path) -> Callable[..., Path]:
    """`write_build` into this test's folder."""
    return lambda **options: write_build(tmp_path / "build", **options)
