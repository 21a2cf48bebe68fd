from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.run import page
from curate.storage import schemas
from curate.storage.build import open_build
from curate.storage.info import BuildCounts
from curate.storage.parquet import write_table
from tests.builds import write_info
from tests.drawing.tags import Tags
from tests.run import clips

HOSTILE = '<script>alert("x")</script>\u202e"><img src=x onerror=alert(1)>' + "long " * 2000


def make(folder: Path, faces: int, videos: int) -> Path:
    """A build as the contract lays it out, with as many faces and videos as asked for; clusters of up to ten."""
    import cv2
    import simplejpeg

    rng = np.random.default_rng(0)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(cv2.resize(clips.astronaut(), (64, 64))), quality=60)
    ids = [f"v{i * videos // faces:06d}-{i:07d}-00" for i in range(faces)]
    zeros, ones = np.zeros(faces, np.float32), np.ones(faces, np.float32)
    table = dict.fromkeys(schemas.FACES.names, zeros)
    table |= {"face_id": ids, "video_id": [face.split("-")[0] for face in ids], "quality": ones}
    table |= {name: zeros.astype(np.int32) for name in ("frame", "shot", "track")} | {
        "phash": np.zeros(faces, np.uint64)
    }
    table |= {
        "bbox": np.zeros((faces, 4), np.float32).tolist(),
        "landmarks": np.zeros((faces, 10), np.float32).tolist(),
        "crop_matrix": np.zeros((faces, 6), np.float32).tolist(),
    }
    table |= dict.fromkeys(("pts", "first_instant", "last_instant"), np.arange(faces)) | {"inherited": zeros > 0}
    table["scene"] = [bytes(256)] * faces
    table["time_s"] = zeros.astype(np.float64)
    table["image"] = [{"bytes": jpeg, "path": f"{face}.jpg"} for face in ids]
    write_table(folder / "faces" / "part-000000-x.parquet", pa.table(table, schema=schemas.FACES))
    vectors = rng.normal(size=(faces, 8)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 8)
    embeddings = pa.table([pa.array(ids), column], schema=schemas.embeddings(8))
    write_table(folder / "embeddings" / "appearance" / "part-000000-x.parquet", embeddings)
    cluster = np.arange(faces) // 10
    head = np.arange(faces) % 10 == 0
    similarity = np.where(head, 1, 0.9 + rng.random(faces) / 10).astype(np.float32)
    write_table(
        folder / "clusters" / "appearance.parquet", pa.table([ids, cluster, head, similarity], schema=schemas.CLUSTERS)
    )
    rows = [dict.fromkeys(schemas.VIDEOS.names) for _ in range(videos)]
    for i, row in enumerate(rows):
        row |= {
            "video_id": f"v{i:06d}",
            "source": HOSTILE,
            "title": HOSTILE,
            "license": HOSTILE,
            "status": "ok",
            "faces": 1,
        }
    rows[-1] |= {"status": "failed", "error": HOSTILE, "error_kind": "network"}
    rows[0] |= {"status": "duplicate", "duplicate_of": "v000001"}
    write_table(folder / "videos.parquet", pa.Table.from_pylist(rows, schema=schemas.VIDEOS))
    (folder / "manifests").mkdir()
    (folder / "manifests" / "index.json").write_text('{"manifests": []}')
    point = {"threshold": 0.9, "clusters": 1, "redundancy": 0.9, "within": 0.8, "across": 0.1, "by_track": 0.7}
    held = {"edges": [0, 0.5, None], "before": [faces, 0], "after": [int(head.sum()), 0]}
    seen: dict[str, object] = {name: {"before": videos, "after": videos} for name in ("videos", "tracks")}
    seen["ranges"] = dict.fromkeys(page.RANGES, held)
    told = {
        "coverage": seen,
        "curve": [point | {"threshold": 0.7}, point],
        "by_video": [],
        "by_rate": [{"fps": 1, "redundancy": 0.5}],
    }
    (folder / "redundancy.json").write_text(json.dumps(told))
    counts = dict.fromkeys(["sources", "ok", "failed", "duplicate", "frames_sampled", "frames_damaged"], videos)
    counted = BuildCounts(**counts, no_faces=0, faces=faces, clusters={"appearance": int(head.sum())})
    write_info(folder, counts=counted, refused=[HOSTILE])
    return folder


@pytest.mark.parametrize(("faces", "videos"), [(100, 5), (100_000, 10_000)])
def test_any_size_gives_a_page_that_can_be_opened(tmp_path: Path, faces: int, videos: int) -> None:
    path = page.write(make(tmp_path, faces, videos))
    text = path.read_text(encoding="utf-8")
    assert 10_000 < len(text) < 6_000_000
    if videos > page.VIDEOS:
        assert f"The first {page.VIDEOS} of {videos:,}" in text


def test_hostile_metadata_stay_text_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    text = page.write(make(tmp_path, 100, 5)).read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(text)
    assert not [tag for tag, _ in parser.tags if tag in ("script", "iframe", "link", "object")]
    sources = [attributes.get("src") or "" for tag, attributes in parser.tags if tag == "img"]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not [name for _, attributes in parser.tags for name in attributes if name.startswith("on")]
    assert not re.findall(r'(?:href|src)="https?:', text)
    assert "&lt;script&gt;" in text


def test_what_was_probably_missed_stands_on_the_first_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.funnel, "hints", lambda info: ["59 of 67 frames have no face"])
    text = page.write(make(tmp_path, 100, 5)).read_text(encoding="utf-8")
    assert "59 of 67 frames have no face" in text[: text.index("<h2>")]


def test_the_least_similar_members_and_the_most_similar_strangers_are_shown(tmp_path: Path) -> None:
    build = open_build(make(tmp_path, 200, 4))
    layout = page._layout(build)
    above = page._above(layout)
    dropped = np.flatnonzero(~layout.representative)
    assert [row for _, row, _ in above] == list(
        dropped[np.argsort(layout.similarity[dropped], kind="stable")][: page.PAIRS]
    )
    heads = np.flatnonzero(layout.representative)
    vectors = build.vectors()[heads].astype(np.float32)
    products = np.triu(vectors @ vectors.T, 1)
    left, right = np.unravel_index(products.argmax(), products.shape)
    assert page._below(build, layout, 2.0)[0][:2] == (heads[left], heads[right])


def test_a_page_is_written_whole_and_over_an_older_one(tmp_path: Path) -> None:
    folder = make(tmp_path / "b", 50, 3)
    first = page.write(folder).read_bytes()
    shutil.rmtree(folder / "work", ignore_errors=True)
    assert page.write(folder).read_bytes() == first
    assert pq.read_table(folder / "videos.parquet").num_rows == 3
