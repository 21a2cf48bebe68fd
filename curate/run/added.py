"""`curate embed`: a backbone that was trained here becomes a space of a build, calibrated, covered and kept up to date.

A later `curate build` into the same folder goes on with such a space: it embeds what is new with the same file, and
drops the space, with a line, where the file has gone or changed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.hardware import cores, limit_threads
from curate.pretrain import config, weights
from curate.pretrain.augment.tensors import normalize
from curate.records import Pixels
from curate.run import calibrate, pack, progress, reembed
from curate.run.spaces import APPEARANCE, IDENTITY, Space
from curate.run.steps import Steps
from curate.run.video import piece
from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.files import digest, sha256_file
from curate.storage.ledger import Done

VERSION = "1"
"""Raised when the same backbone comes to other vectors."""
BATCH = 64
SIDE = 224
"""Side of the pictures that a backbone gets where its run does not say."""


class Embedder:
    """A trained backbone as a space: stored crops in, unit vectors out.

    Raises:
        UsageError: the file is missing, is no backbone, or its run's recipe cannot be read.
    """

    def __init__(self, path: Path, device: str, batch: int = BATCH) -> None:
        self._network = weights.load_backbone(path).to(device).eval()
        self._device, self._batch = device, batch
        self.dimension = self._network.feature_dim
        self.arch = weights.architecture(self._network.state_dict())
        run = path.parent / "config.yaml"
        recipe = config.load(run) if run.is_file() else config.Recipe()
        self.side = max(view.size for view in recipe.views()) if run.is_file() else SIDE
        self.augment = recipe.augment

    def __call__(self, crops: Pixels) -> NDArray[np.float32]:
        """float32 [n, dimension], unit rows, for crops uint8 [n, side, side, 3]."""
        parts = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(crops), self._batch):
            pictures = torch.from_numpy(crops[start : start + self._batch]).to(self._device)
            with torch.inference_mode():
                features = self._network(self._prepared(pictures)).float()
                silent = features.norm(dim=1, keepdim=True) < 1e-12  # such a face gets a direction all the same
                parts.append(F.normalize(torch.where(silent, 1.0, features)).cpu().numpy())
        return np.concatenate(parts)

    def _prepared(self, pictures: torch.Tensor) -> torch.Tensor:
        images = pictures.permute(0, 3, 1, 2).float() / 255
        if images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        return normalize(images, self.augment)


def space_of(name: str, path: Path, embedder: Embedder, margin: float) -> Space:
    """The space of a backbone, before its threshold is known.

    Raises:
        UsageError: the name cannot be one.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name) or name in (APPEARANCE, IDENTITY):
        raise UsageError(
            f"--space {name}: a name of small letters, digits, _ and - is wanted, "
            f"other than {APPEARANCE} and {IDENTITY}"
        )
    sha256 = sha256_file(path)
    how = [list(embedder.augment.mean), list(embedder.augment.std), embedder.side, margin]
    return Space(
        name,
        embedder.dimension,
        VERSION,
        f"{embedder.arch} of {path.name} on the stored crop, {embedder.side} x {embedder.side}, at length 1",
        digest([VERSION, sha256, embedder.arch, how]),
        1.0,
        {"backbone": {"file": str(path.resolve()), "sha256": sha256, "arch": embedder.arch}},
    )


def embed(out: Path, space: Space, vectors: Callable[[], reembed.Vectors], done: list[Done]) -> int:
    """Writes `embeddings/<space>/` for all faces of a build; a killed run is gone on with.

    Args:
        vectors: makes the function that embeds; called only where something is missing.
        done: the sources with faces, in list order.

    Returns:
        Faces embedded this time.
    """
    pieces = out / "work" / "pieces"
    missing = reembed.wanted(out, space, pieces, done)
    count = 0
    if missing:
        limit_threads(cores())
        into = vectors()
        total = sum(one.record.faces for one in done)
        with progress.stage(f"embedding {space.name}", total, "faces") as advance:
            advance(total - sum(_rows(place) for place, _ in missing), "")
            for place, path in missing:
                written = reembed.write_vectors(place, path, space.dimension, into)
                count += written
                advance(written, "")
    pack.pack(
        out / "embeddings" / space.name,
        pack.plan([reembed.held(one, space) for one in done]),
        schemas.embeddings(space.dimension),
        lambda held: piece(pieces, held.video_id, space.key, space.name),
        lambda _: None,
    )
    return count


def calibrated(
    built: Build, space: Space, vectors: Callable[[], reembed.Vectors], threshold: float | None, steps: Steps
) -> Space:
    """The space with its threshold: the user's, or the one that `calibrate` finds for the vectors that are there."""
    if threshold is not None:
        return replace(space, threshold=threshold, more={**space.more, "calibration": None})
    info = built.info
    margin = info["recipe"]["crop"]["margin"]

    def work() -> dict[str, Any]:
        progress.say(f"calibrating {space.name}: edits of {calibrate.EDITED} faces, pairs of expressions and people")
        return dict(calibrate.calibrate(built, space.name, vectors(), margin, info["seed"]).summary())

    faces = sorted(path.name for path in built.face_files())
    found = steps.run(f"calibration/{space.name}", [calibrate.VERSION, space.key, faces], [], work)
    return replace(space, threshold=found["threshold"], more={**space.more, "calibration": found})


def refreshed(out: Path, done: list[Done], device: str) -> list[Space]:
    """The spaces of trained backbones that a build has, brought up to date with its faces.

    One whose backbone has gone or changed since, and whose vectors do not fit the faces any more, is removed.
    """
    if not (out / "build.json").is_file():
        return []
    kept = []
    for name, summary in Build(out).info["spaces"].items():
        if "backbone" not in summary:
            continue
        space = Space.told(name, summary)
        file = Path(summary["backbone"]["file"])
        if not reembed.wanted(out, space, out / "work" / "pieces", done) or _same(file, summary["backbone"]["sha256"]):
            embed(out, space, partial(Embedder, file, device), done)
            kept.append(space)
        else:
            progress.say(
                f"space {name}: removed, for there are new faces and {file} has gone or changed; "
                "curate embed makes it again"
            )
            shutil.rmtree(out / "embeddings" / name, ignore_errors=True)
            for left in (out / "clusters" / f"{name}.parquet", out / f"redundancy-{name}.json"):
                left.unlink(missing_ok=True)
    return kept


def _same(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _rows(place: pack.Place) -> int:
    import pyarrow.parquet as pq

    layout = pq.read_metadata(place.path)
    return sum(layout.row_group(group).num_rows for group in place.groups)
