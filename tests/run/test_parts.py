"""A long video in parts gives what it gives as a whole, to the byte."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from distributed import KilledWorker

from curate import recipe
from curate.records import Fetched, Source, VideoInfo, VideoRecord
from curate.run import collect, pack, parts, requests
from curate.run.build import build
from curate.run.cluster import Executor
from curate.run.early import EarlyPacking
from curate.run.long_videos import LongVideos
from curate.run.parts import Broken, Join, Looked, Part, PartOf, Split
from curate.run.spaces.builtin import spaces_of
from curate.run.supervise import Packed, Pending
from curate.run.video import VideoTask, loaded_backend, look, process
from curate.run.watched_child import Ended
from curate.stages import follow
from curate.storage.ledger import Done
from tests.run import clips

CHOSEN = recipe.load(None, {"fps": 2, "faces.min_size": 48, "faces.input_size": 320})


def film(path: Path, seconds: int) -> None:
    """Two frames a second of people, with cuts within minutes and where the third begins."""
    one, many = (cv2.resize(picture, (320, 240)) for picture in (clips.astronaut(), clips.people()[:, 300:1100]))
    nobody = np.full_like(one, 40)
    pictures = []
    for number in range(2 * seconds):
        scene = (one, many, one[:, ::-1], nobody)[number // 80 % 4]
        matrix = cv2.getRotationMatrix2D((160, 120), 8 * np.sin(number / 9), 1 + 0.1 * np.sin(number / 17))
        pictures.append(cv2.warpAffine(scene, matrix, (320, 240), borderMode=cv2.BORDER_REPLICATE))
    clips.encode(path, pictures, fps=2)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    film(path, 160)
    return path


def task_in(folder: Path, part_s: float | None) -> VideoTask:
    backend = loaded_backend(CHOSEN, "cpu")
    keys = {space.name: space.key for space in spaces_of(backend, CHOSEN)}
    task = VideoTask(CHOSEN, "k" * 16, keys, "cpu", folder / "media", folder / "pieces", part_s=part_s)
    for made in (task.media, task.pieces):
        made.mkdir(parents=True)
    return task


def test_parts_begin_at_anchors_and_cover_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    for duration_s in (1, 89, 91, 150, 3600):
        found = parts.divided(duration_s, 5, 60)
        assert found[0].first == 0 and found[-1].last > duration_s * 5
        assert all(one.last == other.first for one, other in itertools.pairwise(found))
        assert all(part.first % follow.anchor_instants(5) == 0 for part in found)
    assert [len(parts.divided(duration_s, 5, 60)) for duration_s in (1, 89, 91, 150, 3600)] == [1, 1, 2, 2, 20]


@pytest.fixture(scope="module")
def whole(long: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What comes of the video as a whole, and its pieces."""
    task = task_in(tmp_path_factory.mktemp("whole"), None)
    done = process(Source("v", str(long), str(long)), task, "", None)
    assert isinstance(done, Done) and done.record.faces > 100
    return done, task.pieces


def test_a_video_in_parts_is_the_whole_to_the_byte(long: Path, whole: tuple[Done, Path], tmp_path: Path) -> None:
    source, task = Source("v", str(long), str(long)), task_in(tmp_path, 60)
    planned = process(source, task, "", None)
    assert isinstance(planned, Split) and len(planned.parts) == 3
    looked = [look(source, planned, part, task) for part in reversed(planned.parts)]
    assert all(isinstance(one, Looked) for one in looked)
    joined = process(source, task, "", None, Join(planned, looked[::-1]))  # type: ignore[arg-type]
    assert len({one.cut for one in looked}) == 2  # type: ignore[union-attr]
    assert replace(joined, seconds={}) == replace(whole[0], seconds={})
    files = {path.name: path.read_bytes() for path in whole[1].iterdir()}
    assert {path.name: path.read_bytes() for path in task.pieces.iterdir()} == files and len(files) == 3


def test_a_damaged_part_gives_nothing(long: Path, tmp_path: Path) -> None:
    data = bytearray(long.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    source, task = Source("v", str(broken), str(broken)), task_in(tmp_path / "b", 60)
    planned = Split(Fetched(broken, "c"), parts.divided(160, 2, 60), {})
    assert any(isinstance(look(source, planned, planned.parts[number], task), Broken) for number in (1, 2, 0))


def test_two_workers_share_a_long_video(
    long: Path, whole: tuple[Done, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "PART_S", 60.0)
    monkeypatch.setattr(collect, "LONG_BYTES", 0)
    taken: list[object] = []
    monkeypatch.setattr(LongVideos, "takes", lambda self, item, found: taken.append(found) or takes(self, item, found))
    monkeypatch.setattr(pack, "PART_ROWS", 100)
    packed: list[object] = []
    monkeypatch.setattr(EarlyPacking, "takes", lambda self, *both: packs(self, *both) and not packed.append(both[1]))
    built = build(str(long), tmp_path / "b", CHOSEN, Executor(2)).build
    assert [isinstance(one, Packed) and bool(one.sha256) for one in packed] == [True] * 3  # faces, and two spaces
    assert [type(one) for one in taken] == [Split, Looked, Looked, Looked, Done]
    alone = pq.read_table(next(whole[1].glob("*.faces.parquet")))
    together = pq.read_table(next((tmp_path / "b" / "faces").glob("*.parquet")))
    same = [name for name in alone.column_names if name not in ("face_id", "video_id", "image")]
    assert together.select(same).equals(alone.select(same))
    assert [one["bytes"] for one in together["image"].to_pylist()] == [
        one["bytes"] for one in alone["image"].to_pylist()
    ]
    assert built.info.counts.faces == whole[0].record.faces and not (tmp_path / "b" / "work" / "pieces").exists()


takes, packs = LongVideos.takes, EarlyPacking.takes


@pytest.mark.parametrize(
    "trouble",
    [
        Broken("3 damaged frames"),
        RuntimeError("lost"),
        Ended("its process was ended"),
        KilledWorker("work-1", SimpleNamespace(address="tcp://10.0.0.1:1"), 3),  # type: ignore[arg-type]
    ],
)
def test_a_video_with_a_part_in_trouble_is_worked_on_as_a_whole(
    trouble: object, capsys: pytest.CaptureFixture[str]
) -> None:
    item = Pending(Source("v", "v.mp4", "/v.mp4"), "", None)
    split = Split(Fetched(Path("/v.mp4"), "c"), parts.divided(180, 2, 60), {})
    long = LongVideos()
    rest = iter([item, None, None])
    given = long.before(rest)
    assert next(given) == item and long.takes(item, split)
    steps = [next(given) for _ in split.parts]
    assert [step.step.part for step in steps] == split.parts and next(given) is None  # type: ignore[union-attr]
    for step in steps:
        assert step is not None and long.takes(step, trouble if step is steps[1] else looked(step.step.part))  # type: ignore[attr-defined]
    assert next(given) == replace(item, whole=True)
    said = capsys.readouterr().err
    assert "v.mp4: worked on as a whole, not in parts" in said
    assert "Ended(" not in said and "work-1" not in said
    assert not long.takes(replace(item, whole=True), RuntimeError("lost"))
    assert list(given) == [None]


def looked(part: Part) -> Looked:
    info = VideoInfo("mp4", "h264", 320, 240, 2, 180, 360)
    return Looked(part, False, [(0, 0.0, 0)], info, {}, {})


def test_parts_that_cannot_be_joined_are_no_fault_of_the_video() -> None:
    item = Pending(Source("v", "v.mp4", "/v.mp4"), "", None, Join(Split(Fetched(Path("/v.mp4"), "c"), [], {}), []))
    long = LongVideos()
    failed = Done(VideoRecord("v", "v.mp4", "failed", error="no such file"), "", "k")
    for trouble in (Broken("a worker does not see the build's disk"), failed, RuntimeError("lost")):
        assert long.takes(item, trouble)
        assert next(long.before([])) == replace(item, step=None, whole=True)
    assert not long.takes(item, Done(VideoRecord("v", "v.mp4", "no_faces"), "", "k"))


def test_a_worker_without_the_builds_disk_takes_no_part(tmp_path: Path) -> None:
    split = Split(Fetched(tmp_path / "v.mp4", "c"), parts.divided(180, 2, 60), {})
    task = pickle.dumps(VideoTask(CHOSEN, "k", {}, "cpu", tmp_path, tmp_path, part_s=60))
    for step in (PartOf(split, split.parts[0]), Join(split, [])):
        item = Pending(Source("v", "v.mp4", "/v.mp4"), "", None, step)
        assert isinstance(requests.answer(("process", task, item, tmp_path)), Broken)
