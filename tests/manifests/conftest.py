"""A small finished build on disk, made of random walks instead of videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.dedupe.covers import cover
from curate.dedupe.order import priority
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.files import sha256_file
from curate.storage.parquet import write_table
from tests.builds import space, write_info

VIDEOS, LENGTH, WIDTH = 12, 25, 32
THRESHOLDS = {"appearance": 0.9, "identity": 0.5}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def walks(rng: np.random.Generator) -> np.ndarray:
    """float16 [VIDEOS, LENGTH, WIDTH]: each video is a walk of small steps."""
    place = unit(rng.standard_normal((VIDEOS, WIDTH)))
    steps = []
    for _ in range(LENGTH):
        steps.append(place)
        place = unit(place + 0.35 * unit(rng.standard_normal(place.shape)))
    return np.stack(steps, axis=1).astype(np.float16)


def face_table(video: int, rng: np.random.Generator) -> pa.Table:
    count = LENGTH
    columns = {
        "face_id": [f"v{video:02d}-{i:07d}-00" for i in range(count)],
        "video_id": [f"v{video:02d}"] * count,
        "frame": np.arange(count, dtype=np.int32) * 5,
        "time_s": np.arange(count) / 5,
        "shot": np.zeros(count, np.int32),
        "track": (np.arange(count) // 10).astype(np.int32),
        "bbox": [[1.0, 2.0, 3.0, 4.0]] * count,
        "landmarks": [[0.0] * 10] * count,
        "quality": rng.integers(0, 8, count).astype(np.float32) / 8,  # with ties
        "phash": np.arange(count, dtype=np.uint64),
        "pts": np.arange(count) * 18_000,
        "first_instant": np.arange(count),
        "last_instant": np.arange(count),
        "crop_matrix": [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]] * count,
        "inherited": [False] * count,
        "scene": [bytes(256)] * count,
        "image": [{"bytes": b"jpeg", "path": "x.jpg"}] * count,
    }
    for name in ("score", "yaw", "pitch", "roll", "sharpness", "brightness", "eyes_open"):
        columns[name] = rng.random(count).astype(np.float32)
    mouth = rng.random(count).astype(np.float32)
    columns["mouth_open"] = pa.array(mouth, mask=mouth < 0.3)
    return pa.table({name: columns[name] for name in schemas.FACES.names}, schema=schemas.FACES)


def write_build(folder: Path, seed: int = 0) -> Build:
    rng = np.random.default_rng(seed)
    tables = [face_table(video, rng) for video in range(VIDEOS)]
    half = VIDEOS // 2
    parts = [tables[:half], tables[half:]]
    vectors = {"appearance": walks(rng), "identity": walks(rng)}
    for part, held in enumerate(parts):
        write_table(folder / "faces" / f"part-{part:05d}.parquet", pa.concat_tables(held))
        for kind, values in vectors.items():
            own = values[part * half : (part + 1) * half].reshape(-1, WIDTH)
            ids = pa.concat_tables(held)["face_id"].combine_chunks()
            column = pa.FixedSizeListArray.from_arrays(pa.array(own.ravel()), WIDTH)
            table = pa.table([ids, column], schema=schemas.embeddings(WIDTH))
            write_table(folder / "embeddings" / kind / f"part-{part:05d}.parquet", table)
    build = Build(folder)
    faces = build.faces(["face_id", "quality"])
    for kind, threshold in THRESHOLDS.items():
        found = cover(build.vectors(kind), threshold, priority(faces))
        table = pa.table([faces["face_id"].combine_chunks(), *map(pa.array, found)], schema=schemas.CLUSTERS)
        write_table(folder / "clusters" / f"{kind}.parquet", table)
    sources = {
        "video_id": [f"v{v:02d}" for v in range(VIDEOS)],
        "source": [f"clips/{v}.mp4" for v in range(VIDEOS)],
        "status": ["ok"] * VIDEOS,
        "faces": [LENGTH] * VIDEOS,
        "fps": [25.0] * VIDEOS,
        "title": ["it's" if v % 2 else 'a "quote"' for v in range(VIDEOS)],
    }
    videos = pa.table(
        {name: sources.get(name, [None] * VIDEOS) for name in schemas.VIDEOS.names}, schema=schemas.VIDEOS
    )
    videos = videos.append_column("country", pa.array([["de", "fr"][v % 2] for v in range(VIDEOS)]))
    videos = videos.append_column("quality", pa.array([float(v) for v in range(VIDEOS)]))  # like a face's column
    write_table(folder / "videos.parquet", videos)
    write_table(folder / "duplicates.parquet", schemas.DUPLICATES.empty_table())
    finish(folder)
    return build


def finish(folder: Path) -> None:
    """Writes build.json over what is there."""
    paths = sorted([*folder.rglob("*.parquet"), *(folder / "manifests").glob("*.json")])
    write_info(
        folder,
        spaces={name: space(name, threshold, dimension=WIDTH) for name, threshold in THRESHOLDS.items()},
        files={path.relative_to(folder).as_posix(): sha256_file(path) for path in paths},
    )


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    write_build(folder)
    return folder


@pytest.fixture
def build(_written: Path, tmp_path: Path) -> Build:
    """A build of its own for each test."""
    import shutil

    shutil.copytree(_written, tmp_path / "build")
    return Build(tmp_path / "build")
