from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.run.build import BuildOutcome
from curate.run.status import BuildStatus, status
from tests.run import clips, faulty


def wait_for(out: Path, ready: object, process: subprocess.Popen[str]) -> BuildStatus:
    """The status as soon as it is as wanted."""
    for _ in range(1200):
        assert process.poll() is None, process.stderr
        if (out / "work" / "ledger.sqlite").is_file():
            found = status(out)
            if ready(found):  # type: ignore[operator]
                return found
        time.sleep(0.1)
    raise AssertionError("the build never came so far")


def test_a_finished_build(whole: BuildOutcome) -> None:
    found = status(whole.build.path)
    counts = whole.build.info.counts
    assert (found.state, found.sources, found.done, found.faces) == ("finished", 8, 8, counts.faces)
    assert sum(found.failures.values()) == counts.failed and not found.paused and not found.lost
    text = "\n".join(found.lines())
    assert text.startswith("finished: 8 of 8 sources done (100%)") and "failed: 2 damaged: get sound copies" in text


def test_while_it_runs_and_after_a_kill(tmp_path: Path) -> None:
    clips.write(tmp_path / "hang.mp4", clips.astronaut(), frames=1)
    (tmp_path / "list.txt").write_text("hang.mp4\nmissing.mp4\n")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "curate", "build", "--source", tmp_path / "list.txt", "--out", out]
    environment = faulty.environment(tmp_path / "hook")
    process = subprocess.Popen([*command, "--workers", "1"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        found = wait_for(out, lambda found: found.under_way and found.under_way[0].stage == "decode", process)
        assert found.state == "collecting" and found.sources == 2
        assert found.under_way[0].source == "hang.mp4" and found.under_way[0].quiet_s >= 0
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    for _ in range(100):
        if status(out).state == "stopped":
            break
        time.sleep(0.1)
    lines = list(status(out).lines())
    assert lines[0].startswith("stopped: ") and "the same curate build resumes it" in lines[1]


def test_no_build_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no build was begun here"):
        status(tmp_path)
