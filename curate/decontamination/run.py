"""`curate decontaminate`: finds the faces of a build that match evaluation pictures, and notes them in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.decontamination import page
from curate.decontamination.matches import Nearest, identity_threshold, nearest
from curate.decontamination.pictures import crop_of, faces_of, sources_of
from curate.errors import UsageError
from curate.evaluate.pictures import PictureSource
from curate.manifests.decontaminated import NAME, CheckedSet, Decontamination, decontamination_of, digest_of
from curate.manifests.filters import aligned
from curate.progress import Progress, silent
from curate.recipe import BuildRecipe
from curate.records import Pixels
from curate.run.spaces.builtin import APPEARANCE, IDENTITY, vectors
from curate.stages import appearance
from curate.stages.detect import Backend, load_backend
from curate.storage import schemas
from curate.storage.build import Build, open_build
from curate.storage.files import exclusive_lock
from curate.storage.parquet import write_table

PICTURE, PERSON = "picture", "identity"

Matches = tuple[pa.Table, NDArray[np.int64]]
"""Rows of `decontamination.parquet`, and the number of the evaluation face of each."""


@dataclass(frozen=True)
class Options:
    """How evaluation pictures are compared.

    Attributes:
        dataset: how `curate evaluate` names the set; None: all picture files below the folder.
        threshold: cosine from which a face, as it is or mirrored, is an evaluation picture; None: that from which
            the space calls a face a copied one.
        identity: whether people are compared, too.
        identity_threshold: cosine from which two faces are one person; None: derived from strangers in the build.
        models: the insightface root, where it is not where the build was made.
    """

    dataset: str | None = None
    threshold: float | None = None
    identity: bool = False
    identity_threshold: float | None = None
    models: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes:
        record: what was compared, as the build now says it.
        pictures, people: faces of the build that go for either reason; clusters and persons go as a whole.
        replaced: folders of an earlier comparison that are not among those of this one.
        page: matches side by side.
    """

    record: Decontamination
    pictures: int
    people: int
    replaced: tuple[str, ...]
    page: Path


def decontaminate(
    path: str | Path, against: Sequence[Path], options: Options | None = None, progress: Progress = silent
) -> Outcome:
    """Compares a build with evaluation pictures; manifests that are cut afterwards leave out what matches.

    Writes `decontamination.parquet` and `decontamination.html` into the build, over those of an earlier comparison.

    Args:
        path: a finished build.
        against: folders with evaluation pictures.

    Raises:
        UsageError: the build, a folder or an option cannot be used, or people are asked for and the build has none.
    """
    options = options or Options()
    if options.threshold is not None and not 0 < options.threshold <= 1:
        raise UsageError(f"--threshold {options.threshold}: wanted is a cosine above 0 and at most 1")
    built = open_build(path)
    recipe = BuildRecipe.model_validate(built.info.recipe)
    space = _space(built, recipe)
    alike = options.threshold or space.copied
    backend = _backend(built, recipe, options)
    wanted = (APPEARANCE, IDENTITY) if options.identity else (APPEARANCE,)

    def describe(crops: Pixels, own: Backend) -> dict[str, NDArray[np.float32]]:
        return {name: vectors(name, crops, own, recipe) for name in wanted}

    sets, faces = [], []
    pictures: dict[str, PictureSource] = {}
    for folder, sources in [(folder, sources_of(folder, options.dataset)) for folder in against]:
        with progress(f"faces of {folder}", len(sources), "pictures") as advance:
            one = faces_of(sources, lambda: _backend(built, recipe, options), recipe, describe, advance)
        sets.append(one)
        faces += [(f"{folder}/{name}", number) for name, number in one.faces]
        pictures |= {f"{folder}/{name}": picture for name, picture in sources}
    if not faces:
        raise UsageError(f"--against {against[0]}: no face is found in any picture; is it a set of faces?")
    checked = tuple(
        CheckedSet(str(folder), digest_of(folder), one.pictures, one.without_face, one.unreadable)
        for folder, one in zip(against, sets, strict=True)
    )
    asked = {name: np.concatenate([one.vectors[name] for one in sets if one.faces]) for name in wanted}
    names = [name for name, _ in faces]
    found = [_pictures(built, asked[APPEARANCE], names, space, alike)]
    threshold = expected = None
    if options.identity:
        threshold, expected, people = _people(built, asked[IDENTITY], names, options)
        found.append(people)
    record = Decontamination(built.info.content_hash, checked, alike, threshold, expected)
    table = pa.concat_tables([rows for rows, _ in found])
    match = np.concatenate([query for _, query in found])

    def crop(row: int) -> Pixels:
        name, number = faces[match[row]]
        return crop_of(pictures[name], number, backend, recipe)

    with exclusive_lock(built.path, built.path / "work" / "lock", "curate build"):
        replaced = _replaced(built, checked)
        write_table(built.path / NAME, table, record.to_dict())
        written = page.write(built, record, table, crop)
    by_picture, by_person = (int(pc.sum(pc.equal(table["by"], by)).as_py() or 0) for by in (PICTURE, PERSON))
    return Outcome(record, by_picture, by_person, replaced, written)


def _replaced(built: Build, checked: Sequence[CheckedSet]) -> tuple[str, ...]:
    """Folders that the build was compared with before and is not now."""
    try:
        before = decontamination_of(built)
    except UsageError:  # damaged, and replaced
        return ()
    now = {one.digest for one in checked}
    return tuple(one.folder for one in before[0].against if one.digest not in now) if before else ()


def _space(built: Build, recipe: BuildRecipe) -> appearance.Space:
    """That of the build.

    Raises:
        UsageError: this curate makes another version; vectors of two cannot be compared.
    """
    theirs, space = built.info.spaces[APPEARANCE].version, appearance.chosen(recipe.embed)
    if theirs != space.version:
        raise UsageError(
            f"{built.path}: its {APPEARANCE} vectors are of version {theirs}, this curate makes {space.version}; "
            "run the same curate build again, which describes the stored crops anew"
        )
    return space


def _backend(built: Build, recipe: BuildRecipe, options: Options) -> Backend:
    """The networks that the build was made with.

    Raises:
        UsageError: they are not here; vectors of others could not be compared.
    """
    chosen = recipe.faces.model_copy(
        update={"backend": built.info.backend.name, "models": options.models or recipe.faces.models}
    )
    backend = load_backend(chosen, recipe.crop)
    ours = backend.name, sorted(model.sha256 for model in backend.models)
    if ours != built.info.backend.decisive():
        raise UsageError(f"--models: {built.path} was made with other models than those; name the folder that it used")
    if options.identity and IDENTITY not in built.spaces:
        raise UsageError(f"--identity: {built.path} has no identity space; compare pictures alone")
    return backend


def _pictures(
    built: Build, asked: NDArray[np.float32], names: list[str], space: appearance.Space, threshold: float
) -> Matches:
    found = nearest(built.vectors(APPEARANCE), asked, appearance.mirrored(asked, space))
    return _rows(built, APPEARANCE, PICTURE, found, names, found.cosine >= threshold)


def _people(
    built: Build, asked: NDArray[np.float32], names: list[str], options: Options
) -> tuple[float, float | None, Matches]:
    stored = built.vectors(IDENTITY)
    kept = built.clusters(IDENTITY)["representative"].to_numpy(zero_copy_only=False)
    threshold, expected = options.identity_threshold, None
    if threshold is None:
        people = stored[np.flatnonzero(kept)]
        least = built.info.spaces[IDENTITY].threshold
        threshold, expected = identity_threshold(people, len(asked) * len(people), least, built.info.seed)
    found = nearest(stored, asked, asked[:0])
    return threshold, expected, _rows(built, IDENTITY, PERSON, found, names, found.cosine >= threshold)


def _rows(built: Build, space: str, by: str, found: Nearest, names: list[str], direct: NDArray[np.bool_]) -> Matches:
    """The faces that match, and those that stand in one cluster with any of them."""
    ids = built.faces(["face_id"])["face_id"]
    cluster = aligned(built.clusters(space), ids)["cluster"].to_numpy()
    rows = np.flatnonzero(np.isin(cluster, np.unique(cluster[direct])))
    columns = {
        "face_id": ids.take(pa.array(rows)),
        "by": pa.array([by] * len(rows), pa.string()),
        "match": pa.array([names[k] for k in found.query[rows].tolist()], pa.string()),
        "similarity": pa.array(found.cosine[rows]),
        "mirrored": pa.array(found.mirrored[rows]),
        "direct": pa.array(direct[rows]),
    }
    return pa.table(columns, schema=schemas.DECONTAMINATION), found.query[rows]
