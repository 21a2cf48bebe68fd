"""`BUILD/forgotten.json`: what was taken down, so that no later run of the list brings it back.

It holds names, instants and boxes: nothing from which a face could be known again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curate.storage.documents import mapping, read_json, write_json

NAME = "forgotten.json"
INSTANT_S = 0.02
"""Faces of a video so near in time, whose boxes overlap by half, are one face that was found again."""
OVERLAP = 0.5


@dataclass(frozen=True)
class ForgottenFace:
    """A face that was taken down; `bbox` as in `faces/*.parquet`."""

    face_id: str
    video_id: str
    time_s: float
    bbox: tuple[float, ...]

    def is_face(self, face_id: str, time_s: float, bbox: Iterable[float]) -> bool:
        """Whether a face of the same video is this one, by name, or by its instant and place."""
        if face_id == self.face_id:
            return True
        return abs(time_s - self.time_s) <= INSTANT_S and overlap(tuple(bbox), self.bbox) >= OVERLAP


@dataclass(frozen=True)
class Forgotten:
    """All that was taken down from a build: videos by id, and single faces of videos that stay."""

    videos: tuple[str, ...] = ()
    faces: tuple[ForgottenFace, ...] = ()

    @classmethod
    def of(cls, build: Path) -> Forgotten:
        """What a build's file says; nothing where there is none.

        Raises:
            UsageError: the file is damaged.
        """
        path = build / NAME
        fix = "restore it from a copy: without it the next build brings back what was taken down"
        return read_json(path, _from_dict, fix) if path.exists() else cls()

    def and_more(self, other: Forgotten) -> Forgotten:
        """Both together, each once, sorted."""
        videos = sorted({*self.videos, *other.videos})
        faces = {face.face_id: face for face in (*self.faces, *other.faces) if face.video_id not in videos}
        return replace(self, videos=tuple(videos), faces=tuple(faces[name] for name in sorted(faces)))

    def write(self, build: Path) -> None:
        """Writes the build's file, whole or not at all."""
        write_json(build / NAME, {"videos": list(self.videos), "faces": [asdict(face) for face in self.faces]})

    def of_video(self, video_id: str) -> list[ForgottenFace]:
        """The faces of one video."""
        return [face for face in self.faces if face.video_id == video_id]


def _from_dict(value: Any) -> Forgotten:
    faces = [ForgottenFace(**{**face, "bbox": tuple(face["bbox"])}) for face in mapping(value)["faces"]]
    return Forgotten(tuple(value["videos"]), tuple(faces))


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return shared / both if both > 0 else 0.0
