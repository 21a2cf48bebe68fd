"""From a finished build to manifests: which faces, at what size and redundancy; reading, exporting and proving them.

lay_out            a build -> Candidates, from which manifests are cut
export_manifest    a manifest's faces for other trainers
verify_build       what of a build does not hold
FaceDataset        a manifest as a torch Dataset
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import exports

if TYPE_CHECKING:
    from curate.manifests.candidates import Candidates, Criteria, ManifestInfo
    from curate.manifests.candidates import candidates as lay_out
    from curate.manifests.dataset import FaceDataset
    from curate.manifests.export import export as export_manifest
    from curate.manifests.filters import Filters
    from curate.manifests.verify import verify as verify_build

__all__ = [
    "Candidates",
    "Criteria",
    "FaceDataset",
    "Filters",
    "ManifestInfo",
    "export_manifest",
    "lay_out",
    "verify_build",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "Candidates": "curate.manifests.candidates",
        "Criteria": "curate.manifests.candidates",
        "FaceDataset": "curate.manifests.dataset",
        "Filters": "curate.manifests.filters",
        "ManifestInfo": "curate.manifests.candidates",
        "export_manifest": "curate.manifests.export:export",
        "lay_out": "curate.manifests.candidates:candidates",
        "verify_build": "curate.manifests.verify:verify",
    },
)
