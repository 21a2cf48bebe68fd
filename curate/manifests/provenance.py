"""Whether the sources of a build are still what they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate import locations
from curate.records import Source
from curate.stages.folders import VIDEO_SUFFIXES
from curate.stages.sources import read_sources
from curate.storage.build import Build
from curate.storage.files import sha256_file


@dataclass(frozen=True)
class SourceState:
    """How a source stands today: same, changed, gone or unknown (remote, or it had failed)."""

    video_id: str
    source: str
    state: str
    why: str = ""


def sources_of(build: Build) -> list[Source]:
    """The sources that the list of a build names today, under the names that the build gives them.

    Raises:
        UsageError: the list is gone, or is none any more.
    """
    listed = build.info.source
    path = Path(listed)
    if path.is_absolute() and path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
        # One video, named after what the user wrote; `build.json` says where that was.
        [row] = build.videos.select(["video_id", "source"]).to_pylist()
        return [Source(row["video_id"], row["source"], listed)]
    return read_sources(listed)


def source_states(build: Build, sources: list[Source]) -> Iterator[SourceState]:
    """Compares the bytes of each source with those the build was made of; only local files are read.

    Args:
        sources: of the build's list.
    """
    by_id = {source.video_id: source for source in sources}
    for row in build.videos.select(["video_id", "source", "content_sha256"]).to_pylist():
        source = by_id.get(row["video_id"])
        state, why = ("gone", "the list does not name it any more") if source is None else _state(source, row)
        yield SourceState(row["video_id"], row["source"], state, why)


def _state(source: Source, row: dict[str, Any]) -> tuple[str, str]:
    if not locations.is_local(source.location):
        return "unknown", "it is remote and was not fetched"
    if row["content_sha256"] is None:
        return "unknown", "it could not be read when the build was made"
    local = Path(source.location)
    if not local.is_file():
        return "gone", "there is no such file"
    try:
        digest = sha256_file(local)
    except OSError as error:
        return "unknown", str(error.strerror)
    return ("same", "") if digest == row["content_sha256"] else ("changed", "its bytes are others")
