"""The manifests that lie in a build: written as a recipe asks for them, and listed in `manifests/index.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from curate.errors import UsageError
from curate.storage.build import Build
from curate.storage.documents import write_json
from curate.storage.hashes import hashes
from curate.storage.manifest import ManifestMetadata, read_metadata


def manifests_in(build: Build) -> Iterator[tuple[Path, ManifestMetadata]]:
    """The manifests that lie in a build, by name, each with its metadata; foreign files are passed over."""
    for path in sorted((build.path / "manifests").glob("*.parquet"), key=lambda path: path.stem):
        try:
            metadata = read_metadata(path)
        except UsageError:  # no manifest that curate cut
            continue
        yield path, metadata


def entry(path: Path, metadata: ManifestMetadata, sha256: str) -> dict[str, object]:
    """What the index says of a manifest."""
    return {"name": path.stem, "file": path.name, "sha256": sha256, **metadata.to_dict()}


def write_index(build: Build) -> None:
    """Writes `manifests/index.json` from the manifests that are there, by name."""
    found = list(manifests_in(build))
    own = hashes(build.path, [path.relative_to(build.path).as_posix() for path, _ in found])
    entries = [entry(path, metadata, sha256) for (path, metadata), sha256 in zip(found, own.values(), strict=True)]
    write_json(build.path / "manifests" / "index.json", {"manifests": entries})
