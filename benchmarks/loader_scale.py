"""Pre-training's data at millions of faces: memory of reading a manifest, packing its pictures and going through them.

    python benchmarks/loader_scale.py [--faces 4000000] [--quick] [--json FILE]

A build of that many faces (small JPEGs: what counts is their number; bytes stay on disk) and its manifest are written
first; a process of its own then does what `curate pretrain` does with them, and says how much memory it held.

ours    read the manifest, pack the pictures, open them, and 400 shuffled batches of 256 from the middle of a pass
peer    the manifest as the Arrow table that a Hugging Face data set would hold in memory
floor   the batches alone; of memory, what a shuffle needs: where a picture begins, its length, its place in the order
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

sys.path.insert(0, str(Path(__file__).parent))
import measure

from curate import hardware
from curate.storage.parquet import METADATA
from curate.storage.schemas import FACES, MANIFEST

FILE_FACES = 250_000
"""Faces in one file."""
GROUP = 4096
"""Faces in one row group."""
SIDE = 32
DIFFERENT = 512
"""Different pictures; they come again and again."""
STEPS, BATCH = 400, 256
FLOOR_BYTES = 8 + 4 + 8
"""A face: offset, length, place in the order of a pass."""


def write_build(folder: Path, count: int) -> Path:
    """A manifest of `count` faces and the files that hold them; memory does not grow with `count`."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (DIFFERENT, SIDE, SIDE, 3), np.uint8)
    jpegs = np.array([simplejpeg.encode_jpeg(picture, quality=60) for picture in noise], object)
    (folder / "faces").mkdir(parents=True)
    (folder / "manifests").mkdir()
    path = folder / "manifests" / "all.parquet"
    schema = MANIFEST.with_metadata({METADATA: json.dumps({"size": count, "build_path": ".."})})
    with pq.ParquetWriter(path, schema, compression="zstd") as manifest:
        for begin in range(0, count, FILE_FACES):
            name = f"faces/part-{begin // FILE_FACES:05d}.parquet"
            end = min(begin + FILE_FACES, count)
            with pq.ParquetWriter(folder / name, FACES, compression={"image.bytes": "NONE"}) as faces:
                for low in range(begin, end, GROUP):
                    rows = np.arange(low, min(low + GROUP, end))
                    faces.write_table(_faces(rows, jpegs))
                    manifest.write_table(_chosen(rows, name, rows - begin).cast(schema))
    return path


def _names(rows: np.ndarray) -> dict[str, list[str]]:
    videos = [f"{row // 1000:016x}" for row in rows]
    return {"face_id": [f"{video}-{row:09d}" for video, row in zip(videos, rows, strict=True)], "video_id": videos}


def _faces(rows: np.ndarray, jpegs: np.ndarray) -> pa.Table:
    images = pa.StructArray.from_arrays(
        [pa.array(jpegs[rows % DIFFERENT], pa.binary()), pa.nulls(len(rows), pa.string())], ["bytes", "path"]
    )
    known: dict[str, Any] = {**_names(rows), "image": images.cast(FACES.field("image").type)}
    columns = [known.get(field.name, pa.nulls(len(rows), field.type)) for field in FACES]
    return pa.table(columns, names=FACES.names).cast(FACES)


def _chosen(rows: np.ndarray, name: str, place: np.ndarray) -> pa.Table:
    one = np.ones(len(rows), bool)
    return pa.table(_names(rows) | {"cluster": rows, "representative": one, "file": [name] * len(rows), "row": place})


def work(path: str, folder: str) -> dict[str, Any]:
    """What `curate pretrain` does with a manifest, and what it held after each part, MB."""
    from curate.pretrain import loader, pictures
    from curate.pretrain.faces import ManifestFaces
    from curate.storage.manifest import open_manifest

    figures: dict[str, Any] = {"start_mb": measure.peak_mb()}
    started = time.perf_counter()
    found = ManifestFaces(open_manifest(path))
    figures |= {"read_s": time.perf_counter() - started, "read_mb": measure.peak_mb()}
    started = time.perf_counter()
    pictures.pack(found, Path(folder))
    figures |= {"pack_s": time.perf_counter() - started, "pack_mb": measure.peak_mb()}
    started = time.perf_counter()
    opened = pictures.open_pictures(found, Path(folder))
    order = loader.EpochOrder(np.arange(len(found)), BATCH, 0)
    first = order.steps_per_epoch // 2
    last = min(first + STEPS, order.steps_per_epoch)
    seen = 0
    for batch in loader.batches(opened, order, range(first, last), reading=loader.ReadAhead(hardware.cores())):
        seen += len(batch.images)
    return figures | {"batches_s": time.perf_counter() - started, "batches_mb": measure.peak_mb(), "pictures": seen}


def hold(path: str) -> dict[str, Any]:
    """The peer: the whole table in memory, and a shuffled order of its rows."""
    figures: dict[str, Any] = {"start_mb": measure.peak_mb()}
    started = time.perf_counter()
    table = pq.read_table(path)
    order = np.random.default_rng(0).permutation(table.num_rows)
    return figures | {"seconds": time.perf_counter() - started, "mb": measure.peak_mb(), "rows": len(order)}


def main() -> None:
    """Measures and prints; with `--work` or `--hold`, is the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=4_000_000)
    parser.add_argument("--quick", action="store_true", help="100,000 faces")
    parser.add_argument("--json", type=Path, help="also write the line of JSON to this file")
    parser.add_argument("--folder", type=Path, help="where the build is written; default: a temporary folder")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work or options.hold:
        print(json.dumps(work(*options.work) if options.work else hold(options.hold)))
        return
    count = 100_000 if options.quick else options.faces
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        path = write_build(Path(name) / "build", count)
        ours = _measured("--work", str(path), str(Path(name) / "packed"))
        peer = _measured("--hold", str(path))
    grown = ours["batches_mb"] - ours["start_mb"]
    measure.report(
        {
            "name": "loader_scale",
            "work": f"{count:,} faces: manifest read, pictures packed, {ours['pictures']:,} shuffled and decoded",
            "ours_s": ours["read_s"] + ours["pack_s"] + ours["batches_s"],
            "quality": f"{grown:.0f} MB more than at the start",
            "peers": {
                "table": {"seconds": peer["seconds"], "quality": f"{peer['mb'] - peer['start_mb']:.0f} MB, no picture"}
            },
            "floor": "going through packed pictures",
            "floor_s": ours["batches_s"],
            "faces": count,
            "grown_mb": round(grown),
            "floor_mb": round(count * FLOOR_BYTES / 2**20),
            "bytes_a_face": round(grown * 2**20 / count, 1),
            "parts": ours,
        },
        options.json,
    )


def _measured(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
