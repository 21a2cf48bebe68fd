"""Whether the sources of a build are still what they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import SourceError
from curate.records import Fetched, Source
from curate.storage.build import Build
from curate.storage.files import sha256_file


@dataclass(frozen=True)
class SourceState:
    """How a source stands today: same, changed, gone or unknown (remote and not fetched, or it had failed)."""

    video_id: str
    source: str
    state: str
    why: str = ""


def source_states(
    build: Build, sources: list[Source], fetch: Callable[[Source], Fetched] | None = None
) -> Iterator[SourceState]:
    """Compares the bytes of each source with those the build was made of.

    Args:
        sources: of the build's list.
        fetch: gets a source's bytes; None: only local files are read.
    """
    by_id = {source.video_id: source for source in sources}
    for row in build.videos.select(["video_id", "source", "content_sha256"]).to_pylist():
        source = by_id.get(row["video_id"])
        state, why = ("gone", "the list does not name it any more") if source is None else _state(source, row, fetch)
        yield SourceState(row["video_id"], row["source"], state, why)


def _state(source: Source, row: dict[str, Any], fetch: Callable[[Source], Fetched] | None) -> tuple[str, str]:
    if row["content_sha256"] is None:
        return "unknown", "it could not be read when the build was made"
    local = Path(source.location)
    try:
        if local.is_file():
            digest = sha256_file(local)
        elif "://" in source.location and fetch is None:
            return "unknown", "it is remote and was not fetched"
        elif "://" in source.location and fetch is not None:
            digest = fetch(source).content_sha256
        else:
            return "gone", "there is no such file"
    except SourceError as error:
        return ("unknown" if error.kind.passing else "gone"), error.message
    except OSError as error:
        return "unknown", str(error.strerror)
    return ("same", "") if digest == row["content_sha256"] else ("changed", "its bytes are others")
