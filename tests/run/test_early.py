"""Files that are packed while sources are worked on: the same bytes, whatever the order in which sources end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ErrorKind, StorageError
from curate.recipe import BuildRecipe
from curate.records import Source, VideoRecord
from curate.run import collect, early, pack, requests
from curate.run.early import EarlyPacking, early_packing
from curate.run.pieces import piece, vectors_table
from curate.run.spaces import crops
from curate.run.supervise import Packed, Pending
from curate.run.video import VideoTask
from curate.run.watched_child import Ended, Verdict
from curate.storage import schemas
from curate.storage.files import sha256_file
from curate.storage.hashes import hashes
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done, Ledger
from curate.storage.parquet import write_table

KEY = "k" * 16
SPACE = SpaceInfo("looks", 4, "1", 0.9, "", "s" * 16)
FACES = [7, 0, 9, 1, 5, 5, 0, 12, 3]
"""Faces of each source."""


def task_in(out: Path) -> VideoTask:
    return VideoTask(BuildRecipe(), KEY, {SPACE.name: SPACE.key}, "cpu", *collect.folders(out))


def ended(number: int) -> Done:
    status = "ok" if FACES[number] else "no_faces"
    return Done(VideoRecord(f"v{number}", f"{number}.mp4", status, content_sha256="c", faces=FACES[number]), "", KEY)


def write_pieces(task: VideoTask, number: int) -> None:
    video_id, count = f"v{number}", FACES[number]
    ids = [f"{video_id}-{k:07d}-00" for k in range(count)]
    known = {"face_id": pa.array(ids, pa.string()), "video_id": pa.array([video_id] * count, pa.string())}
    columns = [known[field.name] if field.name in known else pa.nulls(count, field.type) for field in schemas.FACES]
    write_table(piece(task.pieces, video_id, KEY, "faces"), pa.table(columns, schema=schemas.FACES))
    vectors = np.random.default_rng(number).standard_normal((count, 4)).astype(np.float32)
    write_table(piece(task.pieces, video_id, SPACE.key, SPACE.name), vectors_table(ids, vectors))


def finish(task: VideoTask, done: list[Done]) -> dict[str, bytes]:
    """Packs what is left; every file."""
    out, with_faces = task.pieces.parents[1], [one for one in done if one.record.faces]
    find = {rows.video_id: piece(task.pieces, rows.video_id, KEY, "faces") for rows in map(collect.rows_of, with_faces)}
    plan = pack.plan(map(collect.rows_of, with_faces))
    pack.pack(out, "faces", plan, schemas.FACES, lambda rows: find[rows.video_id], lambda _: None)
    crops.pack_vectors(out, SPACE, task.pieces, with_faces)
    assert not [path for path in task.pieces.iterdir() if "~" not in path.name]  # but what a worker left late
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("part-*"))}


def ask(packing: EarlyPacking, trouble: Iterator[object]) -> None:
    """Does what workers would do: packs what waits, twice, or meets with trouble."""
    for item in packing.before([]):
        found = next(trouble)
        answers = [found or requests.answer(("pack", item.packing)) for _ in range(2)]  # one was thought dead
        assert packing.takes(item, answers[0])
    assert not packing.takes(Pending(Source("v", "v.mp4", "v.mp4"), "", None), None)


@pytest.mark.parametrize(
    ("seed", "workers", "trouble"),
    [
        (0, False, []),
        (1, True, [None]),
        (2, True, [None, Ended("its process was ended"), OSError(5, "a disk that fails"), Packed(None, 0.0)]),
        (3, True, [Verdict(ErrorKind.NETWORK, "nothing for 120 s")]),
    ],
)
def test_who_packs_and_the_order_in_which_sources_end_change_no_byte(
    seed: int, workers: bool, trouble: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART_ROWS", 10)
    outcomes = itertools.cycle(trouble)
    order = list(range(len(FACES)))
    random.Random(seed).shuffle(order)
    soon, late = task_in(tmp_path / "early"), task_in(tmp_path / "late")
    done = [ended(number) for number in range(len(FACES))]
    ids = [one.record.video_id for one in done]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with early_packing(soon, [SPACE], ids, ids, ledger) as packing:
            packing.by_workers = lambda: workers
            for number in order:
                if FACES[number]:
                    write_pieces(soon, number)
                ledger.put(done[number])
                packing.see(done[number])
                ask(packing, outcomes)
        for number in (number for number in order if FACES[number]):
            write_pieces(late, number)
    written = sorted(path.relative_to(tmp_path / "early").as_posix() for path in tmp_path.rglob("early/**/part-*"))
    left = {path.name.partition(".")[0] for path in soon.pieces.iterdir() if "~" not in path.name}
    packed = [*trouble, *trouble * 6][:6].count(None) if workers else 6
    assert len(written) == packed and (packed < 6 or left == {"v8"})  # the last part may still grow
    assert hashes(tmp_path / "early", written) == {name: sha256_file(tmp_path / "early" / name) for name in written}
    assert finish(soon, done) == finish(late, done)


def test_a_disk_that_is_full_on_a_worker_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "PART_ROWS", 5)
    task = task_in(tmp_path / "build")
    write_pieces(task, 0)
    with Ledger(tmp_path / "ledger.sqlite") as ledger, pytest.raises(StorageError, match="the disk is full"):
        ledger.put(ended(0))
        with early_packing(task, [SPACE], ["v0"], ["v0"], ledger) as packing:
            packing.by_workers = lambda: True
            packing.see(ended(0))
            ask(packing, iter([StorageError("faces: the disk is full")]))


def test_what_lacks_vectors_is_left_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "PART_ROWS", 5)
    task = task_in(tmp_path / "build")
    write_pieces(task, 0)
    piece(task.pieces, "v0", SPACE.key, SPACE.name).unlink()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.put(ended(0))
        with early_packing(task, [SPACE], ["v0"], ["v0"], ledger) as packing:
            packing.see(ended(0))
    assert [path.name[:4] for path in (tmp_path / "build").rglob("part-*")] == ["part"]
    assert not list((tmp_path / "build" / "embeddings").rglob("*.parquet"))


def test_a_library_that_cannot_be_loaded_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python loads a second time after a failure is half loaded: the first error is the one to tell."""

    def fail(out: Path) -> None:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(early, "load", fail)
    task = task_in(tmp_path / "build")
    with Ledger(tmp_path / "ledger.sqlite") as ledger, pytest.raises(ImportError, match="libcudart"):
        ledger.put(ended(1))
        with early_packing(task, [SPACE], ["v1"], ["v1"], ledger) as packing:
            packing.see(ended(1))
