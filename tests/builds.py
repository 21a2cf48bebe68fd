"""`build.json` for builds that tests invent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.recipe import BuildRecipe
from curate.storage.documents import write_json
from curate.storage.files import digest
from curate.storage.info import BackendInfo, BuildCounts, BuildInfo, FaceCounts, SpaceInfo

NOTHING = BuildCounts(**dict.fromkeys(BuildCounts.__dataclass_fields__, 0) | {"clusters": {}, "spread": FaceCounts()})


def space(name: str, threshold: float, **more: Any) -> SpaceInfo:
    """A space of which only the threshold matters."""
    return SpaceInfo(name, more.pop("dimension", 2), "1", threshold, "invented", "", more)


def write_info(folder: Path, **known: Any) -> BuildInfo:
    """Writes a whole `build.json` of which `known` is as given and the rest is empty."""
    nothing = {
        "curate": "0",
        "created": "2024-01-01T00:00:00+00:00",
        "content_hash": "c0ffee",
        "source": "list.txt",
        "seed": 0,
        "recipe": BuildRecipe().model_dump(mode="json"),
        "counts": NOTHING,
        "dropped": {},
        "backend": BackendInfo("dlib", []),
        "spaces": {"appearance": space("appearance", 0.9)},
        "refused": [],
        "seconds": {},
        "versions": {},
        "files": {},
    }
    values = BuildInfo(**nothing | known).to_dict()
    del values["digest"]
    write_json(folder / "build.json", values | {"digest": digest(values)})
    return BuildInfo.from_dict(values | {"digest": digest(values)})
