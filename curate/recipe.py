"""The recipe: every choice that a build makes, typed, with its default and its unit.

A recipe is YAML; `--set section.key=value` and the options of `curate build` override it. `docs/recipe.md` is
generated from the descriptions here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_serializer, model_validator

from curate import recipe_files
from curate.choices import Descriptor, Device, FaceBackend, FaceSearch
from curate.locations import without_credentials
from curate.recipe_files import Section


class Fetch(Section):
    """Getting the bytes of a source."""

    format: str = Field(
        "bv*[height<=1080]/b[height<=1080]/bv*/b",
        min_length=1,
        description="yt-dlp format selector; sound is not needed",
    )
    keep_media: bool = Field(
        True,
        description="keep downloaded videos in BUILD/work/media, so that a changed recipe need not fetch again",
    )
    format_sort: tuple[str, ...] = Field(
        (),
        description="yt-dlp sort order of formats; [res:480, +size] takes the smallest of the size that faces need",
    )
    only_range: bool = Field(
        True,
        description="of a video of which the list asks for ranges alone, fetch only these, where server and file allow "
        "it; false: whole videos",
    )
    media_budget: int | None = Field(
        None, gt=0, description="bytes that kept downloads may take; the oldest go first; default: no limit"
    )
    max_bytes: int = Field(20_000_000_000, gt=0, description="largest file that is fetched, bytes")
    max_duration_s: float | None = Field(
        None, gt=0, description="longest video that is fetched where its site says how long it is, seconds"
    )
    timeout_s: float = Field(30.0, gt=0, description="seconds without an answer after which a connection is given up")
    retries: int = Field(
        3, ge=0, description="further tries in the same run after a passing failure; progress begins a new count"
    )
    cookies: Path | None = Field(None, description="cookies file (Netscape format)")
    cookies_from_browser: str | None = Field(
        None, description="browser whose cookies are sent, BROWSER or BROWSER:PROFILE, for example firefox"
    )
    user_agent: str | None = Field(None, description="User-Agent that is sent; default: that of a common browser")
    impersonate: str | None = Field(
        None, description="browser whose way of connecting is imitated, for example chrome; needs curl_cffi"
    )
    proxy: str | None = Field(None, description="proxy URL, for example socks5://127.0.0.1:1080")
    js_runtime: str | None = Field(
        None, description="JavaScript runtime for sites that need one, NAME or NAME:PATH (deno, node, bun, quickjs)"
    )
    extractor_args: dict[str, dict[str, tuple[str, ...]]] = Field(
        {},
        description="arguments of yt-dlp's extractors, for example {youtube: {player_client: [tv, web]}}",
    )
    robots: bool = Field(
        True, description="leave direct links alone that robots.txt forbids or X-Robots-Tag marks noai"
    )
    rate_limit: int | None = Field(None, gt=0, description="bytes a second of each download at most")
    per_host: int = Field(4, ge=1, description="sources of one host that are fetched at the same time")
    per_minute: int = Field(60, ge=1, description="sources of one host that are begun in any minute")
    sleep_s: float = Field(0.0, ge=0, description="seconds between two sources of one host, more or less")
    min_rate: float = Field(
        1000.0,
        ge=0,
        description="bytes a second that a download must bring on average, once stall_s have passed",
    )
    stop_after: int = Field(
        5,
        ge=1,
        description="refusals in a row from one host after which it is left alone for some time",
    )
    patience_s: float = Field(
        60.0, ge=0, description="seconds that a run with nothing else to do waits for hosts that refuse"
    )

    @field_serializer("proxy")
    def _without_password(self, proxy: str | None) -> str | None:
        """What is written down of a recipe lets nobody in."""
        return without_credentials(proxy) if proxy else proxy

    @field_serializer("extractor_args")
    def _without_tokens(self, given: dict[str, dict[str, tuple[str, ...]]]) -> dict[str, dict[str, tuple[str, ...]]]:
        """As of a proxy: `po_token` and the like open a site."""
        return {
            extractor: {
                name: ("***",) if "token" in name or "password" in name or name.endswith("visitor_data") else values
                for name, values in own.items()
            }
            for extractor, own in given.items()
        }


class Shots(Section):
    """Finding cuts."""

    threshold: float = Field(
        27.0,
        gt=0,
        description="content change between sampled frames that makes a cut (PySceneDetect's scale, 0 to 255)",
    )


class FaceSettings(Section):
    """Finding faces and judging them."""

    backend: FaceBackend = Field(
        "auto",
        description="auto: insightface where --models holds a pack, else centerface",
    )
    models: Path | None = Field(None, description="insightface root: a pack at DIR/models/PACK/*.onnx")
    pack: str | None = Field(None, description="name of the pack; needed only where DIR holds several")
    input_size: int = Field(
        640,
        ge=128,
        le=2048,
        multiple_of=32,
        description="longest side at which frames are searched, pixels; more where faces.min_size needs it",
    )
    min_score: float = Field(0.5, ge=0, description="detections below this confidence are dropped")
    min_size: float = Field(
        32.0,
        ge=8,
        description="faces whose box is smaller on its shorter side are dropped, pixels",
    )
    search: FaceSearch = Field(
        "follow",
        description="follow: search some frames and follow their faces in between; every: search every sampled frame",
    )
    max_per_frame: int = Field(32, ge=1, description="at most so many faces of a frame, the largest first")


class CropSettings(Section):
    """The aligned square picture of a face."""

    size: int = Field(224, ge=64, le=1024, description="side of the crop, pixels")
    margin: float = Field(
        0.5,
        ge=0,
        le=2,
        description="space around the five-landmark template, as a share of the template's side, both sides together",
    )
    jpeg_quality: int = Field(95, ge=50, le=100, description="JPEG quality of stored crops")


class Embed(Section):
    """Turning crops into vectors."""

    device: Device = Field(
        "auto",
        description="where networks run; auto: the GPU where there is one",
    )
    identity: bool = Field(True, description="link tracks by whose face it is, and write the identity space")
    descriptor: Descriptor = Field(
        "spectrum",
        description="what makes vectors of appearance: spectrum, frequencies of the picture; network, these with the "
        "aligner and a small trained network beside them, which finds more copies (docs/alike.md)",
    )
    aligner: bool = Field(
        False,
        description="put each face in its place once more before its appearance is described: finds more copies, "
        "about 4 ms a face (docs/alike.md)",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_batch(cls, values: Any) -> Any:
        """Recipes of older builds have a key `batch`, which never changed anything."""
        return {key: value for key, value in values.items() if key != "batch"} if isinstance(values, dict) else values


USUAL_THRESHOLD: dict[Descriptor, float] = {"spectrum": 0.994, "network": 0.986}
"""Cosine of near-duplicates where none is given, by what makes the vectors (docs/alike.md)."""


class Dedupe(Section):
    """What counts as the same picture."""

    threshold: float = Field(
        USUAL_THRESHOLD["spectrum"],
        gt=0,
        le=1,
        description="cosine in the appearance space from which two faces are near-duplicates; with "
        f"embed.descriptor=network it is {USUAL_THRESHOLD['network']:g} unless given",
    )
    identity_threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="cosine in the identity space for its clusters; default: the backend's own",
    )


Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Manifests(Section):
    """Which manifests a build writes, beside `unique` (every representative) and `natural` (every face)."""

    sizes: tuple[Count, ...] = Field((), description="numbers of faces")
    redundancies: tuple[Share, ...] = Field(
        (),
        description="shares in [0, 1) of faces that repeat another one of the manifest",
    )


class BuildRecipe(Section):
    """Everything that decides what a build contains."""

    seed: int = Field(0, ge=0, description="seed of every random choice")
    fps: float = Field(5.0, gt=0, le=1000, description="frames a second that are looked at")
    decode: Device = Field(
        "cpu",
        description="where frames are decoded; cuda: on the GPU (torchcodec), which does not tell of damage inside of "
        "packets; auto: there where networks run there and torchcodec is installed",
    )
    stall_s: float = Field(
        120.0,
        gt=0,
        description="seconds without a received block or a decoded frame after which a source is given up",
    )
    deadline_s: float = Field(
        3600.0, gt=0, description="seconds that a source may take after it was fetched, beside those by its duration"
    )
    deadline_per_s: float = Field(
        60.0, ge=0, description="seconds that a source may take after it was fetched, for each second of its duration"
    )
    fetch: Fetch = Fetch()
    shots: Shots = Shots()
    faces: FaceSettings = FaceSettings()
    crop: CropSettings = CropSettings()
    embed: Embed = Embed()
    dedupe: Dedupe = Dedupe()
    manifests: Manifests = Manifests()

    @model_validator(mode="before")
    @classmethod
    def _with_usual_threshold(cls, values: Any) -> Any:
        """Each kind of vectors has a threshold of its own; one that is given stands."""
        if not isinstance(values, dict):
            return values
        embed, dedupe = values.get("embed") or {}, values.get("dedupe") or {}
        if not isinstance(embed, dict) or not isinstance(dedupe, dict) or dedupe.get("threshold") is not None:
            return values
        usual = USUAL_THRESHOLD.get(embed.get("descriptor", "spectrum"))
        return values | {"dedupe": dedupe | {"threshold": usual}} if usual is not None else values


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> BuildRecipe:
    """Reads the recipe of a build; see `recipe_files.load_as`."""
    return recipe_files.load_as(BuildRecipe, path, overrides)
