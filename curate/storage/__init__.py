"""Files of a build: schemas, atomic writes, the ledger of what is done, reading a finished build and its manifests.

open_build       a finished build as Arrow tables
open_manifest    a manifest with its metadata
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.storage.build import Build, open_build
    from curate.storage.manifest import Manifest, ManifestMetadata, open_manifest

__all__ = ["Build", "Manifest", "ManifestMetadata", "open_build", "open_manifest"]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Build": "curate.storage.build",
        "Manifest": "curate.storage.manifest",
        "ManifestMetadata": "curate.storage.manifest",
        "open_build": "curate.storage.build",
        "open_manifest": "curate.storage.manifest",
    },
)
