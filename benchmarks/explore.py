"""How long `curate explore` takes to open a build of generated faces, and to answer its page.

    python benchmarks/explore.py [--faces 1000000] [--quick] [--json FILE]

Faces are one small picture under many names, in videos of 1,000 and clusters of 1 to 19; identity is not generated.
Requests go through the whole application, without a socket.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import measure
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from starlette.testclient import TestClient

from curate.explore.app import application
from curate.explore.tables import BuildTables
from curate.storage import schemas
from curate.storage.build import open_build
from curate.storage.info import BuildCounts
from curate.storage.parquet import write_table
from tests.builds import write_info

FILE_FACES, GROUP, VIDEO = 20_000, 64, 1_000
ROUNDS = 5
TEXT = (pa.string(), pa.large_string())


def main() -> None:
    parser = measure.parser(__doc__ or "")
    parser.add_argument("--faces", type=int, default=1_000_000)
    options = parser.parse_args()
    faces = 20_000 if options.quick else options.faces
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), faces)
        before = measure.peak_mb()
        started = time.process_time()
        tables = BuildTables(open_build(Path(folder)))
        opened = time.process_time() - started
        with TestClient(application(tables), base_url="http://127.0.0.1:8765") as client:
            answers = {name: asked(client, path) for name, path in questions(faces).items()}
    for name, (wall, processor) in answers.items():
        print(f"{name:40}{1000 * wall:9.0f} ms{1000 * processor:9.0f} ms of the processor")
    result = {
        "name": "explore",
        "work": f"{faces:,} generated faces in {faces // VIDEO:,} videos; medians of {ROUNDS} requests",
        "ours_s": max(wall for wall, _ in answers.values()),
        "open_s": opened,
        "tables_mb": round(measure.peak_mb() - before),
        "answers": {name: {"wall_s": wall, "processor_s": processor} for name, (wall, processor) in answers.items()},
        "peers": {},
        "floor_s": answers["a picture"][0],
        "floor": "a request that reads one picture",
    }
    measure.report(result, options.json)


def questions(faces: int) -> dict[str, str]:
    """What the page asks for, by what the reader does."""
    return {
        "the first page of clusters": "/api/clusters?limit=60",
        "the thousandth page of clusters": "/api/clusters?limit=60&offset=60000",
        "clusters of good, straight faces": "/api/clusters?limit=60&quality=0.8&yaw=20",
        "clusters of one source": "/api/clusters?limit=60&source=video-000007",
        "a cluster": "/api/cluster?id=5",
        "videos": "/api/videos?limit=60",
        "a video, by track": "/api/video?id=v000003",
        "a move of the threshold": "/api/threshold?t=0.953",
        "a picture": f"/face/{faces // 2}.jpg",
    }


def asked(client: TestClient, path: str) -> tuple[float, float]:
    """Median seconds of a request, by the clock and of the processor."""
    taken = []
    for _ in range(ROUNDS):
        wall, processor = time.perf_counter(), time.process_time()
        assert client.get(path).status_code == 200, path
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    return statistics.median(wall for wall, _ in taken), statistics.median(processor for _, processor in taken)


def generate(folder: Path, faces: int) -> None:
    """A build with everything that the page reads."""
    rng = np.random.default_rng(0)
    size = rng.integers(1, 20, faces)
    cluster = np.repeat(np.arange(faces), size)[:faces]
    head = np.r_[True, cluster[1:] != cluster[:-1]]
    similarity = np.where(head, 1, 0.9 + rng.random(faces) / 10).astype(np.float32)
    ids = [f"v{row // VIDEO:06d}-{row % VIDEO:07d}-00" for row in range(faces)]
    write_table(
        folder / "clusters" / "appearance.parquet", pa.table([ids, cluster, head, similarity], schema=schemas.CLUSTERS)
    )
    picture = (np.indices((112, 112)).sum(0)[..., None] % 256).astype(np.uint8).repeat(3, 2)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(cv2.resize(picture, (224, 224))), quality=60)
    (folder / "faces").mkdir()
    for number, start in enumerate(range(0, faces, FILE_FACES)):
        rows = np.arange(start, min(faces, start + FILE_FACES))
        with pq.ParquetWriter(folder / "faces" / f"part-{number:06d}-x.parquet", schemas.FACES) as writer:
            writer.write_table(_faces([ids[row] for row in rows], rows, jpeg, rng), row_group_size=GROUP)
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * faces, np.float16)), 2)
    write_table(
        folder / "embeddings" / "appearance" / "part-000000-x.parquet",
        pa.table([pa.array(ids), column], schema=schemas.embeddings(2)),
    )
    videos = [
        dict.fromkeys(schemas.VIDEOS.names)
        | {"video_id": f"v{i:06d}", "source": f"https://example.org/video-{i:06d}.mp4", "status": "ok", "faces": VIDEO}
        for i in range(-(-faces // VIDEO))
    ]
    write_table(folder / "videos.parquet", pa.Table.from_pylist(videos, schema=schemas.VIDEOS))
    (folder / "manifests").mkdir()
    (folder / "manifests" / "index.json").write_text('{"manifests": []}')
    point = {"threshold": 0.9, "clusters": int(head.sum()), "redundancy": 0.9}
    (folder / "redundancy.json").write_text(json.dumps({"curve": [point, point | {"threshold": 0.99}]}))
    zero = dict.fromkeys(BuildCounts.__dataclass_fields__, 0)
    known: dict[str, Any] = {"sources": len(videos), "ok": len(videos), "faces": faces}
    del zero["spread"]
    write_info(folder, counts=BuildCounts(**zero | known | {"clusters": {"appearance": int(head.sum())}}))


def _faces(ids: list[str], rows: np.ndarray, jpeg: bytes, rng: np.random.Generator) -> pa.Table:
    count = len(ids)
    table: dict[str, Any] = {}
    for field in schemas.FACES:
        if pa.types.is_fixed_size_list(field.type):
            values = pa.array(np.zeros(count * field.type.list_size, np.float32))
            table[field.name] = pa.FixedSizeListArray.from_arrays(values, field.type.list_size)
        elif field.name != "image":
            table[field.name] = pa.array(np.zeros(count)).cast(field.type) if field.type not in TEXT else pa.array(ids)
    table["video_id"] = pa.array([name.split("-")[0] for name in ids])
    table |= {"track": (rows % VIDEO // 50).astype(np.int32), "time_s": rows % VIDEO / 5.0}
    table |= {name: rng.normal(0, 25, count).astype(np.float32) for name in ("yaw", "pitch", "roll")}
    table |= {"quality": rng.random(count).astype(np.float32)}
    table["image"] = pa.StructArray.from_arrays([pa.array([jpeg] * count), pa.array(ids)], ["bytes", "path"])
    return pa.table(table).select(schemas.FACES.names).cast(schemas.FACES)


if __name__ == "__main__":
    main()
