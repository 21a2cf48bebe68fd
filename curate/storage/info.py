"""`build.json`, typed: what a build is made of and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from curate.storage.documents import mapping


@dataclass(frozen=True)
class SpaceInfo:
    """One embedding space.

    Attributes:
        threshold: cosine from which two faces are near-duplicates here.
        description: how a crop becomes a vector, in words.
        key: digest of everything that decides the vectors, given the faces.
        more: what else is known of it: of `appearance` how well its threshold was measured (`meaning`), of a trained
            backbone its file (`backbone`) and how the threshold was found (`calibration`).
    """

    name: str
    dimension: int
    version: str
    threshold: float
    description: str
    key: str
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, name: str, values: dict[str, Any]) -> SpaceInfo:
        """The space of which `build.json` says `values`."""
        known = ("dimension", "version", "threshold", "description")
        more = {key: value for key, value in values.items() if key not in (*known, "key")}
        return cls(name, key=values.get("key", ""), more=more, **{key: values[key] for key in known})

    def to_dict(self) -> dict[str, Any]:
        """What stands in `build.json` under the space's name."""
        names = ("dimension", "version", "threshold", "description", "key")
        return {name: getattr(self, name) for name in names} | self.more


@dataclass(frozen=True)
class FaceCounts:
    """How faces are spread: `frames` with a face, `tracks`, and those of them that have a `single` face."""

    frames: int = 0
    tracks: int = 0
    single: int = 0


@dataclass(frozen=True)
class BuildCounts:
    """How much there is of everything; sources by their status, `clusters` by space."""

    sources: int
    ok: int
    no_faces: int
    duplicate: int
    failed: int
    frames_sampled: int
    frames_damaged: int
    faces: int
    clusters: dict[str, int]
    spread: FaceCounts = FaceCounts()

    @property
    def videos(self) -> int:
        """Sources that could be read: what every page calls videos, with faces or without, copies too."""
        return self.sources - self.failed

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BuildCounts:
        """From `build.json`; builds of before `spread` have none."""
        return cls(**values | {"spread": FaceCounts(**values.get("spread", {}))})


@dataclass(frozen=True)
class BackendInfo:
    """The face backend: its name, and of each model `file`, `sha256`, `task`, `licence` and `source`."""

    name: str
    models: list[dict[str, Any]]

    def decisive(self) -> tuple[str, list[str]]:
        """What of it decides the faces: name and bytes, not where the models lie."""
        return self.name, sorted(model["sha256"] for model in self.models)


@dataclass(frozen=True)
class BuildState:
    """What a manifest is cut from: the build as its content hash names it, and its spaces."""

    content_hash: str
    spaces: dict[str, SpaceInfo]


@dataclass(frozen=True)
class BuildInfo(BuildState):
    """All of `build.json`.

    Attributes:
        curate: version that wrote it; created: when, UTC, ISO 8601.
        source: the list, as it can be found again from any folder.
        recipe: as `curate.recipe.BuildRecipe` dumps it.
        dropped: reason -> detections that did not become faces.
        refused: manifests that could not be had, a line each.
        seconds: stage -> seconds of work, over all sources; `waiting` are those in which local processes start, end
            or have no source, `turn` those in which one that was fetched waits for a core. With one process they add
            up to the time of the build, less its report and hashes.
        files: path below the build -> sha256.
        digest: of all the rest, so that an edit by hand is seen.
    """

    curate: str
    created: str
    source: str
    seed: int
    recipe: dict[str, Any]
    counts: BuildCounts
    dropped: dict[str, int]
    backend: BackendInfo
    refused: list[str]
    seconds: dict[str, float]
    versions: dict[str, str]
    files: dict[str, str]
    digest: str = ""

    @classmethod
    def from_dict(cls, values: Any) -> BuildInfo:
        """From the JSON of `build.json`.

        Raises:
            KeyError, TypeError: something is missing or of another kind.
        """
        record = {entry.name: values[entry.name] for entry in fields(cls)}
        spaces = {name: SpaceInfo.from_dict(name, space) for name, space in mapping(record["spaces"]).items()}
        counts, backend = BuildCounts.from_dict(mapping(record["counts"])), BackendInfo(**mapping(record["backend"]))
        for name in ("recipe", "dropped", "seconds", "versions", "files"):
            mapping(record[name])
        return cls(**record | {"spaces": spaces, "counts": counts, "backend": backend})

    def to_dict(self) -> dict[str, Any]:
        """What stands in `build.json`, in its order."""
        values = {name: getattr(self, name) for name in _ORDER}
        spaces = {name: space.to_dict() for name, space in self.spaces.items()}
        return values | {"counts": asdict(self.counts), "backend": asdict(self.backend), "spaces": spaces}


_ORDER = (
    *("curate", "created", "content_hash", "source", "seed", "recipe", "counts", "dropped", "backend", "spaces"),
    *("refused", "seconds", "versions", "files", "digest"),
)
