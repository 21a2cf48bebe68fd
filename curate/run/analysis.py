"""Decisions over the whole build: who is a near-duplicate of whom, which videos are copies, how redundant it all is."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from curate import progress
from curate.choices import FORMER, Order
from curate.dedupe import curve as curve_
from curate.dedupe.coverage import coverage
from curate.dedupe.stored import write_cover
from curate.errors import UsageError
from curate.hardware import device
from curate.manifests import shared
from curate.manifests.candidates import Candidates, Criteria, candidates
from curate.manifests.filters import Filters
from curate.manifests.index import manifests_in, write_index
from curate.manifests.requested import cut_requested
from curate.run.context import BuildContext
from curate.run.spaces.builtin import APPEARANCE, IDENTITY
from curate.storage.build import Build, redundancy_file
from curate.storage.documents import write_json
from curate.storage.files import digest
from curate.storage.hashes import hashes
from curate.storage.info import BuildState, SpaceInfo
from curate.storage.manifest import ManifestMetadata
from curate.storage.parquet import named_in, open_parquet, read_table, table_digest

VERSION = 2
"""Raised when the decisions on the same vectors change."""
CURVE_VERSION = 2
"""Raised when `redundancy.json` of the same faces changes."""


def parts(built: Build, folder: str) -> list[str]:
    """Names of the packed files below `folder`; they say what the files hold."""
    return sorted(str(path.relative_to(built.path)) for path in (built.path / folder).rglob("*.parquet"))


def clusters(context: BuildContext) -> None:
    """Writes `clusters/<space>.parquet` for each space."""
    built = context.built
    for space in context.spaces:
        path = built.path / "clusters" / f"{space.name}.parquet"

        def work(space: SpaceInfo = space, path: Path = path) -> None:
            progress.say(f"clustering {space.name} at cosine {space.threshold:g}")
            faces, vectors = built.faces(["face_id", "quality"]), built.vectors(space.name)
            write_cover(path, faces, vectors, space.threshold, device())

        depends = [VERSION, space.threshold, parts(built, "faces"), parts(built, f"embeddings/{space.name}")]
        context.steps.run(f"clusters/{space.name}", depends, [path], work)


def content_hash(context: BuildContext) -> str:
    """One digest of everything that was found and decided, whatever the time of day it was fetched.

    It covers the bytes of faces, embeddings and clusters, and the rows of `videos.parquet` without what a run happens
    to fetch and when (`retrieved_at`, `bytes_fetched`). Manifests carry it, so it cannot cover them.
    """
    built, steps = context.built, context.steps
    names = [name for folder in ("faces", "embeddings", "clusters") for name in parts(built, folder)]

    def work() -> str:
        rows = table_digest(built.videos.drop_columns(["retrieved_at", "bytes_fetched"]))
        return digest([list(pair) for pair in hashes(built.path, names).items()] + [rows])

    before = {name: steps.key(name) for name in steps.names() if name == "videos" or name.startswith("clusters/")}
    depends = [VERSION, names, before]
    return str(steps.run("content", depends, [], work))


def curve(context: BuildContext, content: str) -> None:
    """Writes `redundancy.json`, and `redundancy-<space>.json` for each space of a trained backbone."""
    built, recipe = context.built, context.recipe
    for space in context.spaces:
        if space.name == IDENTITY:  # a person is no picture; its redundancy says nothing
            continue
        path = built.path / redundancy_file(space.name)

        def work(space: SpaceInfo = space, path: Path = path) -> None:
            progress.say(f"measuring redundancy in {space.name} at all thresholds")
            measured = curve_.measure(built, space.name, space.threshold, recipe.fps)
            kept = built.clusters(space.name)["representative"].to_numpy(zero_copy_only=False)
            write_json(path, measured | {"coverage": coverage(built, kept)})

        depends = [VERSION, CURVE_VERSION, content, space.threshold, recipe.fps]
        context.steps.run(path.stem, depends, [path], work)


def manifests(context: BuildContext, content: str) -> list[str]:
    """Writes the manifests that the recipe asks for, and cuts again those that a user had cut into the build.

    Returns:
        One line for each that cannot be had, with what can.
    """
    built, recipe = context.built, context.recipe
    folder = built.path / "manifests"
    state = context.state(content)

    def work() -> list[str]:
        older, before = dict(manifests_in(built)), _thresholds(built)
        for path in sorted(set(folder.glob("*.parquet")) - older.keys()):
            progress.say(f"{path}: left as it is; it is no manifest that curate cut")
        asked = recipe.manifests
        laid = candidates(built, Criteria(APPEARANCE, seed=recipe.seed), state)
        written, refused = cut_requested(laid, asked.sizes, asked.redundancies)
        fresh = {manifest.path for manifest in written}
        for path, metadata in older.items():
            if path not in fresh:
                refused += _recut(built, path, metadata, before, state)
        write_index(built)
        return refused

    if not _whole(built):
        context.steps.forget("manifests")
    depends = [VERSION, content, recipe.manifests.model_dump(mode="json"), recipe.seed]
    return list(context.steps.run("manifests", depends, [], work))


def _whole(built: Build) -> bool:
    """Whether the index of manifests can be read and all that it names are there (`curate manifest` adds to it)."""
    try:
        for entry in built.manifests:
            open_parquet(built.path / "manifests" / entry["file"])
    except (UsageError, KeyError, TypeError):
        return False
    return True


def _thresholds(built: Build) -> dict[str, float]:
    """Space -> threshold in the build as it was when it last ended; nothing where it never did."""
    if not (built.path / "build.json").exists():
        return {}
    spaces = Build(built.path).info.spaces  # read apart: `built` must not remember what is about to change
    return {name: space.threshold for name, space in spaces.items()}


def _recut(
    built: Build, path: Path, metadata: ManifestMetadata, before: dict[str, float], state: BuildState
) -> list[str]:
    """Cuts a user's manifest again from what the build holds now; one that cannot be had any more goes, with a line.

    It keeps a threshold of its own; one that was cut at the build's (`before`) follows the build.
    """
    own = metadata.threshold != before.get(metadata.space)
    order = cast(Order, FORMER.get(metadata.order, metadata.order))
    filters = Filters(metadata.where, metadata.max_per_identity, fps=metadata.fps)
    balance = tuple(metadata.balance.split(",")) if metadata.balance else ()
    threshold = metadata.threshold if own else None
    criteria = Criteria(metadata.space, threshold, metadata.seed, order, filters, balance)
    try:
        if metadata.identities_not_in is not None:
            raise UsageError("was cut against another manifest; cut it again with curate manifest")
        if metadata.rule == shared.RULE:
            return _kept_by_id(path, candidates(built, criteria, state))
        if metadata.redundancy_target is None:
            raise UsageError("was cut by a rule of a study; run the study again")
        candidates(built, criteria, state).cut(path, metadata.size, metadata.redundancy_target)
    except UsageError as error:
        path.unlink()
        return [f"{path.name}: {error}"]
    return []


def _kept_by_id(path: Path, laid: Candidates) -> list[str]:
    """Writes a shared manifest again of those of its faces that the build still offers; says how many it does not.

    Raises:
        UsageError: it offers none.
    """
    ids = read_table(path, ["face_id"])["face_id"]
    there = named_in(laid.ids, ids)
    rows = np.flatnonzero(there if laid.among is None else there & laid.among)
    if not rows.size:
        raise UsageError("none of the faces that were shared is left; run curate build --from-manifest again")
    laid.write(path, rows, None, shared.RULE)
    gone = len(ids) - rows.size
    return [f"{path.name}: {gone:,} of its {len(ids):,} faces are not there any more"] if gone else []
