"""What a list can give is told before anything is worked on, and a hostile file is no matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.records import Source
from curate.stages import extent
from curate.stages.sources import read_list
from tests.run import clips


def test_frames_of_local_files_are_counted_and_others_are_not_known(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=12)
    (tmp_path / "noise.mp4").write_bytes(b"no video" * 99)
    (tmp_path / "list.csv").write_text("source,start,end\na.mp4,,\na.mp4,0.5,1\nnoise.mp4,,\nmissing.mp4,,\n")
    sources = read_list(str(tmp_path / "list.csv")).sources
    length = 12 / 10
    whole, part = int(length * 5) + 1, int((min(length, 1) - 0.5) * 5) + 1
    assert extent.most_frames(sources, 5.0) == whole + part
    assert extent.most_frames([*sources, Source("x", "x", "https://example.org/x.mp4")], 5.0) is None
    (line,) = extent.too_few(sources, 5.0, [whole + part, 1000])
    assert "1,000 faces: the list has" in line and "--fps" in line
    assert extent.too_few(sources, 5.0, []) == []


def test_a_file_that_hangs_the_reader_ends_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips.write(tmp_path / "a.mp4", clips.astronaut(), frames=1)
    monkeypatch.setattr(extent, "PATIENCE_S", 0.01)
    assert extent.most_frames(read_list(str(tmp_path / "a.mp4")).sources, 5.0) is None
