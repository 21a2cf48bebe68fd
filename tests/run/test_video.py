from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.recipe import BuildRecipe
from curate.records import Frame, Source
from curate.run import video
from curate.stages.fetch import fetch
from tests.run import clips


def test_a_video_that_stops_being_readable_fails_alone_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "clip.mp4"
    clips.write(clip, clips.astronaut(), frames=4)
    written = []
    real = video.Pieces.write

    def cut_off(self: Any, fps: float, part: Any) -> Iterator[Frame]:
        for frame in frames(self, fps, part):
            yield frame
            if written:  # pieces are open
                raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(video.Pieces, "write", lambda self, *rows: (real(self, *rows), written.append(1)))
    monkeypatch.setattr(video, "FACES_AT_ONCE", 1)
    recipe = BuildRecipe(fps=10)
    source = Source("clip", "clip.mp4", str(clip))
    with video.decode.open_video(fetch(source, recipe.fetch, tmp_path / "media").path) as opened:
        kind = type(opened)
    frames = kind.frames
    monkeypatch.setattr(kind, "frames", cut_off)
    places = tmp_path / "media", tmp_path / "pieces"
    task = video.VideoTask(recipe, "k", {"appearance": "a"}, "cpu", *places, ahead=False)
    done = video.process(source, task, "", None)
    assert written and done.record.status == "failed" and "Input/output error" in str(done.record.error)
    assert list((tmp_path / "pieces").iterdir()) == []


def test_the_seconds_of_all_stages_are_those_of_the_source(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clips.write(clip, clips.astronaut(), frames=4)
    task = video.VideoTask(
        BuildRecipe(fps=10), "k", {"appearance": "a"}, "cpu", tmp_path / "media", tmp_path / "pieces"
    )
    task.media.mkdir()
    task.pieces.mkdir()
    started = time.perf_counter()
    done = video.process(Source("clip", "clip.mp4", str(clip)), task, "", None)
    wall = time.perf_counter() - started
    assert done.record.faces == 4 and {"decode", "detect", "align", "embed", "judge", "other"} <= done.seconds.keys()
    assert 0.9 * wall <= sum(done.seconds.values()) <= wall
