"""`curate forget`: takes people out of a build, whole or not at all.

A copy of the build (hard links) is made beside it; rows, crops, vectors, downloads and ledger lines go there, all that
is decided over the whole build is decided again, and the copy takes the build's place in one step. `forgotten.json`
keeps the next build of the same list from bringing anything back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curate import progress
from curate.errors import CurateError, UsageError
from curate.pretrain import page as run_page
from curate.pretrain.provenance import registered
from curate.recipe import BuildRecipe
from curate.run import collect, pack
from curate.run.build import concluded, held, list_of
from curate.run.context import BuildContext
from curate.run.pieces import piece, stripped
from curate.run.spaces import crops
from curate.stages.fetch import name_of
from curate.storage import schemas
from curate.storage.build import Build, open_build
from curate.storage.exchange import exchanged
from curate.storage.files import TEMPORARY
from curate.storage.forgotten import Forgotten, ForgottenFace
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Done, Ledger, LedgerRows
from curate.storage.manifest import open_manifest
from curate.storage.parquet import metadata_of, open_parquet, read_table, rows_where, write_batches, write_table

LEDGER = Path("work/ledger.sqlite")


@dataclass(frozen=True)
class Asked:
    """What shall be taken down: sources as the list names them, ids of videos, ids of faces."""

    sources: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    faces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What would go.

    Attributes:
        forgotten: videos and faces of videos that stay.
        face_ids: of all faces that go.
        runs: folders of runs that learned from one of them; of those in `unknown` the manifest is gone or changed.
    """

    forgotten: Forgotten
    face_ids: tuple[str, ...]
    runs: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class ForgetOutcome:
    """A build without them.

    Attributes:
        manifests: files of `manifests/` that were cut again.
        gone: a line for each manifest that cannot be had any more.
    """

    plan: Plan
    manifests: tuple[str, ...]
    gone: tuple[str, ...]


def plan(built: Build, asked: Asked) -> Plan:
    """Resolves what is asked for; changes nothing.

    Raises:
        UsageError: the build has no such source, video or face.
    """
    rows = built.videos.select(["video_id", "source"]).to_pylist()
    videos = {row["video_id"] for row in rows if row["source"] in asked.sources} | set(asked.videos)
    _check("--source", asked.sources, {row["source"] for row in rows}, built.path)
    _check("--video", asked.videos, {row["video_id"] for row in rows}, built.path)
    faces = built.faces(["face_id", "video_id", "time_s", "bbox"])
    _check("--face", asked.faces, faces["face_id"], built.path)
    single = faces.filter(pc.is_in(faces["face_id"], pa.array(asked.faces, pa.string()))).to_pylist()
    found = tuple(
        ForgottenFace(row["face_id"], row["video_id"], row["time_s"], tuple(row["bbox"]))
        for row in single
        if row["video_id"] not in videos
    )
    whole = faces.filter(pc.is_in(faces["video_id"], pa.array(sorted(videos), pa.string())))["face_id"].to_pylist()
    face_ids = (*whole, *(face.face_id for face in found))
    if len(face_ids) == len(faces):
        raise UsageError(f"{built.path}: no face would be left; delete the folder instead")
    runs, unknown = _runs(built.path, set(face_ids))
    return Plan(Forgotten(tuple(sorted(videos)), found), face_ids, runs, unknown)


def _check(option: str, asked: Iterable[str], there: Iterable[str] | pa.ChunkedArray, where: Path) -> None:
    for name in asked:
        known = pc.any(pc.equal(there, name)).as_py() if isinstance(there, pa.ChunkedArray) else name in there
        if not known:
            raise UsageError(f"{option} {name}: {where} has none of that name; videos.parquet and faces/ list them")


def _runs(build: Path, face_ids: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The runs that learned from some faces, and those of which that cannot be said."""
    wanted = pa.array(sorted(face_ids), pa.string())
    saw, unknown = [], []
    for line in registered(build):
        try:
            manifest = open_manifest(line["manifest"])
            if manifest.sha256 != line["manifest_sha256"]:
                raise UsageError("changed")
            if pc.any(pc.is_in(manifest.column("face_id"), wanted)).as_py():
                saw.append(line["run"])
        except CurateError:
            unknown.append(line["run"])
    return tuple(dict.fromkeys(saw)), tuple(dict.fromkeys(unknown))


def forget(path: Path, asked: Asked) -> ForgetOutcome:
    """Takes down what is asked for.

    Args:
        path: of a finished build on a local disk.

    Raises:
        UsageError: there is no such source, video or face, or nothing would be left.
        StorageError: the disk is full; the build stays as it was.
    """
    built = open_build(path)
    with held(path):
        decided = plan(built, asked)
        lost = {*decided.runs, *decided.unknown}
        for run in lost:
            (Path(run) / run_page.NAME).unlink(missing_ok=True)  # it may show them
        with exchanged(path, _linked(path, decided.forgotten)) as copy:
            _copy_ledger(path / LEDGER, copy / LEDGER)
            gone = _removed(copy, decided)
    for run in lost:
        _new_page(Path(run))
    cut = sorted(file.name for file in (path / "manifests").glob("*.parquet"))
    return ForgetOutcome(decided, tuple(cut), tuple(gone))


@dataclass(frozen=True)
class _Linked:
    """Which files the copy of a build takes over: no lock, no ledger, nothing half-written, no download of theirs."""

    path: Path
    downloads: tuple[str, ...]

    def __call__(self, file: Path) -> bool:
        inside = file.relative_to(self.path)
        if inside.parts[0] == "work" and (file.name == "lock" or file.name.startswith(LEDGER.name)):
            return False
        if inside.parts[:2] == ("work", "pieces") or TEMPORARY in file.name:
            return False
        return not (inside.parts[:2] == ("work", "media") and file.name.startswith(self.downloads))


def _linked(path: Path, forgotten: Forgotten) -> _Linked:
    touched = {*forgotten.videos, *(face.video_id for face in forgotten.faces)}
    rows = Build(path).videos.select(["video_id", "source"]).to_pylist()
    names = {name_of(row["source"]) for row in rows if row["video_id"] in touched}
    return _Linked(path, tuple(f"{name}." for name in names))


def _copy_ledger(old: Path, new: Path) -> None:
    """A whole copy of the ledger, also of what another process has not moved into its file yet."""
    if not old.exists():
        raise UsageError(f"{old}: the ledger of this build is missing; run the same curate build again")
    new.parent.mkdir(parents=True, exist_ok=True)
    source, target = sqlite3.connect(old), sqlite3.connect(new)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()


def _removed(copy: Path, decided: Plan) -> list[str]:
    """Does it in the copy: ledger, rows, vectors, tables; then all that is decided over the whole build."""
    built, forgotten = Build(copy), decided.forgotten
    info, ids = built.info, built.videos["video_id"].to_pylist()
    spaces = list(info.spaces.values())
    pieces = collect.folders(copy)[1]
    with held(copy) as steps:
        Forgotten.of(copy).and_more(forgotten).write(copy)
        kept = LedgerRows(copy / LEDGER, [video_id for video_id in ids if video_id not in forgotten.videos])
        with Ledger(copy / LEDGER) as ledger:
            if sum(1 for _ in ledger.rows(ids)) != len(ids):
                raise UsageError(f"{copy / LEDGER}: lacks a source; run the same curate build again")
            for done in kept:
                if forgotten.of_video(done.record.video_id):
                    ledger.put(_without(copy, done, spaces, pieces))
            ledger.remove(forgotten.videos)
        _repacked(copy, replace(kept, with_faces=True), spaces, pieces)
        for table in copy.glob("*.parquet"):
            if table.name != "videos.parquet":
                _filtered(table, decided)
        recipe = BuildRecipe.model_validate(info.recipe)
        listed = rows_where(list_of(built), [video_id not in forgotten.videos for video_id in ids])
        context = BuildContext(Build(copy), kept, recipe, info.backend, spaces, steps, info.source, listed)
        return concluded(context).refused


def _without(copy: Path, done: Done, spaces: Sequence[SpaceInfo], pieces: Path) -> Done:
    """A source without its forgotten faces; its other rows become pieces again, to be packed."""
    _unpacked(copy / "faces", collect.faces_key(done), done, piece(pieces, done.record.video_id, done.key, "faces"))
    for space in spaces:
        key = crops.rows_of(done, space).key
        target = piece(pieces, done.record.video_id, space.key, space.name)
        _unpacked(copy / "embeddings" / space.name, key, done, target)
    return stripped(done, Forgotten.of(copy), spaces, pieces)


def _unpacked(folder: Path, key: str, done: Done, target: Path) -> None:
    place = pack.index_rows(folder)[(done.record.video_id, key)]
    write_batches(target, open_parquet(place.path).schema_arrow, pack.row_groups(place))


def _repacked(copy: Path, with_faces: LedgerRows, spaces: Sequence[SpaceInfo], pieces: Path) -> None:
    rows = [collect.rows_of(done) for done in with_faces]
    with progress.stage("packing faces", sum(one.rows for one in rows), "faces") as advance:
        pack.pack(
            copy,
            "faces",
            pack.plan(rows),
            schemas.FACES,
            lambda rows: piece(pieces, rows.video_id, rows.key, "faces"),
            lambda count: advance(count),
        )
    for space in spaces:
        crops.pack_vectors(copy, space, pieces, with_faces)


def _filtered(path: Path, decided: Plan) -> None:
    """Takes rows that name what goes out of any other table of the build."""
    table = read_table(path)
    keep = None
    for column in table.column_names:
        gone = decided.forgotten.videos if column in ("video_id", "duplicate_of") else decided.face_ids
        if pa.types.is_string(table.schema.field(column).type):
            other = pc.invert(pc.is_in(table[column], pa.array(gone, pa.string())))
            keep = other if keep is None else pc.and_(keep, other)
    if keep is not None and not pc.all(keep).as_py():
        write_table(path, table.filter(keep), metadata_of(path))


def _new_page(run: Path) -> None:
    """The page of a run again, without what is gone; a run that is no longer there needs none."""
    if (run / "config.yaml").exists():
        try:
            run_page.write(run)
        except CurateError as error:
            progress.say(f"{run}: its page could not be written again ({error})")
