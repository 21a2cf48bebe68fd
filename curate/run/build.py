"""`curate build`: from a list of videos to manifests, read top to bottom.

    sources -> workers (fetch, decode, shots, faces, vectors) -> pack -> clusters -> copies
            -> curve -> manifests -> report

Everything up to the pieces is remembered source by source in the ledger; everything after is a step over the whole
build, which runs again only where something that it depends on has changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from curate import progress
from curate.errors import BuildError, UsageError
from curate.hardware import check_used, cores, decoder, device, limit_threads
from curate.locations import is_local
from curate.recipe import BuildRecipe, Fetch
from curate.run import child_server, collect, fork_server, pack
from curate.run.cluster import LOCAL, Executor
from curate.run.context import BuildContext
from curate.run.early import early_packing, load, with_backbones
from curate.run.pieces import piece, stripped
from curate.run.spaces import crops
from curate.run.spaces.builtin import NetworkSettings, spaces_of
from curate.run.steps import Steps
from curate.run.summary import PLACES, VERSION, backend_info, changes, summarise
from curate.run.video import VideoTask
from curate.stages.detect import Backend, load_backend
from curate.stages.extent import too_few
from curate.stages.sources import OWN_COLUMNS, SourceList, read_list
from curate.storage import files, schemas
from curate.storage.build import Build, open_build
from curate.storage.exchange import remove_leftover
from curate.storage.files import digest, exclusive_lock, remove_temporaries
from curate.storage.forgotten import Forgotten
from curate.storage.info import SpaceInfo
from curate.storage.ledger import Ledger, LedgerRows
from curate.storage.parquet import rows_where
from curate.storage.remote import workplace
from curate.storage.vectors import return_large_blocks

FACES_VERSION = 8
"""Raised when a change to the stages changes what faces come out, so that old builds are redone."""


@dataclass(frozen=True)
class BuildOutcome:
    """How a build went.

    Attributes:
        refused: manifests that were asked for and cannot be had, each with what can, one line each.
        ran: steps over the whole build that had to run this time.
    """

    build: Build
    refused: list[str]
    ran: list[str]


def build(
    source: str | Path,
    out: str | Path,
    recipe: BuildRecipe | None = None,
    executor: Executor = LOCAL,
    retry: str | None = None,
) -> BuildOutcome:
    """Makes or resumes a build: what `curate build` does, with all that it leaves.

    Args:
        source: a list, a folder, one video or a URL.
        out: folder of the build, or a URL of fsspec's (`s3://bucket/build`), see `curate.storage.remote`.
        recipe: every choice (`curate.recipe.load`); None: the defaults.
        executor: where the sources are worked on.
        retry: kind of failure that is tried again, or `all`.

    Raises:
        UsageError: something that the user gave cannot be used.
        BuildError: no source at all could be read.
        StorageError: the disk is full; run again to resume.
    """
    collect.check_retry(retry)
    recipe, spec = recipe or BuildRecipe(), str(source)
    listed = read_list(spec)
    for note in listed.notes:
        progress.say(note)
    for line in too_few(listed.sources, recipe.fps, recipe.manifests.sizes):
        progress.say(line)
    if recipe.fetch != Fetch() or not all(is_local(one.location) for one in listed.sources):
        from curate.stages.fetch_check import check  # yt-dlp takes long to load

        check(recipe.fetch, listed.sources)
    if executor.local():
        fork_server.start()
    with child_server.serving(out, executor.local() > 0), workplace(out) as folder:
        return _build(folder, listed, absolute(spec), recipe, executor, retry)


def _build(
    out: Path, listed: SourceList, spec: str, recipe: BuildRecipe, executor: Executor, retry: str | None
) -> BuildOutcome:
    begun = time.perf_counter()
    check_folder(out)
    chosen = device(recipe.embed.device)
    backend = load_backend(recipe.faces, recipe.crop, chosen)
    if backend.name != "dlib" and (line := check_used(recipe.embed.device, chosen, backend.device)):
        progress.say(line)
    spaces = spaces_of(backend, recipe)
    with held(out) as steps:
        media, pieces = collect.folders(out.absolute())
        keys = {space.name: space.key for space in spaces}
        models = tuple(sorted(model.sha256 for model in backend.models))
        decoding = decoder(recipe.decode, chosen)
        task = VideoTask(recipe, _faces_key(recipe, backend, decoding), keys, chosen, media, pieces, models, decoding)
        for line in changes(out, recipe, backend_info(backend)):
            progress.say(line)
        forgotten = Forgotten.of(out)
        listed = _wanted(listed, forgotten)
        _conclude(out, finished=False)
        with Ledger(out / "work" / "ledger.sqlite") as ledger:
            packed = set(pack.index_rows(out / "faces"))
            todo = collect.pending(listed.sources, ledger, task, packed, retry)
            ids = [source.video_id for source in listed.sources]
            if todo:
                if executor.local() and chosen == "cpu":
                    child_server.start()
                waiting = {item.source.video_id for item in todo}
                steps.add("start", time.perf_counter() - begun)
                # What was taken down has to be taken out of pieces before.
                with early_packing(task, spaces, ids, waiting, ledger, none=bool(forgotten.faces)) as packing:
                    steps.add("waiting", collect.collect(todo, ledger, task, executor, len(ids), packing))
            done = LedgerRows(out / "work" / "ledger.sqlite", ids)
            if forgotten.faces:
                for one in done:
                    if forgotten.of_video(one.record.video_id):
                        ledger.put(stripped(one, forgotten, spaces, pieces))
        with steps.timed("packing"):
            _pack(out, done, task, spaces, executor)
        with steps.timed("loading"):
            load(out)
        if with_backbones(out):
            from curate.run.spaces import backbone as backbone_space

            spaces += backbone_space.refreshed(out, replace(done, with_faces=True), chosen)
        found = backend_info(backend)
        context = BuildContext(Build(out), done, recipe, found, spaces, steps, spec, listed.table())
        return concluded(context)


def embed(
    path: str | Path,
    backbone: str | Path,
    name: str,
    threshold: float | None = None,
    network: NetworkSettings = NetworkSettings(),  # noqa: B008 - frozen
) -> BuildOutcome:
    """`curate embed`: gives a finished build one more space, with its clusters, and notes it in `build.json`.

    Args:
        path: the build.
        backbone: its weights, as `curate pretrain` leaves them.
        name: of the space; one that is there is made again where the backbone differs.
        threshold: cosine of near-duplicates; None: calibrated, see `curate.calibration.calibrate`.

    Raises:
        UsageError: the build, the backbone, the name or the threshold cannot be used.
    """
    from curate.run.spaces import backbone as backbone_space

    backbone_space.check_name(name)
    with workplace(path) as folder:
        built = open_build(folder)
        info = built.info
        embedder = backbone_space.Embedder(Path(backbone), device(network.device), network.batch)
        recipe = BuildRecipe.model_validate(info.recipe)
        with held(folder) as steps:
            with Ledger(folder / "work" / "ledger.sqlite") as ledger:
                ids = built.videos["video_id"].to_pylist()
                known = sum(1 for _ in ledger.rows(ids))
            done = LedgerRows(folder / "work" / "ledger.sqlite", ids)
            if known != len(ids):
                raise UsageError(f"{folder}/work: the ledger of this build is missing; run the same curate build again")
            embedder = embedder.centred(built, name, steps)
            space = backbone_space.space_of(name, embedder, recipe.crop.margin)
            backbone_space.embed(folder, space, lambda: embedder, replace(done, with_faces=True))
            space = backbone_space.calibrated(built, space, lambda: embedder, threshold, steps)
            spaces = [other for other in info.spaces.values() if other.name != name] + [space]
            context = BuildContext(
                Build(folder), done, recipe, info.backend, spaces, steps, info.source, list_of(built)
            )
            return concluded(context)


def list_of(built: Build) -> pa.Table:
    """What the list said of each source of a build: `source`, and the list's own columns."""
    return built.videos.select([name for name in built.videos.column_names if name not in OWN_COLUMNS])


def _wanted(listed: SourceList, forgotten: Forgotten) -> SourceList:
    """The list without the sources that were taken down."""
    kept = [source.video_id not in forgotten.videos for source in listed.sources]
    if not all(kept):
        progress.say(f"{kept.count(False)} sources of the list were taken down (forgotten.json) and stay away")
    if not any(kept):
        raise UsageError("every source of the list was taken down (forgotten.json); name another list or folder")
    sources = [source for source, stays in zip(listed.sources, kept, strict=True) if stays]
    return replace(listed, sources=sources, columns=rows_where(listed.columns, kept))


@contextmanager
def held(out: Path) -> Iterator[Steps]:
    """Holds a build for this process, without what a killed one left half-written; yields its finished steps."""
    check_folder(out)
    with exclusive_lock(out, out / "work" / "lock", "curate build"):
        remove_temporaries(out)
        remove_leftover(out)
        yield Steps.load(out / "work" / "steps.json")


def concluded(context: BuildContext) -> BuildOutcome:
    """Everything that needs all faces at once."""
    with context.steps.timed("loading"):
        from curate.run import analysis, card, page, videos

    limit_threads(cores())
    return_large_blocks()
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps as much again as columns of short rows take
    _conclude(context.built.path, finished=False)
    analysis.clusters(context)
    videos.videos(context)
    content = analysis.content_hash(context)
    analysis.curve(context, content)
    refused = analysis.manifests(context, content)
    summarise(context, content, refused)
    path, steps = context.built.path, context.steps
    steps.run("report", [VERSION, steps.key("summary")], [path / page.NAME], lambda: str(page.write(path)))
    steps.run("card", [VERSION, steps.key("summary")], [path / card.NAME], lambda: str(card.write(path)))
    _conclude(path, finished=True)
    return BuildOutcome(Build(path), refused, steps.ran)


def _conclude(path: Path, *, finished: bool) -> None:
    """Notes for `curate status` whether the build is whole; times of files say nothing, clocks are set back."""
    with Ledger(path / "work" / "ledger.sqlite") as ledger:
        ledger.note((ledger.noted() or {}) | {"finished": finished})


def _pack(out: Path, done: LedgerRows, task: VideoTask, spaces: list[SpaceInfo], executor: Executor) -> None:
    """Moves pieces into `faces/` and `embeddings/`; embeds again what a changed space needs."""
    if all(d.record.status == "failed" for d in done):
        first = next(iter(done)).record
        raise BuildError(f"no source could be read ({len(done)} failed; {first.source}: {first.error})")
    with_faces = replace(done, with_faces=True)
    rows = [collect.rows_of(one) for one in with_faces]
    if not rows:
        raise BuildError(
            f"no face anywhere in {len(done)} videos; look for smaller ones with --set faces.min_size=16, "
            "weaker ones with --set faces.min_score=0.4, or with another detector (--faces)"
        )
    with progress.stage("packing faces", sum(one.rows for one in rows), "faces") as advance:
        pack.pack(
            out,
            "faces",
            pack.plan(rows),
            schemas.FACES,
            lambda rows: piece(task.pieces, rows.video_id, rows.key, "faces"),
            lambda count: advance(count, ""),
        )
    for space in spaces:
        crops.embed_missing(out, space, task, with_faces, executor)
        crops.pack_vectors(out, space, task.pieces, with_faces)
    for left in task.pieces.glob("*.parquet"):
        left.unlink()
    if task.pieces.is_dir() and not any(task.pieces.iterdir()):
        task.pieces.rmdir()


def absolute(spec: str) -> str:
    """The user's `--source` as it can be found again from any folder.

    Links are not followed: what a list names is relative to where the list seems to lie.
    """
    try:
        path = Path(spec).expanduser()
    except RuntimeError:  # ~nobody
        return spec
    return str(path.absolute()) if path.exists() else spec


def check_folder(out: Path) -> None:
    """Refuses a folder with things in it that no build wrote; see `curate.storage.files.check_folder`."""
    files.check_folder(out, "build", ("work", "build.json"))


def _faces_key(recipe: BuildRecipe, backend: Backend, decoding: str) -> str:
    """Digest of everything but the bytes of a video that decides its faces."""
    chosen = recipe.model_dump(mode="json", include={"fps", "shots", "faces", "crop"})
    for place in PLACES:
        del chosen["faces"][place]
    models = sorted(model.sha256 for model in backend.models)
    # tracks follow from identity vectors, where a build may have them
    chosen |= {"decode": decoding} if decoding != "cpu" else {}
    return digest([FACES_VERSION, chosen, backend.name, models, recipe.embed.identity])
