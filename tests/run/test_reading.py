"""What other programs read from a finished build: the data set, exports, the Python entry points."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

import curate
from curate import cli
from curate.errors import StorageError, UsageError
from curate.manifests.export import export
from curate.run.build import BuildOutcome
from curate.storage.pictures import decode


@pytest.fixture(scope="module")
def manifest(whole: BuildOutcome) -> Path:
    return whole.build.path / "manifests" / "natural.parquet"


def test_the_data_set_gives_each_face_of_the_manifest_once(whole: BuildOutcome, manifest: Path) -> None:
    faces = curate.FaceDataset(manifest)
    table = whole.build.manifest("natural")
    assert [faces[i]["face_id"] for i in range(len(faces))] == table["face_id"].to_pylist()
    assert [faces[i]["cluster"] for i in range(len(faces))] == table["cluster"].to_pylist()
    image = faces[0]["image"]
    assert tuple(image.shape) == (3, 224, 224) and str(image.dtype) == "torch.uint8"
    stored = whole.build.faces(["image"])["image"][0].as_py()["bytes"]
    assert faces.jpeg(0) == stored


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_read_the_same_faces(manifest: Path, context: str) -> None:
    faces, plain = curate.FaceDataset(manifest, transform=_mean), curate.FaceDataset(manifest)
    loader = DataLoader(faces, batch_size=4, num_workers=2, multiprocessing_context=context)
    read = [pair for batch in loader for pair in zip(batch["face_id"], batch["image"].tolist(), strict=True)]
    assert read == [(face["face_id"], _mean(face["image"]).item()) for face in (plain[i] for i in range(len(plain)))]


def _mean(image: torch.Tensor) -> torch.Tensor:
    return image.double().mean()


def test_a_manifest_away_from_its_build_says_so_and_takes_the_folder(
    whole: BuildOutcome, manifest: Path, tmp_path: Path
) -> None:
    away = tmp_path / "deep" / "m.parquet"
    away.parent.mkdir()
    shutil.copy(manifest, away)
    with pytest.raises(UsageError, match="build=FOLDER"):
        curate.FaceDataset(away)
    assert len(curate.FaceDataset(away, build=whole.build.path)) == len(curate.FaceDataset(manifest))
    (tmp_path / "noise.parquet").write_bytes(b"noise")
    with pytest.raises(UsageError, match="cannot be read as a manifest"):
        curate.FaceDataset(tmp_path / "noise.parquet")


def test_a_manifest_cut_elsewhere_finds_its_build(
    whole: BuildOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.parquet"
    arguments = ["--size", "5", "--redundancy", "0.2", "--where", "quality > 0", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["curate", "manifest", str(whole.build.path), *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0 and "5 faces in 4 clusters" in capsys.readouterr().out
    assert len(curate.FaceDataset(out)) == 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_webdataset_shards_load(manifest: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    count = export(manifest, "webdataset", tmp_path / "w")
    shards = [str(path) for path in sorted((tmp_path / "w").iterdir())]
    loaded = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    faces = curate.FaceDataset(manifest)
    assert [sample["json"]["face_id"] for sample in loaded] == [faces[i]["face_id"] for i in range(len(faces))]
    assert count == len(loaded) and np.asarray(loaded[0]["jpg"]).shape == (224, 224, 3)
    export(manifest, "webdataset", tmp_path / "again")
    assert (tmp_path / "again" / "faces-000000.tar").read_bytes() == Path(shards[0]).read_bytes()


def test_a_folder_of_pictures_loads(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    count = export(manifest, "imagefolder", tmp_path / "i")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "i"), cache_dir=str(tmp_path / "c"), split="train"
    )
    assert len(loaded) == count and loaded[0]["image"].size == (224, 224) and "quality" in loaded.column_names
    lines = (tmp_path / "i" / "metadata.jsonl").read_text().splitlines()
    assert all((tmp_path / "i" / json.loads(line)["file_name"]).is_file() for line in lines)


@pytest.mark.parametrize("format_", ["webdataset", "imagefolder"])
def test_an_export_that_fails_leaves_nothing_and_one_that_was_killed_is_begun_anew(
    manifest: Path, tmp_path: Path, format_: str
) -> None:
    def stop(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    with pytest.raises(StorageError, match="the disk is full"):
        export(manifest, format_, out, stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".part-out").mkdir()
    (tmp_path / ".part-out" / "left.jpg").write_bytes(b"half")
    out.mkdir()
    assert export(manifest, format_, out) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not (out / "left.jpg").exists()


def test_exports_never_write_over_anything(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        export(manifest, "webdataset", tmp_path)


def test_the_python_entry_points(whole: BuildOutcome) -> None:
    built = curate.open_build(whole.build.path)
    cluster, representative, similarity = curate.cover(built.vectors(), 0.9)
    assert cluster.dtype == np.int64 and representative.dtype == np.bool_ and similarity.dtype == np.float32
    assert built.clusters().num_rows == len(cluster) == built.faces().num_rows
    assert "image" not in built.faces().column_names
    with pytest.raises(UsageError, match="not a finished build"):
        curate.open_build(whole.build.path / "faces")
    with pytest.raises(UsageError, match="there are: 6-r0"):
        built.manifest("nothing")


def test_redundancy_is_told_and_drawn(
    whole: BuildOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["curate", "redundancy", str(whole.build.path), "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0 and "0.95" in capsys.readouterr().out
    assert (tmp_path / "redundancy.json").read_bytes() == (whole.build.path / "redundancy.json").read_bytes()
    assert all((tmp_path / name).read_text().startswith("<svg") for name in ("curve.svg", "by_rate.svg"))


def test_a_file_that_the_machine_cannot_read_is_one_line(
    whole: BuildOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(whole.build.path, tmp_path / "build"))
    broken = next((copy / "faces").glob("*.parquet"))
    broken.unlink()
    broken.mkdir()
    monkeypatch.setattr(sys, "argv", ["curate", "verify", str(copy)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("curate: ") and broken.name in told


@pytest.mark.filterwarnings("ignore")  # of the readers of others
def test_a_hugging_face_export_loads_with_its_pictures_and_its_croissant_is_valid(
    whole: BuildOutcome, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("curate.manifests.huggingface.GROUP_FACES", 5)
    monkeypatch.setattr("curate.manifests.huggingface.FILE_FACES", 7)
    out = tmp_path / "my faces"
    count = export(manifest, "huggingface", out)
    table = whole.build.manifest("natural")
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["face_id"] == table["face_id"].to_pylist() and len(loaded) == count > 7
    first = loaded[0]
    assert first["image"].size == (224, 224) and first["source"] == "astronaut.mp4" and first["license"] == "CC0"
    assert len(first["landmarks"]) == 10 and len(first["bbox"]) == 4 and isinstance(first["identity"], int)
    card = (out / "README.md").read_text()
    assert card.startswith("---\npretty_name: my faces") and f"{count} aligned face crops" in card
    assert whole.build.info.content_hash in card and "<script>" not in card
    croissant = pytest.importorskip("mlcroissant")
    read = croissant.Dataset(jsonld=str(out / "croissant.json"))
    assert not read.metadata.ctx.issues.errors
    records = list(read.records("faces"))
    assert [record["faces/face_id"].decode() for record in records] == table["face_id"].to_pylist()


@pytest.mark.filterwarnings("ignore")  # of the readers of others
def test_a_build_loads_by_its_folder_and_a_manifest_takes_its_pictures_from_there(
    whole: BuildOutcome, manifest: Path, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    place, cache = str(whole.build.path), str(tmp_path)
    faces = datasets.load_dataset(place, split="train", cache_dir=cache)
    assert faces["face_id"] == whole.build.faces(["face_id"])["face_id"].to_pylist()
    assert faces[0]["image"].size == (224, 224)
    videos = datasets.load_dataset(place, "videos", split="train", cache_dir=cache)
    assert len(videos) == whole.build.info.counts.sources
    bare = datasets.load_dataset("parquet", data_files=str(manifest), split="train", cache_dir=cache)
    chosen = set(bare["face_id"][:5])
    code = (whole.build.path / "README.md").read_text().split("```")[1]
    assert 'faces.filter(chosen.__contains__, input_columns="face_id")' in code
    mine = faces.filter(chosen.__contains__, input_columns="face_id")
    assert set(mine["face_id"]) == chosen and mine[0]["image"].size == (224, 224)


def test_clips_show_each_track_at_its_times(whole: BuildOutcome, manifest: Path, tmp_path: Path) -> None:
    count = export(manifest, "clips", tmp_path / "c")
    faces = {face["face_id"]: face for face in whole.build.faces().to_pylist()}
    stored = dict(zip(faces, whole.build.pictures(np.arange(len(faces))), strict=True))
    clips = pq.read_table(tmp_path / "c" / "metadata.parquet").to_pylist()
    assert sum(clip["frames"] for clip in clips) == count == whole.build.manifest("natural").num_rows
    assert len({(clip["video_id"], clip["track"]) for clip in clips}) == len(clips)
    for clip in clips:
        own = [faces[face] for face in clip["face_id"]]
        assert {(face["video_id"], face["track"]) for face in own} == {(clip["video_id"], clip["track"])}
        assert [face["time_s"] for face in own] == clip["time_s"] == sorted(clip["time_s"])
        with av.open(str(tmp_path / "c" / clip["file_name"])) as container:
            shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert np.allclose([time for time, _ in shown], np.array(clip["time_s"]) - clip["start_s"], atol=1e-3)
        for face, (_, pixels) in zip(clip["face_id"], shown, strict=True):
            assert np.abs(pixels.astype(int) - decode(stored[face])).mean() < 4  # grey levels
    with pytest.raises(UsageError, match="not empty"):
        export(manifest, "clips", tmp_path / "c")


def test_every_export_says_where_a_face_is_from(manifest: Path, tmp_path: Path) -> None:
    export(manifest, "imagefolder", tmp_path / "f")
    line = json.loads((tmp_path / "f" / "metadata.jsonl").read_text().splitlines()[0])
    assert {"source", "license", "bbox", "landmarks", "time_s", "identity", "cluster", "quality"} <= set(line)
