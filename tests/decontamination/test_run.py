"""Planted leaks are found, with their clusters; manifests leave them out, say so, and prove it."""

from __future__ import annotations

import base64
import json
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import av
import cv2
import numpy as np
import pyarrow.compute as pc
import pytest

from curate import recipe
from curate.cli import main
from curate.decontamination.run import Options, decontaminate
from curate.errors import UsageError
from curate.manifests.candidates import candidates
from curate.manifests.decontaminated import NAME, digest_of, left_unchecked, unchecked
from curate.manifests.verify import verify
from curate.run.build import build
from curate.stages import align
from curate.storage.build import Build, open_build
from curate.storage.manifest import read_metadata
from curate.storage.parquet import read_table
from tests.evaluate import layouts


def picture(path: Path, moment_s: float) -> np.ndarray:
    """uint8 [height, width, 3], BGR: a frame of a video."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= moment_s:
                return frame.to_ndarray(format="bgr24")
    raise ValueError(path)


@pytest.fixture(scope="module")
def built(videos: Path, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("decontamination")
    (folder / "list.txt").write_text("".join(f"{videos / name}\n" for name in ("eat.mkv", "retalking-2.mp4")))
    settings = {"fps": 2.0, "faces.backend": "insightface", "faces.models": str(pack), "manifests.sizes": [4]}
    return build(str(folder / "list.txt"), folder / "build", recipe.load(None, settings)).build


def test_planted_leaks_go_and_manifests_say_so(
    built: Build, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaks = tmp_path / "faces"
    (leaks / "deep").mkdir(parents=True)
    shown = picture(videos / "retalking-2.mp4", 1.0)
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(leaks / "mirrored.jpg"), shown[:, ::-1])
    cv2.imwrite(str(leaks / "deep" / "grey.png"), grey)
    (leaks / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    cv2.imwrite(str(leaks / "empty.png"), np.full((80, 80, 3), 90, np.uint8))
    assert left_unchecked(built, leaks)
    outcome = decontaminate(built.path, [leaks])
    table = read_table(built.path / NAME)
    (checked,) = outcome.record.against
    assert (checked.pictures, checked.without_face, checked.unreadable) == (4, 1, 1)
    assert {face.rsplit("-", 2)[0] for face in table["face_id"].to_pylist()} == {built.videos["video_id"][1].as_py()}
    direct = table.filter(table["direct"])
    assert set(direct["match"].to_pylist()) <= {f"{leaks}/mirrored.jpg", f"{leaks}/deep/grey.png"}
    assert direct.num_rows and pc.min(direct["similarity"]).as_py() >= 0.985
    page = outcome.page.read_text(encoding="utf-8")
    assert page.count("<img") == 2 * direct.num_rows

    out = tmp_path / "clean.parquet"
    clean = candidates(built).cut(out, None, "natural").metadata
    assert clean.size == len(built.faces()) - table.num_rows
    said = f"{table.num_rows} of {len(built.faces())} faces match evaluation pictures and are left out"
    assert said in capsys.readouterr().err
    assert not set(read_table(out)["face_id"].to_pylist()) & set(table["face_id"].to_pylist())
    assert read_metadata(out).decontamination is not None
    assert read_metadata(out).decontamination["left_out"] == table.num_rows  # type: ignore[index]
    assert unchecked(out, leaks) is None and not left_unchecked(built, leaks)
    assert "compared with other pictures" in str(unchecked(out, videos))
    assert "never compared" in str(unchecked(built.path / "manifests" / "natural.parquet", leaks))
    assert "is not there" in str(unchecked(tmp_path / "none.parquet", leaks))
    assert verify(built.path) == []


def test_the_command_tells_and_its_page_shows_the_face_of_several_that_matches(
    built: Build, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leak, other = picture(videos / "retalking-2.mp4", 1.0), picture(videos / "d0.mp4", 1.0)
    height = leak.shape[0]
    other = cv2.resize(other, (round(other.shape[1] * height / other.shape[0]), height))
    (tmp_path / "stills").mkdir()
    for name, beside in (("left.png", (leak, other)), ("right.png", (other, leak))):
        cv2.imwrite(str(tmp_path / "stills" / name), np.hstack(beside))
    monkeypatch.setattr(
        sys, "argv", ["curate", "decontaminate", str(built.path), "--against", str(tmp_path / "stills")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    again = tmp_path / "again"
    (again / "deep").mkdir(parents=True)
    (again / "deep" / "stills").symlink_to(tmp_path / "stills")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "linked").symlink_to(videos)
    assert digest_of(again) != digest_of(tmp_path / "other")
    page = (built.path / "decontamination.html").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["curate", "decontaminate", str(built.path), "--against", str(again)])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr()
    assert "2 pictures\n" in told.out and f"in {tmp_path}/stills before is replaced" in told.err
    assert "2 pictures\n" in said and "by picture (cosine 0.985): " in said
    shown = [
        cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_GRAYSCALE)
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    ]
    assert shown
    for ours, theirs in zip(shown[::2], shown[1::2], strict=True):
        assert np.corrcoef(ours.ravel(), cv2.resize(theirs, ours.shape[::-1]).ravel())[0, 1] > 0.8


def stopped(*_: object) -> NoReturn:
    raise AssertionError("nothing is to be looked at")


def test_what_cannot_be_compared_is_one_line(built: Build, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        decontaminate(built.path, [tmp_path / "none"])
    with pytest.raises(UsageError, match="holds no pictures"):
        decontaminate(built.path, [tmp_path])
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((80, 80, 3), 90, np.uint8))
    with pytest.raises(UsageError, match=r"none: there is no such folder"):  # before the first takes its time
        decontaminate(built.path, [tmp_path, tmp_path / "none"], progress=stopped)
    with pytest.raises(UsageError, match="no face is found in any picture"):
        decontaminate(built.path, [tmp_path])
    with pytest.raises(UsageError, match="threshold"):
        decontaminate(built.path, [tmp_path], Options(threshold=0))
    with pytest.raises(UsageError, match="is not known"):
        decontaminate(built.path, [tmp_path], Options(dataset="nothing"))


def test_a_data_set_is_read_as_evaluate_reads_it(built: Build, tmp_path: Path) -> None:
    last = len(built.faces()) - 1
    crop = align.decode(next(built.pictures(np.array([last]))))
    tight = align.encode(align.arcface(crop[None], built.info.recipe["crop"]["margin"])[0], 90)
    pictures = [tight, *(layouts.jpeg(i, 32) for i in range(19))]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((pictures, [True] * 10)))
    outcome = decontaminate(built.path, [tmp_path], Options(dataset="lfw"))
    (checked,) = outcome.record.against
    assert (checked.pictures, checked.without_face) == (20, 19)
    table = read_table(built.path / NAME)
    assert built.faces()["face_id"][last].as_py() in table["face_id"].to_pylist()
    assert len(set(table.filter(table["direct"])["match"].to_pylist())) == 1


def test_vectors_of_another_version_are_not_compared(built: Build, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(built.path, older)
    info = json.loads((older / "build.json").read_text())
    info["spaces"]["appearance"]["version"] = "1"
    (older / "build.json").write_text(json.dumps(info))
    assert open_build(older).spaces
    with pytest.raises(UsageError, match=r"version 1, .*run the same curate build again"):
        decontaminate(older, [tmp_path])
