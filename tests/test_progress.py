from __future__ import annotations

import io

import pytest

from curate import progress
from curate.progress import Progress, silent


def test_a_stage_counts_what_was_done_since_the_last_call_and_says_the_last_note() -> None:
    shown = io.StringIO()
    with progress.stage("videos", 5, "videos", shown) as advance:
        advance(2)
        advance(3, "4 faces")
    assert shown.getvalue().startswith("videos: 5 of 5 in ")
    assert shown.getvalue().endswith("(4 faces)\n")


def test_plain_lines_come_when_something_changed_and_less_often_as_work_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, shown = 0.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)

    def lines() -> int:
        return shown.getvalue().count("\n")

    with progress.stage("videos", 100_000, "videos", shown) as advance:
        advance(0)
        now = 1200.0
        advance(0)
        assert lines() == 0  # nothing has changed
        now = progress.PLAIN_LATEST_S
        advance(0)
        assert shown.getvalue().splitlines() == ["videos: 0 of 100,000 0.0 videos/s"]  # but it is alive
        while now < 3600 + progress.PLAIN_LATEST_S:
            now += 1
            advance(1)
        assert 10 < lines() < 30
        before = lines()
        while now < 86400:
            now += 1
            advance(0, f"{now:.0f} s at one video")
        assert lines() - before < 90


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [(0, 5, "0.0 videos/s"), (90, 30, "3.0 videos/s"), (3, 30, "6.0 videos/min"), (2, 600, "12.0 videos/h")],
)
def test_a_rate_has_digits_that_say_something(done: int, seconds: float, said: str) -> None:
    assert progress.rate(done, seconds, "videos") == said


def test_silent_is_a_progress_that_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def work(show: Progress = silent) -> int:
        with show("videos", None, "videos") as advance:
            advance(1, "noted")
        return 1

    assert work() == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (7.2e6, "83 days 8 h"),
        (86460, "1 day"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said
