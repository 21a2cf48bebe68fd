"""The space of a backbone that was trained here: calibrated, covered and kept up to date.

`curate embed` adds it. A later `curate build` into the same folder keeps it: it embeds what is new with the same file,
and drops the space, with a line, where the file has gone or changed.
"""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curate import progress
from curate.calibration import calibrate
from curate.errors import UsageError
from curate.hardware import cores, limit_threads
from curate.pretrain import augment, config, weights
from curate.pretrain.normalisation import normalisation_of
from curate.records import Pixels
from curate.run import pack
from curate.run.spaces import crops as stored
from curate.run.spaces.builtin import APPEARANCE, BATCH, IDENTITY
from curate.run.steps import Steps
from curate.stages.backend import unit
from curate.storage.build import Build
from curate.storage.files import digest, sha256_file
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done
from curate.storage.parquet import open_parquet

VERSION = "2"
"""Raised when the same backbone comes to other vectors."""
CENTRED = 1024
"""Faces whose mean is taken off at most."""
SIDE = 224
"""Side of the pictures that a backbone gets where its run does not say."""


class Embedder:
    """A trained backbone as a space: stored crops in, unit vectors out.

    Features of all faces share a direction, which makes every cosine high and says nothing; `centre` is taken off them.

    Raises:
        UsageError: the file is missing, is no backbone, or its run's recipe cannot be read.
    """

    def __init__(self, path: Path, device: str, batch: int = BATCH, centre: Sequence[float] | None = None) -> None:
        self._network = weights.load_backbone(path).to(device).eval()
        self._device, self._batch = device, batch
        self.dimension = self._network.feature_dim
        self.arch = weights.architecture(self._network.state_dict())
        self.file, self.sha256 = str(path.resolve()), sha256_file(path)
        run = path.parent / "config.yaml"
        recipe = config.load(run) if run.is_file() else config.PretrainRecipe()
        self.side = max(view.size for view in recipe.views()) if run.is_file() else SIDE
        mean, std = normalisation_of(path)
        self.augment = recipe.augment.model_copy(update={"mean": mean, "std": std})
        self.centre = np.zeros(self.dimension, np.float32) if centre is None else np.asarray(centre, np.float32)

    def __call__(self, crops: Pixels) -> NDArray[np.float32]:
        """float32 [n, dimension], unit rows, for crops uint8 [n, side, side, 3]: what is left without the centre."""
        return _unit(self.features(crops) - self.centre)

    def features(self, crops: Pixels) -> NDArray[np.float32]:
        """float32 [n, dimension], unit rows: what the network says of the crops."""
        parts = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(crops), self._batch):
            pictures = torch.from_numpy(crops[start : start + self._batch]).to(self._device)
            with torch.inference_mode():
                parts.append(self._network(augment.plain(pictures, self.side, self.augment)).float().cpu().numpy())
        return _unit(np.concatenate(parts))

    def centred(self, built: Build, name: str, steps: Steps) -> Embedder:
        """The same with the mean of the build's faces as its centre, each video counting alike.

        It is found once for a space and a backbone, so that a build that grows keeps its vectors.
        """

        def work() -> dict[str, Any]:
            videos = np.unique(
                built.faces(["video_id"])["video_id"].to_numpy(zero_copy_only=False), return_inverse=True
            )
            rows = calibrate.spread(videos[1], CENTRED, built.info.seed)
            features = self.features(np.stack(calibrate.crops_of(built, rows)))
            return {"centre": features.mean(0, dtype=np.float64).round(6).tolist()}

        found = steps.run(f"centre/{name}", [VERSION, self.sha256, self.side], [], work)
        there = copy.copy(self)
        there.centre = np.array(found["centre"], np.float32)
        return there


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """At length 1; a face without any feature gets a direction all the same."""
    silent = np.linalg.norm(vectors, axis=1, keepdims=True) < 1e-12
    return unit(np.where(silent, np.float32(1), vectors))


def check_name(name: str) -> None:
    """Refuses what no space of a backbone can be called.

    Raises:
        UsageError: the name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name) or name in (APPEARANCE, IDENTITY):
        raise UsageError(
            f"--space {name}: a name of small letters, digits, _ and - is wanted, "
            f"other than {APPEARANCE} and {IDENTITY}"
        )


def space_of(name: str, embedder: Embedder, margin: float) -> SpaceInfo:
    """The space of a backbone on crops of `margin`, before its threshold is known."""
    centre = embedder.centre.astype(np.float64).round(6).tolist()
    how = [list(embedder.augment.mean), list(embedder.augment.std), embedder.side, margin, centre]
    return SpaceInfo(
        name,
        embedder.dimension,
        VERSION,
        1.0,
        f"{embedder.arch} of {Path(embedder.file).name} on the stored crop, {embedder.side} x {embedder.side}, "
        "without the faces' mean, at length 1",
        digest([VERSION, embedder.sha256, embedder.arch, how]),
        {"backbone": {"file": embedder.file, "sha256": embedder.sha256, "arch": embedder.arch, "centre": centre}},
    )


def embed(out: Path, space: SpaceInfo, vectors: Callable[[], calibrate.Vectors], done: Collection[Done]) -> None:
    """Writes `embeddings/<space>/` for all faces of a build; what a killed run left is kept.

    Args:
        vectors: makes the function that embeds; called only where something is missing.
        done: the sources with faces, in list order.
    """
    pieces = out / "work" / "pieces"
    missing = stored.missing_vectors(out, space, pieces, done)
    if missing:
        limit_threads(cores())
        into = vectors()
        total = sum(one.record.faces for one in done)
        with progress.stage(f"embedding {space.name}", total, "faces") as advance:
            advance(total - sum(_rows(place) for place, _ in missing), "")
            for place, path in missing:
                advance(stored.write_vectors(place, path, space.dimension, into), "")
    stored.pack_vectors(out, space, pieces, done)


def calibrated(
    built: Build, space: SpaceInfo, vectors: Callable[[], calibrate.Vectors], threshold: float | None, steps: Steps
) -> SpaceInfo:
    """The space with its threshold: the user's, or the one that `calibrate` finds for the vectors that are there."""
    if threshold is not None:
        return replace(space, threshold=threshold, more={**space.more, "calibration": None})
    info = built.info
    margin = info.recipe["crop"]["margin"]

    def work() -> dict[str, Any]:
        progress.say(f"calibrating {space.name}: edits of {calibrate.EDITED} faces, pairs of expressions and people")
        return dict(calibrate.calibrate(built, space.name, vectors(), margin, info.seed).summary())

    faces = sorted(path.name for path in built.face_files())
    found = steps.run(f"calibration/{space.name}", [calibrate.VERSION, space.key, faces], [], work)
    return replace(space, threshold=found["threshold"], more={**space.more, "calibration": found})


def refreshed(out: Path, done: Collection[Done], device: str) -> list[SpaceInfo]:
    """The spaces of trained backbones that a build has, brought up to date with its faces.

    One whose backbone has gone or changed since, and whose vectors do not fit the faces any more, is removed.
    """
    if not (out / "build.json").is_file():
        return []
    kept = []
    for name, space in Build(out).info.spaces.items():
        backbone = space.more.get("backbone")
        if backbone is None:
            continue
        file = Path(backbone["file"])
        same = space.version == VERSION and _same(file, backbone["sha256"])
        if same or not stored.missing_vectors(out, space, out / "work" / "pieces", done):
            embed(out, space, partial(Embedder, file, device, centre=backbone.get("centre")), done)
            kept.append(space)
        else:
            progress.say(
                f"space {name}: removed, for there are new faces, and {file} has gone or changed, or curate embeds "
                "otherwise; curate embed makes it again"
            )
            shutil.rmtree(out / "embeddings" / name, ignore_errors=True)
            for left in (out / "clusters" / f"{name}.parquet", out / f"redundancy-{name}.json"):
                left.unlink(missing_ok=True)
    return kept


def _same(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _rows(place: pack.RowGroups) -> int:
    layout = open_parquet(place.path).metadata
    return sum(layout.row_group(group).num_rows for group in place.groups)
