"""What passes from one stage to the next, in the order in which a face meets it.

Source -> Fetched -> Frame -> Detection -> Face -> VideoRecord
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB, upright (rotation flags of the container applied)."""

Spans = tuple[tuple[int, int], ...]
"""Parts of a file: (start, end) in bytes, the end not included, ascending and disjoint."""


@dataclass(frozen=True)
class Source:
    """One entry of the user's list.

    Attributes:
        video_id: names the source in the build; made from `source` alone, safe as a file name.
        source: as the user wrote it.
        location: where to read it: an absolute local path, or a URL (http, https or any of fsspec's).
        start_s, end_s: the range of the video that is meant, seconds from its first frame, the end not included; None
            where it begins or ends with the video.
        part: no row of the list asks for the whole video, so that only ranges of it need be fetched.
    """

    video_id: str
    source: str
    location: str
    start_s: float | None = None
    end_s: float | None = None
    part: bool = False


@dataclass(frozen=True)
class Fetched:
    """A source whose bytes lie on this machine's disk.

    Attributes:
        path: a regular file.
        content_sha256: hex digest of its bytes; None where only a part of them is here.
        retrieved_at: UTC, when it was downloaded; None for a file that was already local.
        format_id: which of the site's formats was downloaded, in yt-dlp's words; None where there is no choice.
        header_sha256: of a file of which only a part is here: hex digest of its length and its table of frames,
            which tells it from other files.
        spans: the part that is here, the rest are holes; None where all of it is.
        bytes_fetched: bytes that were downloaded for this source by this call; None for a file that was already local.
        whole_because: why all of it was downloaded although a range was asked for.
    """

    path: Path
    content_sha256: str | None
    title: str | None = None
    uploader: str | None = None
    license: str | None = None
    webpage_url: str | None = None
    retrieved_at: dt.datetime | None = None
    format_id: str | None = None
    header_sha256: str | None = None
    spans: Spans | None = None
    bytes_fetched: int | None = None
    whole_because: str | None = None

    @property
    def identity(self) -> str | None:
        """What tells its bytes from those of other files."""
        return self.content_sha256 or self.header_sha256


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its first video stream, and what reading it showed.

    Attributes:
        width, height: pixels of an upright frame, after rotation.
        fps: average frame rate.
        frames_total: frames in the stream, counted where the container does not say.
        frames_damaged: sampled instants whose frame could not be decoded soundly; known after the last frame was read.
        rotation, mirrored: how a stored frame is made upright: it is mirrored left to right where `mirrored`, then
            turned clockwise by `rotation` degrees (0, 90, 180 or 270).
        sample_aspect_ratio: width of a stored pixel by its height.
        field_order: in ffprobe's words: progressive, tt, bb, tb, bt or unknown.
        color_transfer: in ffprobe's words: bt709, smpte2084 (PQ), arib-std-b67 (HLG), unknown, ...
    """

    container: str
    codec: str
    width: int
    height: int
    fps: float
    duration_s: float
    frames_total: int
    frames_sampled: int = 0
    frames_damaged: int = 0
    rotation: int = 0
    mirrored: bool = False
    sample_aspect_ratio: float = 1.0
    field_order: str = "unknown"
    color_transfer: str = "unknown"


@dataclass(frozen=True)
class Frame:
    """One sound, sampled frame.

    Attributes:
        index: its index in the video (presentation order, from 0).
        time_s: its presentation time, seconds from the first frame.
        shot: index of its shot, from 0; -1 before shots are known.
        instants: first and last of the instants that it was sampled for (see `curate.sampling`).
        pts: its presentation time in the stream's ticks; None where the stream has none.
        small: its thumbnail (`curate.stages.thumbnail`); None before shots are known.
    """

    index: int
    time_s: float
    pixels: Pixels
    shot: int = -1
    instants: tuple[int, int] = (0, 0)
    pts: int | None = None
    small: Pixels | None = None


@dataclass(frozen=True)
class Detection:
    """A face found in a frame.

    Attributes:
        bbox: float32 [4]: x0, y0, x1, y1 in pixels of the frame.
        landmarks: float32 [5, 2]: x, y of image-left eye, image-right eye, nose tip, image-left and image-right
            mouth corner, in pixels of the frame.
        score: the detector's confidence, float in [0, 1] or the detector's own scale.
    """

    bbox: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True)
class Face:
    """One face, as a row of `faces/*.parquet` (see `curate.storage.schemas.FACES` for units).

    Attributes:
        crop_matrix: float32 [2, 3], pixels of the frame to pixels of the crop; pixel centres lie at whole numbers.
    """

    face_id: str
    video_id: str
    frame: int
    time_s: float
    shot: int
    track: int
    bbox: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float
    yaw: float
    pitch: float
    roll: float
    sharpness: float
    brightness: float
    mouth_open: float | None
    eyes_open: float | None
    quality: float
    phash: int
    pts: int | None
    first_instant: int
    last_instant: int
    crop_matrix: NDArray[np.float32]
    inherited: bool
    scene: bytes
    jpeg: bytes


@dataclass(frozen=True)
class VideoRecord:
    """One row of `videos.parquet`, but for what only the whole build knows (`duplicate`)."""

    video_id: str
    source: str
    status: str
    error: str | None = None
    error_kind: str | None = None
    content_sha256: str | None = None
    info: VideoInfo | None = None
    faces: int = 0
    title: str | None = None
    uploader: str | None = None
    license: str | None = None
    webpage_url: str | None = None
    retrieved_at: dt.datetime | None = None
    start_s: float | None = None
    end_s: float | None = None
    format_id: str | None = None
    header_sha256: str | None = None
    bytes_fetched: int | None = None
    whole_because: str | None = None

    @property
    def identity(self) -> str | None:
        """What tells its bytes from those of other files: their digest, or that of the header where a part was read."""
        return self.content_sha256 or self.header_sha256
