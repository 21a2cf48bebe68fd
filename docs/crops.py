"""Draws docs/crops.png: each data set's crop on a schematic face, from the constants that the readers use.

Left in each pair the picture as it comes, with the owners' box (white, dotted) or five points (white) and the square
that is cut out (red); right what the backbone sees.
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from curate.evaluate.crops import CropRule, apply, invert
from curate.evaluate.datasets import CATALOGUE
from curate.records import Pixels
from curate.stages.align import warp

Floats = NDArray[np.float64]
SIDE = 480
POINTS = [(-40, -40), (40, -40), (0, 5), (-32, 48), (32, 48)]
"""Eyes, nose, mouth corners of the schematic face, pixels from its middle at scale 1."""

# data sets, the crop's name in their reader, how the picture comes: scale of the face in 480 pixels, tilt in degrees,
# and what the owners' box is: tight around the landmarks, the whole head, or none
PANELS: tuple[tuple[str, str, str, float, float, str], ...] = (
    ("pairs", "pairs", "CROP", 1.5, 0, ""),
    ("lfw", "lfw", "CROP", 1.0, 0, ""),
    ("lfw.bin, cfp_fp.bin,\nagedb_30.bin", "insightface_bin", "CROP", 2.6, 0, ""),
    ("cfp_fp", "cfp_fp", "CROP", 1.7, 0, ""),
    ("agedb_30", "agedb_30", "CROP", 1.4, 0, ""),
    ("vggface2", "vggface2", "ALIGNED", 0.9, 20, "five"),
    ("ijbb, ijbc\n(insightface)", "ijb", "ALIGNED", 0.9, 20, "five"),
    ("ijbb, ijbc\n(owners)", "ijb", "BOXED", 0.9, 20, "head"),
    ("300w, pts", "points", "CROP", 1.0, 10, "tight"),
    ("wflw", "wflw", "CROP", 0.7, 10, "tight"),
    ("cofw", "cofw", "CROP", 1.0, 0, "tight"),
    ("aflw19", "aflw19", "CROP", 0.8, 10, "head"),
    ("bp4d", "bp4d", "CROP", 0.9, 0, "head"),
    ("disfa", "disfa", "CROP", 1.0, 0, "tight"),
    ("affectnet (lists)", "affectnet", "BOXED", 1.0, 0, "head"),
    ("csv,\naffectnet (.npy)", "affectnet", "WHOLE", 1.9, 0, ""),
    ("afew_va", "afew_va", "CROP", 0.9, 10, "tight"),
    ("raf_db", "raf_db", "CROP", 1.9, 0, ""),
    ("fer2013", "fer2013", "CROP", 1.9, 0, ""),
    ("300w_lp, aflw2000,\nmat, florence", "mat", "CROP", 1.0, 10, "tight"),
)


def scene(scale: float, tilt: float) -> tuple[Pixels, Floats]:
    """A drawn face on a chequered ground, uint8 [480, 480, 3], and the map float64 [2, 3] from the face to it."""
    ground = np.indices((SIDE, SIDE)).sum(axis=0) // 40 % 2
    picture = np.where(ground[..., None] == 0, (205, 214, 222), (190, 200, 210)).astype(np.uint8)
    turn = cv2.getRotationMatrix2D((0, 0), -tilt, scale)
    turn[:, 2] += SIDE / 2

    def at(x: float, y: float) -> tuple[int, int]:
        found = apply(turn, np.array([[x, y]]))[0]
        return round(float(found[0])), round(float(found[1]))

    def ellipse(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
        axes = (int(wide * scale), int(high * scale))
        cv2.ellipse(picture, at(x, y), axes, tilt, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse(0, -12, 86, 112, (92, 70, 55))  # hair
    ellipse(0, 8, 74, 98, (236, 200, 172))  # face
    for x in (-40, 40):
        ellipse(x, -40, 16, 9, (255, 255, 255))
        ellipse(x, -40, 7, 7, (60, 60, 80))
        cv2.line(picture, at(x - 18, -62), at(x + 18, -62), (92, 70, 55), max(int(5 * scale), 1), cv2.LINE_AA)
    cv2.line(picture, at(0, -25), at(0, 5), (205, 160, 130), max(int(5 * scale), 1), cv2.LINE_AA)
    ellipse(0, 48, 32, 9, (190, 80, 80))
    return picture, turn


def box_of(kind: str, turn: Floats) -> tuple[float, float, float, float] | None:
    """The owners' box: `tight` around brows to chin, `head` around the head; None without."""
    if kind not in ("tight", "head"):
        return None
    angle = np.linspace(0, 2 * np.pi, 100)
    low, high, wide = (-66, 104, 74) if kind == "tight" else (-110, 106, 84)
    ring = np.stack([wide * np.cos(angle), (low + high) / 2 + (high - low) / 2 * np.sin(angle)], axis=1)
    found = apply(turn, ring)
    (x0, y0), (x1, y1) = found.min(axis=0), found.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def show(axes: tuple[Axes, Axes], title: str, crop: CropRule, scale: float, tilt: float, kind: str) -> None:
    """One data set: the picture with the square, and the crop."""
    picture, turn = scene(scale, tilt)
    box = box_of(kind, turn)
    five = apply(turn, np.array(POINTS, dtype=np.float64)) if kind == "five" else None
    matrix = crop.matrix(SIDE, SIDE, box, five)
    edge = crop.size - 0.5
    corners = np.array([[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge], [-0.5, -0.5]])
    left, right = axes
    left.imshow(picture)
    left.plot(*apply(invert(matrix), corners).T, color="#d62728", linewidth=2)
    if box is not None:
        x0, y0, x1, y1 = box
        left.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", linestyle=":", linewidth=2)
    if five is not None:
        left.plot(*five.T, "o", color="white", markersize=4, markeredgecolor="black")
    right.imshow(warp(picture, matrix, crop.size))
    left.set_title(title, fontsize=9, loc="left")
    rule = {"box": "box", "five_points": "five points", "whole": "whole"}[crop.rule]
    margin = f", margin {crop.margin:g}" if crop.margin else ""
    right.set_title(f"{rule}{margin}\n{crop.size} px", fontsize=8, loc="left", color="#555")
    for one in axes:
        one.set_axis_off()
        one.set_xlim(-0.5, (SIDE if one is left else crop.size) - 0.5)
        one.set_ylim((SIDE if one is left else crop.size) - 0.5, -0.5)


def main() -> None:
    """Writes the picture."""
    columns, rows = 4, -(-len(PANELS) // 4)
    figure = Figure(figsize=(12.5, 1.95 * rows), layout="constrained")
    grid = figure.subplots(rows, 2 * columns)
    for axes in grid.ravel():
        axes.set_axis_off()
    for place, (title, module, name, scale, tilt, kind) in enumerate(PANELS):
        row, column = divmod(place, columns)
        crop = getattr(import_module(f"curate.evaluate.datasets.{module}"), name)
        show((grid[row, 2 * column], grid[row, 2 * column + 1]), title, crop, scale, tilt, kind)
    named = " ".join(panel[0] for panel in PANELS)
    missing = [name for name in CATALOGUE if name not in named]
    if missing:
        raise SystemExit(f"crops: no panel for {', '.join(missing)}")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    Image.open(drawn).convert("RGB").quantize(128).save(Path(__file__).parent / "crops.png", optimize=True)


if __name__ == "__main__":
    main()
