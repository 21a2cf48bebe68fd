"""Frames that are decoded ahead are the same, and so is what goes wrong; the thread never outlives its video."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate import heartbeat
from curate.heartbeat import DECODE, FACES, beat
from curate.recipe import BuildRecipe
from curate.records import Frame, Source
from curate.run import ahead, requests, video
from curate.run.ahead import decoded_ahead
from curate.run.supervise import Pending
from tests.run import clips


def frames(count: int, seen: list[int], fail: Exception | None = None) -> Callable[[], Iterator[Frame]]:
    """A decoder that notes what it has given, and -1 when it is let go."""

    def decode() -> Iterator[Frame]:
        try:
            for number in range(count):
                seen.append(number)
                yield Frame(number, number / 10, np.zeros((4, 4, 3), np.uint8))
            if fail:
                raise fail
        finally:
            seen.append(-1)

    return decode


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError


def test_frames_come_in_order_and_an_error_after_those_before_it() -> None:
    with decoded_ahead(frames(30, [], ValueError("damaged"))) as given:
        assert [next(given).index for _ in range(30)] == list(range(30))
        with pytest.raises(ValueError, match="damaged"):
            next(given)
    with decoded_ahead(frames(0, [])) as given:
        assert list(given) == []


@pytest.mark.parametrize(("most", "size", "held"), [(3, 1 << 30, 3), (100, 2 * 48, 2), (100, 1, 1)])
def test_few_frames_wait_and_a_video_that_is_left_early_ends_its_thread(
    most: int, size: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MOST", most)
    monkeypatch.setattr(ahead, "MOST_BYTES", size)
    seen: list[int] = []
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="network"), decoded_ahead(frames(1000, seen)) as given:
        assert next(given).index == 0
        until(lambda: len(seen) == held + 1)
        time.sleep(0.05)
        assert len(seen) == held + 1
        raise RuntimeError("a network fails")
    assert seen[-1] == -1 and threading.active_count() == before


def test_the_stage_is_that_of_whoever_waits() -> None:
    """So a decoder that hangs is ended after `stall_s`, and a network that does not answer later."""
    stages: list[tuple[str, int]] = []
    heartbeat.listen(lambda pulse: stages.append((pulse.stage, pulse.frames)))
    hang, decoded = threading.Event(), threading.Event()

    def decode() -> Iterator[Frame]:
        for number in range(2):
            beat(DECODE, frames=1)
            decoded.set()
            yield Frame(number, 0.0, np.zeros((4, 4, 3), np.uint8))
        hang.wait(60)

    try:
        beat(FACES)
        with decoded_ahead(decode) as given:
            assert decoded.wait(60)
            until(lambda: stages[-1] == (FACES, 2))  # its beats are signs of life, no more
            beat(DECODE)
            assert [next(given).index, next(given).index] == [0, 1]
            assert stages[-1] == (DECODE, 2)  # what is waited for now
            hang.set()
            assert list(given) == []
    finally:
        hang.set()
        heartbeat.listen(None)


def test_what_comes_out_is_the_same(tmp_path: Path) -> None:
    good, damaged = tmp_path / "good.mp4", tmp_path / "damaged.mp4"
    clips.write(good, clips.astronaut(), frames=24)
    data = bytearray(good.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    damaged.write_bytes(data)
    found = {}
    for early in (False, True):
        folder = tmp_path / str(early)
        recipe = BuildRecipe(fps=10)
        task = video.VideoTask(recipe, "k", {"appearance": "a"}, "cpu", folder / "m", folder / "p", ahead=early)
        task.media.mkdir(parents=True)
        task.pieces.mkdir()
        done = [video.process(Source(clip.stem, clip.name, str(clip)), task, "", None) for clip in (good, damaged)]
        pieces = {path.name: path.read_bytes() for path in task.pieces.iterdir()}
        found[early] = [replace(one.record, retrieved_at=None) for one in done], pieces
    assert found[True] == found[False] and found[True][1]
    assert found[True][0][1].info is not None and found[True][0][1].info.frames_damaged


def test_who_crashed_is_worked_on_one_thing_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(requests, "process", lambda source, task, *_: asked.append(task.ahead))
    task = video.VideoTask(BuildRecipe(), "k", {}, "cpu", Path("m"), Path("p"), ahead=True)
    for careful in (False, True):
        pending = Pending(Source("v", "v", "v"), "", None, careful=careful)
        requests.answer(("process", pickle.dumps(task), pending, None))
    assert asked == [True, False]
