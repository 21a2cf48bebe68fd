"""What the workers of a build would have left: pieces of generated faces, and a ledger that lists them."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from covers_work import unit
from numpy.typing import NDArray
from PIL import Image

from curate.hardware import cores
from curate.records import VideoInfo, VideoRecord
from curate.run.pieces import FACES_AT_ONCE, piece, vectors_table
from curate.run.supervise import Pending, Report
from curate.storage import schemas
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done, Ledger
from curate.storage.parquet import parquet_writer

A_VIDEO, A_TRACK = 128, 64
"""Faces of a video, and of a track."""
VIDEOS_EACH = 4
"""Videos in which one person is seen, in the mean."""
STEP = {"appearance": 0.06, "identity": 0.05}
"""How far a face moves from one frame to the next: about every eighth is new at 0.985 in `appearance`."""
SPREAD = 0.6
"""How far a track of a person lies from the person, in `identity`."""
KEY = "generated" * 4
SCENE = 256
"""Bytes of the whole frame (`curate.stages.scene`)."""
AT_ONCE = 64
"""Videos that a process makes at once."""


@dataclass(frozen=True)
class Collection:
    """Videos of `A_VIDEO` faces with pictures of `picture` bytes.

    Attributes:
        out: folder of the build.
        spaces: with the width of their vectors.
    """

    out: Path
    faces: int
    picture: int
    spaces: tuple[SpaceInfo, ...]
    names: tuple[str, ...] = ()

    def video_id(self, number: int) -> str:
        """Name of a video: as given, else its number."""
        return self.names[number] if self.names else f"v{number:08d}"

    @property
    def videos(self) -> int:
        """How many there are."""
        return -(-self.faces // A_VIDEO)

    @property
    def pieces(self) -> Path:
        """Where workers leave them."""
        return self.out / "work" / "pieces"


def spaces(appearance: float, identity: float = 0.4) -> tuple[SpaceInfo, ...]:
    """A space of looks of 128 numbers and one of persons of 512."""
    return (
        SpaceInfo("appearance", 128, "1", appearance, "generated", KEY),
        SpaceInfo("identity", 512, "1", identity, "generated", KEY),
    )


def generate(collection: Collection) -> None:
    """Writes the pieces in all cores, and the ledger."""
    write_pieces(collection)
    with Ledger(collection.out / "work" / "ledger.sqlite") as ledger, ledger._named():
        ledger._db.execute("BEGIN")  # one transaction: how fast the ledger is, `--sources` measures
        for number in range(collection.videos):
            _put(ledger, done_of(collection.video_id(number), _count(collection, number)))
        ledger._db.execute("COMMIT")


def write_pieces(collection: Collection) -> None:
    """Writes what workers leave of videos with faces."""
    collection.pieces.mkdir(parents=True)
    starts = range(0, collection.videos, AT_ONCE)
    with ProcessPoolExecutor(cores()) as pool:
        for _ in pool.map(_videos, [collection] * len(starts), starts):
            pass


def named(start: int, count: int) -> pa.Table:
    """`face_id`, `video_id`, `quality` of some faces of a collection without pictures."""
    rng, places = np.random.default_rng(start), np.arange(start, start + count)
    video = pc.binary_join_element_wise(
        "a-video-of-a-long-list-of-videos-", pc.utf8_lpad(pc.cast(pa.array(places // A_VIDEO), pa.string()), 8, "0"), ""
    )
    frame = pc.utf8_lpad(pc.cast(pa.array(places % A_VIDEO * 2), pa.string()), 7, "0")
    ids = pc.binary_join_element_wise(video, frame, "00", "-")
    quality = rng.uniform(0, 1, count).astype(np.float32)
    return pa.table({"face_id": ids, "video_id": video, "quality": quality})


def answer(item: Pending, _: object) -> Report:
    """What a worker that has nothing to do says of a source; those named `faces...` have some."""
    faces = A_VIDEO if item.source.source.startswith("faces") else 0
    return Report(done_of(item.source.video_id, faces, item.source.source))


def _put(ledger: Ledger, done: Done) -> None:
    from curate.storage.ledger import _to_json

    ledger._db.execute("INSERT INTO done VALUES (?, ?)", (done.record.video_id, _to_json(done)))


def done_of(video_id: str, faces: int, source: str | None = None) -> Done:
    """The ledger's row of a generated source."""
    info = VideoInfo("mov,mp4,m4a,3gp,3g2,mj2", "h264", 1280, 720, 25.0, 12.8, 320, max(faces, 1))
    record = VideoRecord(
        video_id,
        source or f"https://videos.example.org/{video_id}.mp4",
        "ok" if faces else "no_faces",
        content_sha256=hashlib.sha256(video_id.encode()).hexdigest(),
        info=info,
        faces=faces,
        title=f"Generated video {video_id}",
        retrieved_at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    )
    keys = {"appearance": KEY, "identity": KEY}
    seconds = {"fetch": 0.5, "decode": 1.0, "detect": 10.0, "judge": 0.5, "embed": 0.5}
    return Done(record, "stamp", KEY, keys, {"smaller than 32 pixels": 3}, seconds)


def _count(collection: Collection, video: int) -> int:
    return min(A_VIDEO, collection.faces - video * A_VIDEO)


def _videos(collection: Collection, start: int) -> None:
    numbers = range(start, min(start + AT_ONCE, collection.videos))
    rng = np.random.default_rng(start)
    pictures = [_picture(rng) for _ in range(A_TRACK)]
    vectors = {space.name: _vectors(collection, space, len(numbers), rng) for space in collection.spaces}
    for place, number in enumerate(numbers):
        video_id, count = collection.video_id(number), _count(collection, number)
        faces = _faces(
            video_id, count, rng, [_filled(pictures[k % A_TRACK], collection.picture, rng) for k in range(count)]
        )
        _write(piece(collection.pieces, video_id, KEY, "faces"), faces)
        ids = faces["face_id"].to_pylist()
        for space in collection.spaces:
            table = vectors_table(ids, vectors[space.name][place, :count])
            _write(piece(collection.pieces, video_id, KEY, space.name), table)


def _vectors(collection: Collection, space: SpaceInfo, videos: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """float32 [videos, A_VIDEO, D]: two walks each; in `identity` they begin near one of a few persons."""
    first = unit(rng.standard_normal((2 * videos, space.dimension), np.float32))
    if space.name == "identity":
        drawn = rng.integers(0, 1 + collection.videos // VIDEOS_EACH, videos).tolist()
        people = [np.random.default_rng(1 + n).standard_normal((2, space.dimension), np.float32) for n in drawn]
        first = unit(unit(np.concatenate(people)) + SPREAD * first)
    return _walks(first, STEP[space.name], rng).reshape(videos, A_VIDEO, space.dimension)


def _walks(places: NDArray[np.float32], step: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """float32 [n, A_TRACK, D]: small random steps on the sphere."""
    out = np.empty((len(places), A_TRACK, places.shape[1]), np.float32)
    for k in range(A_TRACK):
        out[:, k] = places
        places = unit(places + step * unit(rng.standard_normal(places.shape, np.float32)))
    return out


def _write(path: Path, table: pa.Table) -> None:
    """A piece, in the groups of rows in which a worker writes it."""
    with parquet_writer(path, table.schema) as writer:
        for start in range(0, table.num_rows, FACES_AT_ONCE):
            writer.write_table(table.slice(start, FACES_AT_ONCE))


def _faces(video_id: str, count: int, rng: np.random.Generator, pictures: list[bytes]) -> pa.Table:
    place = np.arange(count)
    corner = rng.uniform(100, 500, (count, 2)).astype(np.float32)
    boxes = np.concatenate((corner, corner + 90), 1)
    ids = [f"{video_id}-{k * 2:07d}-00" for k in range(count)]

    def real(low: float, high: float) -> NDArray[np.float32]:
        return rng.uniform(low, high, count).astype(np.float32)

    columns: dict[str, Any] = {
        "face_id": ids,
        "video_id": [video_id] * count,
        "frame": pa.array(place * 2, pa.int32()),
        "time_s": place / 10,
        "shot": pa.array(place // A_TRACK, pa.int32()),
        "track": pa.array(place // A_TRACK, pa.int32()),
        "bbox": _lists(boxes),
        "landmarks": _lists(rng.uniform(100, 600, (count, 10)).astype(np.float32)),
        "score": real(0.5, 1),
        "yaw": real(-40, 40),
        "pitch": real(-20, 20),
        "roll": real(-10, 10),
        "sharpness": real(0, 1),
        "brightness": real(0, 1),
        "mouth_open": real(0, 0.5),
        "eyes_open": real(0.1, 0.4),
        "quality": real(0, 1),
        "phash": rng.integers(0, 2**63, count, np.uint64),
        "pts": place * 1024,
        "first_instant": place,
        "last_instant": place,
        "crop_matrix": _lists(rng.standard_normal((count, 6), np.float32)),
        "inherited": place % 5 > 0,
        "scene": [rng.bytes(SCENE) for _ in range(count)],
        "image": [{"bytes": data, "path": f"{name}.jpg"} for data, name in zip(pictures, ids, strict=True)],
    }
    return pa.table(columns, schema=schemas.FACES)


def _lists(values: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _picture(rng: np.random.Generator) -> bytes:
    target = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(target, "JPEG", quality=50)
    return target.getvalue()


def _filled(picture: bytes, size: int, rng: np.random.Generator) -> bytes:
    """A JPEG filled up behind its end with what no one can compress."""
    return picture + rng.bytes(max(0, size - len(picture)))
