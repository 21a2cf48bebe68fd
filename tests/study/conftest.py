"""A tiny build that can be trained on, tiny data sets, and a recipe that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
import torch

from curate.dedupe.covers import cover
from curate.dedupe.order import priority
from curate.storage.build import Build
from curate.storage.parquet import write_table
from curate.storage.schemas import CLUSTERS, FACES, embeddings
from tests.builds import space as invented
from tests.builds import write_info
from tests.evaluate import layouts
from tests.manifests.conftest import LENGTH, VIDEOS, face_table, unit, walks
from tests.pretrain.conftest import picture

THRESHOLD = 0.9


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write_build(folder: Path) -> Build:
    """VIDEOS walks of LENGTH faces each, with pictures of the walker; appearance and identity."""
    rng = np.random.default_rng(0)
    tables = []
    for video in range(VIDEOS):
        table = face_table(video, rng)
        jpegs = [simplejpeg.encode_jpeg(picture(video, shot), quality=90) for shot in range(LENGTH)]
        column = pa.array([{"bytes": data, "path": None} for data in jpegs], FACES.field("image").type)
        tables.append(table.set_column(table.schema.get_field_index("image"), FACES.field("image"), column))
    faces = pa.concat_tables(tables)
    write_table(folder / "faces/part-00000.parquet", faces)
    ids = faces["face_id"].combine_chunks()
    for space, threshold in (("appearance", THRESHOLD), ("identity", 0.5)):
        vectors = unit(walks(rng).astype(np.float64)).astype(np.float16).reshape(-1, 32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 32)
        write_table(
            folder / "embeddings" / space / "part-00000.parquet", pa.table([ids, column], schema=embeddings(32))
        )
        found = cover(vectors, threshold, priority(faces))
        write_table(folder / "clusters" / f"{space}.parquet", pa.table([ids, *map(pa.array, found)], schema=CLUSTERS))
    spaces = {name: invented(name, threshold) for name, threshold in (("appearance", THRESHOLD), ("identity", 0.5))}
    write_info(folder, content_hash="b" * 64, spaces=spaces)
    return Build(folder)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Shared by all tests: nothing writes to it but the list of its runs."""
    return write_build(tmp_path_factory.mktemp("study") / "build")


@pytest.fixture(scope="session")
def landmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny `pts` data set."""
    return layouts.make_pts(tmp_path_factory.mktemp("pts"))


@pytest.fixture
def recipe(build: Build, landmarks: Path) -> dict[str, Any]:
    """Two arms, one task, one seed; each run takes one update."""
    tiny = {"batch": 8, "crop_size": 32, "crops": [{"count": 2}], "swav.prototypes": 4, "swav.queue": 0}
    tiny |= {"swav.assign_views": 1, "probe.images": 0, "swav.freeze_prototypes_steps": 0}
    return {
        "builds": {"main": str(build.path)},
        "faces": [{"rule": ["cover", "random"], "size": 16}],
        "methods": {"swav": {"method": "swav", "arch": "tests.evaluate.tiny:tiny", "set": tiny}},
        "budgets": [{"updates": 1}],
        "tasks": {"points": {"task": "landmarks", "dataset": "pts", "data": str(landmarks), "set": {"crop.size": 32}}},
        "seeds": [0],
        "device": "cpu",
    }
