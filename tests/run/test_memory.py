"""What a worker holds is bounded by bytes, and not by frames: large ones go through networks one by one."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.run import clips

MOST_MIB = 1200
STEP = 15
"""Frames of the clip from one that is taken to the next: frames all but identical would not be searched."""


def crowd(video: Path, frames: int) -> list[clips.Picture]:
    """Frames of 3840 x 2160 that show a clip of one person six times, so small that some are near `faces.min_size`."""
    shown = []
    with av.open(str(video)) as container:
        for frame in islice(container.decode(video=0), 0, frames * STEP, STEP):
            pixels = frame.to_ndarray(format="rgb24")
            picture = np.full((2160, 3840, 3), pixels.mean((0, 1)) + 5 * (len(shown) % 2), np.uint8)
            for place in range(6):
                scale = (60 + 10 * place) / len(pixels)
                small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                picture[900 : 900 + len(small), 600 * place + 200 :][:, : small.shape[1]] = small
            shown.append(picture)
    return shown


def most_held(process: subprocess.Popen[bytes]) -> float:
    """MiB that the largest process below this one has held at most, until it ends."""
    peak = 0
    while process.poll() is None:
        parents, held = {}, {}
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            except OSError:  # it has gone
                continue
            pid = int(status.parent.name)
            parents[pid], held[pid] = int(lines["PPid"]), int(lines.get("VmHWM", "0 kB").split()[0])
        below = {process.pid}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        peak = max([peak, *(held[pid] for pid in below if pid in held)])
        time.sleep(0.05)
    return peak / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own account of memory is read")
def test_a_worker_on_a_crowd_in_4k_holds_little(tmp_path: Path, videos: Path) -> None:
    clips.encode(tmp_path / "crowd.mp4", crowd(videos / "d18.mp4", 10), fps=5)
    command = [sys.executable, "-m", "curate", "build", "--source", str(tmp_path / "crowd.mp4"), "--fps", "5"]
    build = subprocess.Popen([*command, "--workers", "1", "--out", str(tmp_path / "build")])
    assert most_held(build) < MOST_MIB
    assert build.returncode == 0
