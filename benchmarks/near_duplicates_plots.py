"""The plots and pictures of docs/alike.md; the only face is that of scikit-image's astronaut, edited and drawn over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt
from skimage.data import astronaut

from curate.calibration import edits
from curate.recipe import CropSettings, Dedupe, FaceSettings
from curate.stages import align, appearance
from curate.stages.detect import load_backend

SHOWN = 6
EYES, LIPS = ((197, 98), (244, 98)), (222, 154)


def draw(rows: dict[str, dict[str, Any]], folder: Path) -> None:
    """alike-curves.svg, alike-edits.svg and alike-pairs.png."""
    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "alike"})
    _curves(rows, folder / "alike-curves.svg")
    _edits(rows["appearance"], folder / "alike-edits.svg")
    cv2.imwrite(str(folder / "alike-pairs.png"), _pairs(Dedupe().threshold)[..., ::-1])


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _curves(rows: dict[str, dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.2))
    ranked = sorted(rows, key=lambda name: -rows[name]["recall_99.5"])
    for place, name in enumerate(ranked):
        points = rows[name]["curve"]
        ours = name == "appearance"
        axes.plot(
            points["recall"],
            points["precision"],
            color="#c0392b" if ours else plt.get_cmap("viridis")(place / max(len(ranked) - 1, 1)),
            linewidth=2.4 if ours else 1,
            label=f"{name}  {rows[name]['recall_99.5']:.2f}",
            zorder=3 if ours else 2,
        )
    axes.axhline(0.995, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0.9, 1.001), xlabel="recall of the same picture again", ylabel="precision")
    axes.legend(title="recall at 99.5 % precision", frameon=False, fontsize=7.5, loc="lower left")
    _save(figure, path)


def _edits(row: dict[str, Any], path: Path) -> None:
    shares = sorted(row["by_edit"].items(), key=lambda item: item[1])
    figure, axes = plt.subplots(figsize=(7, 0.19 * len(shares) + 0.8))
    axes.barh([name for name, _ in shares], [share for _, share in shares], color="#34678a", height=0.7)
    axes.set(xlim=(0, 1), ylim=(-0.6, len(shares) - 0.4), xlabel="copies at or above the threshold")
    axes.tick_params(axis="y", labelsize=7.5, length=0)
    _save(figure, path)


def _pairs(threshold: float) -> np.ndarray:
    """RGB: pairs just above the threshold over pairs just below it, each with its cosine and what was done."""
    frame = np.ascontiguousarray(astronaut()[:400])
    finder = load_backend(FaceSettings(backend="dlib"), CropSettings())
    crops, names = [_crop(finder, frame)], [""]
    for name, edited in _variants(frame):
        crop = _crop(finder, edited)
        if crop is not None:
            crops.append(crop)
            names.append(name)
    cosines = (
        appearance.describe(np.stack(crops), CropSettings().margin)
        @ appearance.describe(crops[0][None], CropSettings().margin)[0]
    )
    order = np.argsort(cosines[1:], kind="stable") + 1
    above = [i for i in order if cosines[i] >= threshold][:SHOWN]
    below = [i for i in order[::-1] if cosines[i] < threshold][:SHOWN]
    rows = [
        np.hstack([_tile(crops[0], crops[i], f"{cosines[i]:.4f}", names[i]) for i in line]) for line in (above, below)
    ]
    gap = np.full((24, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([rows[0], gap, rows[1]])


def _variants(frame: np.ndarray) -> list[tuple[str, np.ndarray]]:
    made = [(edit.name, edit.apply([frame])[0]) for edit in edits.on_frames()]
    made += [(f"re-encoded at CRF {crf}", edits.reencode([frame], crf)[0]) for crf in (42, 44, 46, 48, 51)]
    for share in np.linspace(0.1, 1, 10):
        eyes, mouth = frame.copy(), frame.copy()
        for x, y in EYES:
            colour = tuple(int(value) for value in frame[y + 14, x])
            cv2.ellipse(eyes, (x, round(y - 8 + 8 * share)), (14, max(1, round(8 * share))), 0, 0, 360, colour, -1)
        cv2.ellipse(mouth, LIPS, (13, max(1, round(10 * share))), 0, 0, 360, (70, 25, 25), -1)
        made += [(f"lids drawn {share:.0%} shut", eyes), (f"lips drawn {share:.0%} open", mouth)]
    return made


def _crop(finder: Any, frame: np.ndarray) -> np.ndarray | None:
    found = finder.detect([np.ascontiguousarray(frame)])[0].faces
    if not found:
        return None
    crop = align.align(frame, found[0].landmarks, CropSettings().size, CropSettings().margin)
    return align.decode(align.encode(crop, CropSettings().jpeg_quality))


def _tile(left: np.ndarray, right: np.ndarray, cosine: str, name: str) -> np.ndarray:
    small = [cv2.resize(crop[28:196, 28:196], (112, 112), interpolation=cv2.INTER_AREA) for crop in (left, right)]
    tile = np.full((112 + 40, 2 * 112 + 12, 3), 255, np.uint8)
    tile[:112, 4:228] = np.hstack(small)
    for line, (text, size) in enumerate(((cosine, 0.45), (name, 0.38))):
        cv2.putText(tile, text, (6, 126 + 16 * line), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 40), 1, cv2.LINE_AA)
    return tile
