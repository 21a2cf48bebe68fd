"""Textured scans: reading Wavefront OBJ files and rendering them from any side, without a graphics library.

A scan has far more vertices than a small picture has pixels, so it is drawn as points: each vertex colours the pixels
around it, the nearest to the camera wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.errors import UsageError, one_line
from curate.evaluate.datasets.morphable import rotation
from curate.evaluate.pictures import SUFFIXES, DamagedPictureError, File
from curate.records import Pixels

Floats = NDArray[np.float64]
GREY = 160
"""Colour of what has none."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Vertices float64 [M, 3] (x right, y up, z towards the viewer) and their colours uint8 [M, 3]."""

    vertices: Floats
    colours: Pixels

    def placed(self, pitch: float, yaw: float, side: int) -> Floats:
        """Vertices float64 [M, 3] in pixels of a picture of `side` that the turned scan fills to 0.8; degrees."""
        turned = (self.vertices - self.vertices.mean(axis=0)) @ rotation(np.radians(pitch), np.radians(yaw), 0.0).T
        extent = np.ptp(turned[:, :2], axis=0).max()
        scaled = turned * (0.8 * side / max(float(extent), 1e-9)) * [1, -1, 1]
        middle = (scaled[:, :2].min(axis=0) + scaled[:, :2].max(axis=0)) / 2
        return np.asarray(scaled + np.append((side - 1) / 2 - middle, 0.0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture of a scan from one side, drawn when it is read."""

    path: Path
    pitch: float
    yaw: float
    side: int = 256

    def read(self) -> Pixels:
        """See `PictureSource`."""
        try:
            scan = read_obj(self.path)
        except UsageError as error:
            raise DamagedPictureError(str(error)) from None
        return draw(scan.placed(self.pitch, self.yaw, self.side), scan.colours, self.side)

    def stamp(self) -> str:
        """See `PictureSource`."""
        return f"{File(self.path).stamp()}:{self.pitch}:{self.yaw}:{self.side}"


@lru_cache(2)  # one scan is drawn from many sides
def read_obj(path: Path) -> Scan:
    """A scan with the colours of the texture picture beside it; grey where there is none.

    Raises:
        UsageError: there are no vertices, a line is wrong, or the texture is damaged.
    """
    vertices, uv, corners = [], [], []
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for line in file:
                words = line.split()
                if words[:1] == ["v"]:
                    vertices.append([float(w) for w in words[1:4]])
                elif words[:1] == ["vt"]:
                    uv.append([float(w) for w in words[1:3]])
                elif words[:1] == ["f"]:
                    corners += [word.split("/")[:2] for word in words[1:] if word.count("/") and word.split("/")[1]]
        points = np.array(vertices, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a scan ({one_line(error, 120)})") from None
    if points.ndim != 2 or len(points) < 100 or points.shape[1] != 3:
        raise UsageError(f"{path}: holds {len(vertices)} vertices, which is no scan")
    texture = next((p for p in sorted(path.parent.iterdir()) if p.suffix.lower() in SUFFIXES), None)
    if texture and uv and corners:
        try:
            return Scan(points, _coloured(len(points), File(texture).read(), np.array(uv), corners))
        except (DamagedPictureError, ValueError, IndexError) as error:
            raise UsageError(f"{path}: cannot be coloured by {texture.name} ({one_line(error, 120)})") from None
    return Scan(points, np.full((len(points), 3), GREY, np.uint8))


def _coloured(count: int, texture: Pixels, where: Floats, corners: list[list[str]]) -> Pixels:
    """uint8 [count, 3]: the texture at the place (u, v) of `where` that a face's corner gives each vertex."""
    colours = np.full((count, 3), GREY, np.uint8)
    pairs = np.array(corners, dtype=np.int64) - 1
    x = np.clip(where[pairs[:, 1], 0] * texture.shape[1], 0, texture.shape[1] - 1).astype(np.int64)
    y = np.clip((1 - where[pairs[:, 1], 1]) * texture.shape[0], 0, texture.shape[0] - 1).astype(np.int64)
    colours[pairs[:, 0]] = texture[y, x]
    return colours


def draw(placed: Floats, colours: Pixels, side: int) -> Pixels:
    """A picture uint8 [side, side, 3] of points [M, 3] in its pixels, larger z nearer; black behind them."""
    picture = np.zeros((side, side, 3), np.uint8)
    order = np.argsort(placed[:, 2], kind="stable")  # the nearest is painted last
    for dx, dy in ((1, 1), (1, 0), (0, 1), (0, 0)):
        column = np.floor(placed[order, 0] + 0.5).astype(np.int64) + dx
        row = np.floor(placed[order, 1] + 0.5).astype(np.int64) + dy
        inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        front = np.full((side, side), -1, dtype=np.int64)
        np.maximum.at(front, (row[inside], column[inside]), np.flatnonzero(inside))
        seen = front >= 0
        empty = seen & (picture.max(axis=2) == 0) if (dx, dy) != (0, 0) else seen
        picture[empty] = colours[order[front[empty]]]
    return picture
