"""`forget`: take people out of a build."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.options import BuildFolder, app, as_typed
from curate.errors import UsageError

if TYPE_CHECKING:
    from curate.run.forget import ForgetOutcome
    from curate.run.likeness import LikeFace
    from curate.storage.build import Build


@app.command(epilog="Example: curate forget BUILD --source https://example.org/clip.mp4")
def forget(
    build: BuildFolder,
    source: Annotated[list[str] | None, typer.Option(help="A source as the list names it; repeatable.")] = None,
    video: Annotated[list[str] | None, typer.Option(metavar="ID", help="A video_id; repeatable.")] = None,
    face: Annotated[list[str] | None, typer.Option(metavar="ID", help="A face_id; repeatable.")] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="PHOTO", help="Every face of the person in a photograph; shows them and asks."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="With --like: cosine in the identity space, 0 to 1.", show_default="the build's own"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take faces, videos or a person out of a build: rows, crops, vectors, downloads, manifests, the report.

    Whole or not at all. The next build of the same list does not bring them back.
    """
    from curate.run.forget import Asked
    from curate.run.forget import forget as run
    from curate.storage.build import open_build

    if not (source or video or face or like):
        raise UsageError("name what shall be forgotten: --source S, --video ID, --face ID or --like PHOTO")
    faces = list(face or [])
    if like is not None:
        found = _like(open_build(build), like, threshold)
        if not found:
            return
        if not yes and not typer.confirm(f"take these {len(found):,} faces out of {build}?"):
            print("nothing is changed")
            return
        faces += [one.face_id for one in found]
    _say(run(build, Asked(tuple(source or ()), tuple(video or ()), tuple(dict.fromkeys(faces)))), build)


def _like(built: Build, photo: Path, threshold: float | None) -> list[LikeFace]:
    """The faces that are like a photograph, shown: a line a source, and a picture of them all."""
    from curate.drawing.pictures import contact_sheet
    from curate.run.likeness import find_like

    likeness = find_like(built, photo, threshold)
    found = likeness.faces
    if not found:
        print(
            f"{photo}: no face of {built.path} reaches a cosine of {likeness.threshold:g} to it; nothing is changed. "
            f"The most similar has {likeness.nearest:.3f}: a lower --threshold shows such faces before it asks"
        )
    for source in dict.fromkeys(one.source for one in found):
        own = [one for one in found if one.source == source]
        print(f"{source}: {len(own):,} faces, cosine {own[-1].cosine:.2f} to {own[0].cosine:.2f}")
    if found:
        sheet = Path(tempfile.mkdtemp(prefix="curate-forget-")) / "faces.jpg"
        sheet.write_bytes(contact_sheet(built, [one.row for one in found]))
        print(f"a picture of them (the least similar last; remove it when you have looked): {sheet}")
    return found


def _say(outcome: ForgetOutcome, build: Path) -> None:
    plan = outcome.plan
    videos, faces = len(plan.forgotten.videos), len(plan.face_ids)
    print(f"{as_typed(str(build))}: {faces:,} faces are gone, {videos:,} videos with all that was kept of them")
    for line in outcome.gone:
        print(f"manifest that cannot be had any more: {line}")
    for run in plan.runs:
        print(f"learned from them: {run} (its weights are not changed; its page is written again without pictures)")
    for run in plan.unknown:
        print(f"may have learned from them (its manifest is gone or changed): {run}")
    print("out of reach: exports, manifests outside the build, copies that were given away")
