"""`RUN/report.html`: how a pre-training run went, what its network was shown, and which faces it takes for alike."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from markupsafe import Markup
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from curate.drawing import plots
from curate.drawing.pictures import SIDE, data_uri
from curate.drawing.template import render
from curate.errors import UsageError
from curate.pretrain import augment, monitor, pictures, probe
from curate.pretrain.backbones import patch_of
from curate.pretrain.config import PretrainRecipe, Provenance
from curate.pretrain.faces import Faces, open_faces
from curate.pretrain.weights import load_backbone
from curate.records import Pixels
from curate.storage.files import write_bytes

NAME = "report.html"
TEMPLATE = Path(__file__).with_name("page.html")
FACES = 400
"""Faces among which neighbours are looked for."""
QUERIES, NEIGHBOURS = 8, 8
SHOWN = 6
"""Pictures whose crops are shown."""
CROPS = 10
"""Crops of a picture that are shown at most."""
POINTS = 400
"""Points of a curve at most; more log lines are averaged."""


@dataclass(frozen=True)
class Neighbour:
    """A face as it stands in a row of the page: its picture, its name, the cosine, whether it is the same person."""

    picture: str
    face_id: str
    cosine: float
    same: bool


@dataclass(frozen=True)
class Illustrations:
    """What a page shows of the pictures.

    Attributes:
        crops: for some pictures, the whole and its crops: data URI and width on the page, pixels.
        rows: a face and its nearest neighbours.
        faces: among which they were looked for.
    """

    crops: list[list[tuple[str, int]]]
    rows: list[list[Neighbour]]
    faces: int


def write(run: Path) -> Path:
    """Writes `report.html` into the folder of a run, whole or not at all, and returns its path.

    Without the manifest as it was, or before the first checkpoint, the page has no pictures and says why.

    Raises:
        UsageError: `run` is no folder of a pre-training run.
    """
    recipe, made_from = _config(run)
    illustrations, why = _illustrations(run, recipe, made_from)
    values = gather(run, recipe) | {"illustrations": illustrations, "why": why, "made_from": made_from.model_dump()}
    target = run / NAME
    write_bytes(target, render(TEMPLATE, **values).encode())
    return target


def gather(run: Path, recipe: PretrainRecipe) -> dict[str, Any]:
    """Everything that the page shows but for pictures."""
    lines = monitor.read_metrics(run / "metrics.jsonl")
    losses = [line for line in lines if line.get("loss") is not None]
    probes = [line for line in lines if line.get("effective_rank") is not None]
    knn = "knn_identity" if probes and probes[-1].get("knn_identity") is not None else None
    return {
        "name": run.resolve().name,
        "recipe": recipe,
        "losses": losses,
        "probes": probes,
        "knn": knn,
        "hides": recipe.kind.hidden_share(recipe.settings) > 0,
        "rate": median(line["images_per_s"] for line in losses) if losses else None,
        "warnings": [line for line in lines if "warning" in line],
        "curves": [(Markup(svg), caption) for svg, caption in _curves(recipe, losses, probes, knn)],  # noqa: S704 - our own SVG
        "settings": yaml.safe_dump(recipe.model_dump(mode="json", exclude={"provenance"}), sort_keys=False),
    }


def _config(run: Path) -> tuple[PretrainRecipe, Provenance]:
    path = run / "config.yaml"
    try:
        recipe = PretrainRecipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError, UnicodeDecodeError):
        raise UsageError(
            f"{path}: no settings of a pre-training run; curate pretrain --out {run} writes them"
        ) from None
    if recipe.provenance is None:
        raise UsageError(f"{path}: does not say what the run was made from; curate pretrain --out {run} writes it")
    return recipe, recipe.provenance


# ------------------------------------------------------------------------------------------------------------ curves


def _curves(
    recipe: PretrainRecipe, losses: list[dict[str, Any]], probes: list[dict[str, Any]], knn: str | None
) -> list[tuple[str, str]]:
    """Plots and what they show."""
    curves = []
    if losses:
        blind = recipe.chance_loss()
        level = (blind, "guessing") if blind is not None else None
        curves.append((plots.over_steps({"loss": _line(losses, "loss")}, "loss", level), "Loss."))
    if knn is not None:
        percent = {
            "same person": _line(probes, knn, 100),
            "at random": _line(probes, "knn_chance", 100),
        }
        caption = "How often the nearest face of another clip, near-duplicates aside, is the same person."
        curves.append((plots.over_steps(percent, "nearest neighbour right, %"), caption))
    if probes and probes[-1].get("linear_probe") is not None:
        named = {"linear probe": _line(probes, "linear_probe", 100), "at random": _line(probes, "linear_chance", 100)}
        curves.append((plots.over_steps(named, "named right, %"), "Linear probe on probe.data, mean over its classes."))
    if probes:
        rank = {"rank": _line(probes, "effective_rank")}
        curves.append(
            (plots.over_steps(rank, "effective rank"), "Dimensions that features really use; 1 is a collapse.")
        )
    if losses:
        curves.append((plots.over_steps({"lr": _line(losses, "lr")}, "learning rate"), "Learning rate."))
        rate = {"rate": _line(losses, "images_per_s")}
        curves.append((plots.over_steps(rate, "images a second"), "Speed, all processes together."))
    return curves


def _line(lines: Sequence[dict[str, Any]], name: str, factor: float = 1.0) -> tuple[list[float], list[float]]:
    """Steps and values, averaged over neighbours where there are too many."""
    points = [(line["step"], factor * line[name]) for line in lines if line.get(name) is not None]
    width = -(-len(points) // POINTS) or 1
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [fmean(step for step, _ in group) for group in groups], [fmean(v for _, v in group) for group in groups]


# ---------------------------------------------------------------------------------------------------------- pictures


def _illustrations(run: Path, recipe: PretrainRecipe, made_from: Provenance) -> tuple[Illustrations | None, str]:
    """Pictures, or why there are none."""
    try:
        found = _faces(made_from, recipe)
    except UsageError as error:
        return None, str(error)
    if found.sha256 != made_from.manifest_sha256:
        return None, f"{made_from.manifest} is not what the run was made from any more"
    module = recipe.arch.partition(":")[0]
    if ":" in recipe.arch and module not in sys.modules:  # a page runs no code that a folder names
        return None, f"{recipe.arch} is not loaded; curate pretrain draws them at the end of a run"
    if not (run / "backbone.pt").exists():
        return None, "the run has written no backbone.pt yet"
    chosen = probe.choose(found, np.arange(len(found)), FACES, recipe.seed)
    part = found.subset(chosen.positions)
    try:
        images, sound = _images(part)
    except UsageError as error:
        return None, str(error)
    chosen = probe.Probe(chosen.positions[sound], chosen.label[sound], chosen.group[sound], chosen.clip[sound])
    shown = Illustrations(
        crops=_crops(images[_spread(chosen.label, SHOWN)], recipe),
        rows=_rows(found, chosen, images, _features(run, images, recipe)),
        faces=len(images),
    )
    return shown, ""


def _faces(made_from: Provenance, recipe: PretrainRecipe) -> Faces:
    manifest, data = (None, made_from.manifest) if made_from.data else (made_from.manifest, None)
    return open_faces(manifest, data, recipe.data.labels, recipe.data.side, recipe.data.build)


def _images(part: Faces) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures uint8 [n, H, W, 3] of a small manifest that can be decoded, and which these are, int64 [n]."""
    with tempfile.TemporaryDirectory() as folder:
        pictures.pack(part, Path(folder))
        opened = pictures.open_pictures(part, Path(folder))
        try:
            images = np.zeros((len(part), opened.height, opened.width, 3), np.uint8)
            sound = [i for i in range(len(part)) if opened.length[i] and opened.decode(i, images[i])]
        finally:
            opened.close()
    return images[sound], np.array(sound, np.int64)


def _features(run: Path, images: NDArray[np.uint8], recipe: PretrainRecipe) -> Tensor:
    """Unit features of whole pictures: float32 [n, d]."""
    backbone = load_backbone(run / "backbone.pt", recipe.arch).eval()
    size = max(view.size for view in recipe.views())
    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(images), probe.AT_ONCE)
        return F.normalize(torch.cat([backbone(augment.plain(part, size, recipe.augment)) for part in parts]), dim=1)


def _rows(found: Faces, chosen: probe.Probe, images: NDArray[np.uint8], features: Tensor) -> list[list[Neighbour]]:
    """Some faces, each followed by the most similar ones of other clips that are no near-duplicates of it."""
    names = found.face_ids(chosen.positions)
    cosines = (features @ features.T).numpy()
    clips = len(np.unique(chosen.clip)) > 1
    cosines[(chosen.group[:, None] == chosen.group) | (clips & (chosen.clip[:, None] == chosen.clip))] = -2

    def entry(row: int, other: int) -> Neighbour:
        small = cv2.resize(images[other], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        same = bool(chosen.label[row] == chosen.label[other])
        return Neighbour(data_uri(small), names[other], float(cosines[row, other]), same)

    rows = []
    for row in _spread(chosen.label, QUERIES):
        others = [
            int(other) for other in np.argsort(-cosines[row], kind="stable")[:NEIGHBOURS] if cosines[row, other] > -2
        ]
        rows.append([entry(row, other) for other in (row, *others)])
    return rows


def _spread(label: NDArray[np.int64], count: int) -> list[int]:
    """Positions of faces with different labels, as far as there are any; then others."""
    _, first = np.unique(label, return_index=True)
    order = [*sorted(first.tolist()), *(i for i in range(len(label)) if i not in set(first.tolist()))]
    return order[:count]


def _crops(images: NDArray[np.uint8], recipe: PretrainRecipe) -> list[list[tuple[str, int]]]:
    """Whole pictures and their crops as the network sees them, before mean and deviation are taken off."""
    generator = torch.Generator().manual_seed(recipe.seed)
    largest = max(view.size for view in recipe.views())
    shown = [[(data_uri(_small(image)), SIDE)] for image in images]
    n, height, width, _ = images.shape
    for view in [kind for kind in recipe.views() for _ in range(kind.count)][:CROPS]:
        uniforms = torch.rand(n, augment.NUMBERS, generator=generator)
        draws = augment.draw(uniforms, height, width, view, recipe.augment)
        [rendered] = augment.crops(torch.from_numpy(images), [draws], [view.size], recipe.augment)
        seen = _pixels(rendered, recipe)
        hidden = recipe.kind.hidden_share(recipe.settings)
        if hidden:
            seen = _hide(seen, hidden, patch_of(recipe.arch) or 16, generator)
        for row, pixels in zip(shown, seen, strict=True):
            row.append((data_uri(_small(pixels)), max(24, round(SIDE * view.size / largest))))
    return shown


def _pixels(x: Tensor, recipe: PretrainRecipe) -> list[Pixels]:
    """float [n, 3, s, s], normalised -> uint8 [s, s, 3] each."""
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (recipe.augment.mean, recipe.augment.std))
    bytes_ = ((x * std + mean).clamp(0, 1) * 255).round().byte()
    return [pixels.permute(1, 2, 0).numpy() for pixels in bytes_]


def _hide(crops: list[Pixels], ratio: float, patch: int, generator: torch.Generator) -> list[Pixels]:
    """Greys as many patches as the network does not see."""
    out = []
    for picture in crops:
        grid = len(picture) // patch
        hidden = torch.rand(grid * grid, generator=generator).argsort()[int(grid * grid * (1 - ratio)) :]
        picture = picture.copy()
        for index in hidden.tolist():
            y, x = divmod(index, grid)
            picture[patch * y : patch * (y + 1), patch * x : patch * (x + 1)] = 128
        out.append(picture)
    return out


def _small(pixels: Pixels) -> Pixels:
    """At most the side of a picture on the page, doubled for fine screens."""
    side = min(2 * SIDE, len(pixels))
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
