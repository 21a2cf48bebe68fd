"""Whether sources are still what they were: same, changed, gone or unknown, wherever one asks from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from curate.manifests.provenance import source_states, sources_of
from curate.records import Source
from curate.run.build import absolute
from curate.stages.sources import read_sources
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.parquet import write_table
from tests.builds import write_info


def test_sources_are_the_same_changed_gone_or_unknown(build: Build, tmp_path: Path):
    clips = {}
    for name, content in (("v00", b"a"), ("v01", b"b"), ("v02", b"c")):
        clips[name] = tmp_path / f"{name}.mp4"
        clips[name].write_bytes(content)
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in clips.items()}
    digests |= {"v03": "0" * 64, "v04": "0" * 64}
    videos = build.videos
    told = pa.array([digests.get(name) for name in videos["video_id"].to_pylist()], pa.string())
    write_table(build.path / "videos.parquet", videos.set_column(6, "content_sha256", told))
    clips["v01"].write_bytes(b"other")
    clips["v02"].unlink()
    location = {name: str(path) for name, path in clips.items()}
    location |= {"v03": "https://example.org/v03", "v05": "x.mp4"}
    sources = [Source(name, name, place) for name, place in location.items()]
    states = {state.video_id: state.state for state in source_states(build, sources)}
    assert [states[f"v0{i}"] for i in range(6)] == ["same", "changed", "gone", "unknown", "gone", "unknown"]


@pytest.mark.parametrize("spec", ["clip.mp4", "./clip.mp4", "../here/clip.mp4", ".", "list.txt", "linked.txt"])
@pytest.mark.parametrize("whole", [False, True])
def test_sources_are_found_again_from_any_folder(
    spec: str, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (here / "clip.mp4").write_bytes(b"clip")
    (here / "list.txt").write_text("clip.mp4\n../here/clip.mp4\n")
    (there / "blob").write_text("clip.mp4\n")
    (here / "linked.txt").symlink_to(there / "blob")
    monkeypatch.chdir(here)
    given = str(here / spec) if whole else spec
    rows = [
        {"video_id": source.video_id, "source": source.source, "content_sha256": hashlib.sha256(b"clip").hexdigest()}
        for source in read_sources(given)
    ]
    write_table(tmp_path / "build" / "videos.parquet", pa.Table.from_pylist(rows, schema=schemas.VIDEOS))
    write_info(tmp_path / "build", source=absolute(given))
    monkeypatch.chdir(there)
    build = Build(tmp_path / "build")
    assert [state.state for state in source_states(build, sources_of(build))] == ["same"] * len(rows)
    (here / "clip.mp4").write_bytes(b"other")
    assert {state.state for state in source_states(build, sources_of(build))} == {"changed"}
    (here / "clip.mp4").unlink()
    if spec != ".":  # an empty folder is no list
        assert {state.state for state in source_states(build, sources_of(build))} == {"gone"}
