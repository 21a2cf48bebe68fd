"""Says when a detector has probably missed much, and what to try."""

from __future__ import annotations

from collections.abc import Iterator

from curate.storage.build import Build
from curate.storage.info import BuildInfo, FaceCounts

BARE, SMALL, WEAK, SINGLE = 0.5, 0.25, 0.5, 0.5
"""Shares from which something is said: frames without a face, detections dropped for each face that was kept because
they are too small or too weak, tracks that have one face."""
FEW = 20
"""Frames, or tracks, below which a share says little."""


def face_counts(built: Build) -> FaceCounts:
    """How faces are spread over frames and tracks."""
    faces = built.faces(["video_id", "frame", "track"])
    tracks = faces.group_by(["video_id", "track"]).aggregate([("frame", "count")])["frame_count"].to_numpy()
    frames = faces.group_by(["video_id", "frame"]).aggregate([])
    return FaceCounts(frames=frames.num_rows, tracks=len(tracks), single=int((tracks == 1).sum()))


def hints(info: BuildInfo) -> Iterator[str]:
    """A line for each sign that faces were missed, with what to try; of builds that counted no tracks, none."""
    counts, spread, settings = info.counts, info.counts.spread, info.recipe["faces"]
    if not spread.tracks:
        return
    sampled, bare = counts.frames_sampled, counts.frames_sampled - spread.frames
    if sampled >= FEW and bare >= BARE * sampled:
        other = "insightface --models DIR" if info.backend.name == "centerface" else "centerface"
        yield f"{bare:,} of {sampled:,} frames have no face: look at some; --faces {other} may see more"
    for words, share, key, value in (
        ("smaller than", SMALL, "min_size", settings["min_size"] / 2),
        ("below", WEAK, "min_score", settings["min_score"] - 0.1),
    ):
        dropped = sum(n for reason, n in info.dropped.items() if reason.startswith(words))
        if dropped >= max(share * counts.faces, FEW):
            yield (
                f"{dropped:,} detections were {words} faces.{key} = {settings[key]:g}, {counts.faces:,} faces were "
                f"not: --set faces.{key}={value:g} keeps more"
            )
    if spread.tracks >= FEW and spread.single >= SINGLE * spread.tracks:
        yield (
            f"{spread.single:,} of {spread.tracks:,} tracks have one face: it was missed before and after, or is none; "
            f"try --fps {2 * info.recipe['fps']:g}, or --set faces.min_score={settings['min_score'] + 0.1:g}"
        )
