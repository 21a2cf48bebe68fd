"""`build.json`: what a build is made of, so that anyone can make it again and check that nothing was changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate import __version__
from curate.hardware import version_of
from curate.recipe import BuildRecipe
from curate.run import funnel
from curate.run.context import BuildContext
from curate.stages.detect import Backend
from curate.storage.build import Build
from curate.storage.documents import write_json
from curate.storage.files import digest
from curate.storage.hashes import hashes
from curate.storage.info import BackendInfo, BuildCounts, BuildInfo

VERSION = 3
"""Raised when `build.json`, the report or the card of the same build change."""

LIBRARIES = (
    *("av", "decord2", "dlib-bin", "faiss-cpu", "imagehash", "insightface", "numpy"),
    *("onnxruntime", "opencv-python", "pyarrow", "scenedetect", "torch", "yt-dlp"),
)


def summarise(context: BuildContext, content: str, refused: list[str]) -> None:
    """Writes `build.json` where something has changed.

    Args:
        content: hash of what was found and decided.
        refused: manifests that cannot be had, a line each.
    """
    built, recipe, steps = context.built, context.recipe, context.steps
    path = built.path / "build.json"

    def work() -> None:
        counts, seconds, dropped = _counts(context)
        info = BuildInfo(
            curate=__version__,
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            content_hash=content,
            source=context.source,
            seed=recipe.seed,
            recipe=recipe.model_dump(mode="json"),
            counts=counts,
            dropped=dict(sorted(dropped.items())),
            backend=context.backend,
            spaces=context.state(content).spaces,
            refused=refused,
            seconds={name: round(value, 3) for name, value in {**seconds, **steps.seconds}.items()},
            # without those that are not there: faiss-gpu may stand in for faiss-cpu
            versions={name: version for name in LIBRARIES if (version := version_of(name))},
            files=_hashes(built.path),
        ).to_dict()
        del info["digest"]
        write_json(path, info | {"digest": digest(info)})

    before = {name: steps.key(name) for name in steps.names() if name not in ("summary", "report", "card")}
    depends = [VERSION, context.source, content, recipe.model_dump(mode="json"), refused, before]
    steps.run("summary", depends, [path], work)


def backend_info(backend: Backend) -> BackendInfo:
    """What `build.json` says of the face backend."""
    return BackendInfo(backend.name, [dataclasses.asdict(model) for model in backend.models])


FIRST_STAGE = {
    "fps": "decoding",
    "decode": "decoding",
    "shots": "decoding",
    "faces": "decoding",
    "crop": "decoding",
    "embed.identity": "decoding",
    "embed": "embedding",
    "dedupe": "clusters",
    "manifests": "manifests",
    "seed": "manifests",
}
"""Section or key of the recipe -> the first stage that follows from it; `fetch` changes nothing that is done."""

PLACES = ("backend", "models", "pack")
"""Keys of the section `faces` that say where models lie; what decides the faces is the models' bytes."""
UNDECIDING = frozenset({"embed.device", *(f"faces.{place}" for place in PLACES)})
"""Keys whose change alone changes nothing that is done."""


def changes(out: Path, recipe: BuildRecipe, backend: BackendInfo) -> list[str]:
    """What differs from the recipe of the finished build in `out`, a line each, with what is done again for it."""
    if not (out / "build.json").exists():
        return []
    info = Build(out).info
    old, models = _flat(info.recipe), info.backend
    new = _flat(recipe.model_dump(mode="json"))
    lines = [
        f"recipe: {key} was {old.get(key)}, is {new[key]}: {_redone(key)}"
        for key in sorted(new.keys() - UNDECIDING)
        if key.partition(".")[0] in FIRST_STAGE and old.get(key) != new[key]
    ]
    if models.decisive() != backend.decisive():
        lines.append(f"models: were those of {models.name}, are others of {backend.name}: {_redone('faces')}")
    return lines


def _redone(key: str) -> str:
    stage = FIRST_STAGE.get(key) or FIRST_STAGE[key.partition(".")[0]]
    return f"{stage} and all after it is redone"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _counts(context: BuildContext) -> tuple[BuildCounts, dict[str, float], Counter[str]]:
    """How much there is of everything, seconds by stage, and detections that were dropped, by reason."""
    built = context.built
    status = Counter(built.videos["status"].to_pylist())
    seconds: dict[str, float] = {}
    dropped: Counter[str] = Counter()
    sampled = damaged = faces = 0
    for one in context.done:
        for stage, value in one.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        dropped.update(one.dropped)
        faces += one.record.faces
        if info := one.record.info:
            sampled, damaged = sampled + info.frames_sampled, damaged + info.frames_damaged
    counts = BuildCounts(
        sources=len(context.done),
        ok=status["ok"],
        no_faces=status["no_faces"],
        duplicate=status["duplicate"],
        failed=status["failed"],
        frames_sampled=sampled,
        frames_damaged=damaged,
        faces=faces,
        clusters={space.name: pc.sum(built.clusters(space.name)["representative"]).as_py() for space in context.spaces},
        spread=funnel.face_counts(built),
    )
    return counts, seconds, dropped


def _hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file that the build consists of, so that `verify` finds a flipped byte."""
    paths = [*folder.rglob("*.parquet"), *folder.glob("*.json"), *(folder / "manifests").glob("*.json")]
    work = folder / "work"
    names = {path.relative_to(folder).as_posix() for path in paths if work not in path.parents}
    names -= {"build.json", "decontamination.parquet"}  # what is written after it
    return hashes(folder, sorted(names))
