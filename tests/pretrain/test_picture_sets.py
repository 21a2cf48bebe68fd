"""Folders, shards and data sets that are no build: what is read, what is done to pictures, and one command on them."""

from __future__ import annotations

import http.server
import io
import json
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch
from PIL import Image

from curate import cli, pretrain
from curate.errors import UsageError
from curate.pretrain import linear_probe
from curate.pretrain.faces import open_faces
from curate.pretrain.monitor import read_metrics

from .conftest import picture

SIDE = 32


def jpeg(index: int, size: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    pixels = cv2.resize(picture(index % 4, index, SIDE), size[::-1])
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=95)


def opened(path: Path | str, labels: str = "identity", side: int | None = None):
    return open_faces(None, str(path), labels, side)


def packed(faces) -> list[bytes]:
    """Pictures by position."""
    out = [b""] * len(faces)
    for positions, pictures in faces.pictures():
        for position, data in zip(positions, pictures, strict=True):
            out[position] = data
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(24):
        path = tmp_path / "faces" / f"person{index % 4}" / f"{index:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(index))
    return tmp_path / "faces"


def shards(folder: Path) -> Path:
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard:03}.tar", "w") as tar:
            for index in range(12 * shard, 12 * shard + 12):
                label = {"identity": f"person{index % 4}"}
                for name, data in ((f"{index:02}.jpg", jpeg(index)), (f"{index:02}.json", json.dumps(label).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def table() -> pa.Table:
    images = pa.array(
        [{"bytes": jpeg(i), "path": f"{i}.jpg"} for i in range(24)],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    return pa.table({"image": images, "identity": [f"person{i % 4}" for i in range(24)]})


def parquet(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    pq.write_table(table(), folder / "data/train-00000-of-00001.parquet", row_group_size=5)
    pq.write_table(table().slice(0, 2), folder / "data/test-00000-of-00001.parquet")
    return folder


def arrow(folder: Path) -> Path:
    folder.mkdir()
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table().schema) as out,
    ):
        out.write_table(table(), max_chunksize=7)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("make", [shards, parquet, arrow])
def test_every_kind_holds_the_same_pictures_and_labels(make, folder: Path, tmp_path: Path) -> None:
    plain, other = opened(folder), opened(make(tmp_path / "other"))
    assert len(plain) == len(other) == 24
    by_label = []
    for faces in (plain, other):
        numbers, names = faces.labels("identity")
        assert names == [f"person{i}" for i in range(4)]
        by_label.append(sorted((names[n], data) for n, data in zip(numbers, packed(faces), strict=True)))
    assert by_label[0] == by_label[1]
    assert other.sha256 == opened(tmp_path / "other").sha256 != plain.sha256


@pytest.mark.parametrize("make", [None, shards, parquet, arrow])
def test_a_part_in_any_order_holds_its_pictures(make, folder: Path, tmp_path: Path) -> None:
    """A page draws faces by person; readers go through a file once."""
    faces = opened(make(tmp_path / "other") if make else folder)
    whole, chosen = packed(faces), np.random.default_rng(0).permutation(24)[:15]
    assert packed(faces.subset(chosen)) == [whole[position] for position in chosen]


def test_linked_folders_are_looked_into(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for person in sorted(folder.iterdir()):
        (linked / person.name).symlink_to(person)
    assert packed(opened(linked)) == packed(opened(folder))
    assert len(linear_probe._filed(linked)) == 24


def test_pictures_that_went_missing_from_a_shard_are_told(tmp_path: Path) -> None:
    faces = opened(shards(tmp_path / "shards"))
    with tarfile.open(tmp_path / "shards" / "shard-001.tar", "w"):
        pass
    with pytest.raises(UsageError, match=r"shard-001.tar: holds 12 pictures less"):
        packed(faces)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL under which this test's folder is served, folders as lists of links."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    serve = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("make", [None, shards, parquet, arrow])
def test_pictures_at_urls_are_those_of_the_folder(make, folder: Path, tmp_path: Path, web: str) -> None:
    place = folder if make is None else make(tmp_path / "other")
    memory = fsspec.filesystem("memory")
    memory.put(str(place), f"/{tmp_path.name}", recursive=True)
    here = opened(place)
    wanted = packed(here)
    try:
        for url in (f"memory://{tmp_path.name}", f"{web}/{place.name}"):
            there = opened(url)
            assert packed(there) == wanted
            assert there.face_ids(np.arange(24)) == here.face_ids(np.arange(24))
            assert [entry.label for entry in there.entries] == [entry.label for entry in here.entries]
    finally:
        memory.rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning")  # of s3fs
def test_one_command_trains_on_pictures_in_a_bucket(
    folder: Path, tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put(str(folder), "bucket/faces", recursive=True)
    bucket.put(str(shards(tmp_path / "s")), "bucket/shards", recursive=True)
    here = opened(folder)
    assert packed(opened("s3://bucket/faces")) == packed(here)
    for pattern in ("shard-{000..001}.tar", "shard-*.tar"):
        assert opened(f"s3://bucket/shards/{pattern}").labels("identity")[1] == here.labels("identity")[1]
    arguments = ["--data", "s3://bucket/faces", "--out", str(tmp_path / "run"), "--method", "simclr", "--batch", "8"]
    arguments += ["--arch", "tests.pretrain.tiny:small_resnet", "--crop-size", "32", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["curate", "pretrain", *arguments, "--set", "probe.images=0"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code and (tmp_path / "run/backbone.pt").is_file()
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["curate", "pretrain", *arguments[2:], "--data", "s3://bucket/none"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and "s3://bucket/none: " in said


def test_a_pattern_of_shards_at_a_url_and_what_is_not_there(tmp_path: Path, web: str) -> None:
    shards(tmp_path / "s")
    pattern = f"{web}/s/shard-{{000..001}}.tar"
    assert packed(opened(pattern)) == packed(opened(tmp_path / "s"))
    for missing in (f"{web}/s/shard-{{000..002}}.tar", f"{web}/none", "memory://none-at-all"):
        with pytest.raises(UsageError, match=r"--data (http|memory)://.*: (cannot be (read|listed)|no pictures in it)"):
            opened(missing)


def test_a_data_set_saved_by_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    content = {"image": [{"bytes": jpeg(i), "path": None} for i in range(6)], "label": [i % 2 for i in range(6)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict(content, features).save_to_disk(str(tmp_path / "set"))
    faces = opened(tmp_path / "set")
    assert packed(faces) == [jpeg(i) for i in range(6)]
    assert faces.labels("label")[0].tolist() == [0, 1] * 3


def test_a_pattern_of_shards(tmp_path: Path) -> None:
    shards(tmp_path / "s")
    assert opened(f"{tmp_path}/s/shard-{{000..001}}.tar").face_ids(np.array([0, 12])) == [
        "shard-000/00",
        "shard-001/12",
    ]
    assert packed(opened(f"{tmp_path}/s/shard-*.tar")) == packed(opened(tmp_path / "s"))
    with pytest.raises(UsageError, match=r"--data .*/s/part-\*\.tar: no file has such a name"):
        opened(f"{tmp_path}/s/part-*.tar")


def test_pictures_are_made_square_and_damage_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path = tmp_path / "mixed"
    tmp_path.mkdir()
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "b.jpg").write_bytes(jpeg(1, (48, 96)))
    Image.fromarray(picture(2, 2)).save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(b"no picture")
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(picture(3, 3)).save(tmp_path / "e.jpg", exif=turned, quality=95)
    (tmp_path / ".hidden.jpg").write_bytes(jpeg(0))
    a, b, c, d, e = packed(opened(tmp_path))
    assert a == jpeg(0)
    assert simplejpeg.decode_jpeg(b).shape == (SIDE, SIDE, 3)
    assert np.abs(simplejpeg.decode_jpeg(c).astype(int) - picture(2, 2)).mean() < 3
    assert d == b""
    upright = np.rot90(picture(3, 3), -1)
    assert np.abs(simplejpeg.decode_jpeg(e).astype(int) - upright).mean() < 12
    said = capsys.readouterr().err
    assert "5 pictures of 32 x 32 pixels: 1 as they are, 1 cut or resized, 2 re-encoded, 1 unreadable" in said
    assert simplejpeg.decode_jpeg(packed(opened(tmp_path, side=64))[0]).shape == (64, 64, 3)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--data .*none: there is no such folder"):
        opened(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"--data .*empty: no pictures in it"):
        opened(tmp_path / "empty")
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 300)
    with pytest.raises(UsageError, match=r"--data .*bad\.tar: cannot be read"):
        opened(tmp_path / "bad.tar")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"x\.parquet: no column of pictures; it has x"):
        opened(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"give one of --manifest F\.parquet and --data DIR"):
        open_faces("a", "b", "identity", None)


def test_one_command_trains_on_a_folder_with_a_network_of_the_users(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["--data", str(folder), "--out", "run", "--method", "simclr", "--arch", "mynet:build", "--batch", "8"]
    arguments += ["--crop-size", "32", "--steps", "3", "--set", "simclr.hidden=8", "--set", "log.every=1"]
    monkeypatch.setattr(sys, "argv", ["curate", "pretrain", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]
    assert all(line["knn_identity"] >= 0 for line in lines if "effective_rank" in line)
    state = torch.load(tmp_path / "run/backbone.pt", weights_only=True)
    assert list(state)[:2] == ["0.weight", "0.bias"]  # the user's own names
    assert "<img" in (tmp_path / "run/report.html").read_text()
    finished = (tmp_path / "run/metrics.jsonl").read_bytes()
    pretrain.run(None, "run", data=folder, method="simclr", arch="mynet:build", batch=8, crop_size=32, steps=3,
                 overrides={"simclr.hidden": 8, "log.every": 1})  # fmt: skip
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == finished


def test_labels_of_folders_teach(folder: Path, tmp_path: Path) -> None:
    options = {"method": "supervised", "arch": "tests.pretrain.tiny:small_resnet", "batch": 8, "crop_size": 32}
    pretrain.run(None, tmp_path / "run", data=folder, steps=1, **options)
    saved = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)
    assert saved["method"]["classifier.weight"].shape == (4, 512)
