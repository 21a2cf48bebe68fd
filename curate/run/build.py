"""`curate build`: from a list of videos to manifests, read top to bottom.

    sources -> workers (fetch, decode, shots, faces, vectors) -> pack -> clusters -> copies
            -> curve -> manifests -> report

Everything up to the pieces is remembered source by source in the ledger; everything after is a step over the whole
build, which runs again only where something that it depends on has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from curate import progress
from curate.errors import BuildError, UsageError
from curate.hardware import cores, device, limit_threads
from curate.recipe import Recipe
from curate.run import added, collect, decide, pack, page, reembed
from curate.run.spaces import Space, spaces_of
from curate.run.steps import Steps
from curate.run.summary import PLACES, VERSION, backend_summary, changes, summarise
from curate.run.video import VideoTask, piece
from curate.stages.detect import Backend, load_backend
from curate.stages.sources import read_sources
from curate.storage import files, schemas
from curate.storage.build import Build, open_build
from curate.storage.files import digest, exclusive_lock, remove_temporaries
from curate.storage.ledger import Done, Ledger

FACES_VERSION = 3
"""Raised when a change to the stages changes what faces come out, so that old builds are redone."""


@dataclass(frozen=True)
class Outcome:
    """How a build went.

    Attributes:
        refused: manifests that were asked for and cannot be had, each with what can, one line each.
        ran: steps over the whole build that had to run this time.
    """

    build: Build
    refused: list[str]
    ran: list[str]


def build(
    spec: str,
    out: Path,
    recipe: Recipe,
    workers: int | None = None,
    scheduler: str | None = None,
    retry: str | None = None,
) -> Outcome:
    """Makes or goes on with a build.

    Args:
        spec: the user's `--source`.

    Raises:
        UsageError: something that the user gave cannot be used.
        BuildError: no source at all could be read.
        StorageError: the disk is full; run again to go on.
    """
    collect.check_retry(retry)
    sources = read_sources(spec)
    check_folder(out)
    chosen = device(recipe.embed.device)
    backend = load_backend(recipe.faces, recipe.crop, chosen)
    spaces = spaces_of(backend, recipe)
    with exclusive_lock(out, out / "work" / "lock", "curate build"):
        remove_temporaries(out)
        media, pieces = collect.folders(out)
        task = VideoTask(recipe, _faces_key(recipe, backend), {s.name: s.key for s in spaces}, chosen, media, pieces)
        steps = Steps.load(out / "work" / "steps.json")
        for line in changes(out, recipe, backend_summary(backend)):
            progress.say(line)
        with Ledger(out / "work" / "ledger.sqlite") as ledger:
            packed = set(pack.holdings(out / "faces"))
            todo = collect.pending(sources, ledger, task, packed, retry)
            if todo:
                collect.collect(todo, ledger, task, workers, scheduler)
            done = [done for source in sources if (done := ledger.get(source.video_id))]
        _pack(out, done, task, spaces, workers, scheduler)
        spaces += added.refreshed(out, [d for d in done if d.record.faces], chosen)
        return decided(Build(out), done, recipe, backend_summary(backend), spaces, steps, absolute(spec))


def embed(
    path: Path,
    backbone: Path,
    name: str,
    threshold: float | None = None,
    wish: str = "auto",
    batch: int = added.BATCH,
) -> Outcome:
    """`curate embed`: gives a finished build one more space, with its clusters, and tells it in `build.json`.

    Args:
        path: the build.
        backbone: its weights, as `curate pretrain` leaves them.
        name: of the space; one that is there is made anew where the backbone differs.
        threshold: cosine of near-duplicates; None: calibrated, see `curate.calibration.calibrate`.
        wish: `auto`, `cpu` or `cuda`.
        batch: crops that the network takes at once.

    Raises:
        UsageError: the build, the backbone, the name or the threshold cannot be used.
    """
    added.check_name(name)
    built = open_build(path)
    info = built.info
    embedder = added.Embedder(backbone, device(wish), batch)
    recipe = Recipe.model_validate(info["recipe"])
    with exclusive_lock(path, path / "work" / "lock", "curate build"):
        remove_temporaries(path)
        with Ledger(path / "work" / "ledger.sqlite") as ledger:
            ids = built.videos["video_id"].to_pylist()
            done = [one for video_id in ids if (one := ledger.get(video_id))]
        if len(done) != len(ids):
            raise UsageError(f"{path}/work: the ledger of this build is missing; run the same curate build again")
        steps = Steps.load(path / "work" / "steps.json")
        embedder = embedder.centred(built, name, steps)
        space = added.space_of(name, embedder, recipe.crop.margin)
        added.embed(path, space, lambda: embedder, [one for one in done if one.record.faces])
        space = added.calibrated(built, space, lambda: embedder, threshold, steps)
        others = [Space.told(other, told) for other, told in info["spaces"].items() if other != name]
        listed = info["source"]
        outcome = decided(built, done, recipe, info["backend"], [*others, space], steps, listed)
    return Outcome(Build(path), outcome.refused, outcome.ran)


def decided(
    built: Build,
    done: list[Done],
    recipe: Recipe,
    backend: dict[str, Any],
    spaces: list[Space],
    steps: Steps,
    listed: str,
) -> Outcome:
    """Everything that needs all faces at once."""
    limit_threads(cores())
    decide.clusters(built, spaces, steps)
    decide.videos(built, done, recipe, steps)
    content = decide.content_hash(built, steps)
    decide.curve(built, recipe, spaces, content, steps)
    refused = decide.manifests(built, recipe, spaces, content, steps)
    summarise(built, recipe, done, backend, spaces, content, refused, steps, listed)
    steps.run("report", [VERSION, steps.key("summary")], [built.path / page.NAME], lambda: str(page.write(built.path)))
    return Outcome(built, refused, steps.ran)


def _pack(
    out: Path, done: list[Done], task: VideoTask, spaces: list[Space], workers: int | None, scheduler: str | None
) -> None:
    """Moves pieces into `faces/` and `embeddings/`; embeds anew what a changed space needs."""
    if all(d.record.status == "failed" for d in done):
        first = done[0].record
        raise BuildError(f"no source could be read ({len(done)} failed; {first.source}: {first.error})")
    with_faces = [d for d in done if d.record.faces]
    if not with_faces:
        raise BuildError(
            f"no face anywhere in {len(done)} videos; look for smaller ones with --set faces.min_size=16, "
            "or for surer pictures with --faces insightface --models DIR"
        )
    total = sum(d.record.faces for d in with_faces)
    keys = {d.record.video_id: d.key for d in with_faces}
    with progress.stage("packing faces", total, "faces") as advance:
        pack.pack(
            out / "faces",
            pack.plan([collect.held(d) for d in with_faces]),
            schemas.FACES,
            lambda held: piece(task.pieces, held.video_id, keys[held.video_id], "faces"),
            lambda count: advance(count, ""),
        )
    for space in spaces:
        reembed.embed_missing(out, space, task, with_faces, workers, scheduler)
        pack.pack(
            out / "embeddings" / space.name,
            pack.plan([reembed.held(d, space) for d in with_faces]),
            schemas.embeddings(space.dimension),
            partial(_vectors, task, space),
            lambda _: None,
        )
    for left in task.pieces.glob("*.parquet"):
        left.unlink()


def _vectors(task: VideoTask, space: Space, held: pack.Held) -> Path:
    return piece(task.pieces, held.video_id, space.key, space.name)


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


def _faces_key(recipe: Recipe, backend: Backend) -> str:
    """Digest of everything but the bytes of a video that decides its faces."""
    chosen = recipe.model_dump(mode="json", include={"fps", "shots", "faces", "crop"})
    for place in PLACES:
        del chosen["faces"][place]
    models = sorted(model.sha256 for model in backend.models)
    return digest([FACES_VERSION, chosen, backend.name, models])
