"""How many frames a list can give, as far as the headers of local files say: what is asked of it is judged by that.

Files may be damaged or hostile, so that headers are read by a process of its own, which may crash or hang:
python -m curate.stages.extent, paths as JSON on its standard input, seconds on its standard output.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from curate import locations
from curate.errors import SourceError
from curate.records import Source

MOST = 1000
"""Files whose headers are read; of longer lists nothing is said."""
PATIENCE_S = 20
"""Seconds that reading them may take."""


def most_frames(sources: Sequence[Source], fps: float) -> int | None:
    """The frames that are sampled of a list, at most.

    Returns:
        None where it cannot be known beforehand: of URLs, of files whose headers do not say how long they are, of lists
        of more than `MOST`, and where a file takes the reading process down. Missing and damaged files give none.
    """
    if len(sources) > MOST or any(locations.is_url(source.location) for source in sources):
        return None
    paths = [source.location for source in sources if Path(source.location).is_file()]
    try:
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name], input=json.dumps(paths), capture_output=True, text=True,
            timeout=PATIENCE_S, check=True,
        )  # fmt: skip
        seconds = dict(zip(paths, json.loads(done.stdout), strict=True))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if None in seconds.values():
        return None
    frames = 0
    for source in sources:
        end = min(seconds.get(source.location, 0.0), math.inf if source.end_s is None else source.end_s)
        length = end - (source.start_s or 0.0)
        frames += math.floor(length * fps) + 1 if length > 0 else 0
    return frames


def too_few(sources: Sequence[Source], fps: float, sizes: Sequence[int]) -> list[str]:
    """A line for each size of a manifest that would take several faces in every frame."""
    if not sizes or (frames := most_frames(sources, fps)) is None:
        return []
    return [
        f"a manifest of {size:,} faces: the list has {frames:,} frames at most at {fps:g} a second, "
        f"so every one would have to show {size / max(frames, 1):.1f} faces; raise --fps, or lower --size"
        for size in sorted(set(sizes))
        if size > frames
    ]


def _seconds(path: str) -> float | None:
    """How long a file is by its header; None where that does not say, 0 where it cannot be read."""
    from curate.stages.decode_container import open_container

    try:
        container, _ = open_container(Path(path))
    except SourceError:
        return 0.0
    with container:
        return None if container.duration is None else container.duration / 1e6


if __name__ == "__main__":
    sys.stdout.write(json.dumps([_seconds(path) for path in json.load(sys.stdin)]))
