"""What the steps over a whole build share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from curate.recipe import BuildRecipe
from curate.run.steps import Steps
from curate.storage.build import Build
from curate.storage.info import BackendInfo, BuildState, SpaceInfo
from curate.storage.ledger import Done


@dataclass(frozen=True)
class BuildContext:
    """A build whose faces and vectors are packed, before anything is decided over all of them.

    Attributes:
        done: its sources, in the order of the list.
        source: the list, as it can be found again from any folder.
        listed: what the list says of each source, one row each: `source` and its own columns, in its types.
    """

    built: Build
    done: Collection[Done]
    recipe: BuildRecipe
    backend: BackendInfo
    spaces: list[SpaceInfo]
    steps: Steps
    source: str
    listed: pa.Table

    def state(self, content_hash: str) -> BuildState:
        """What manifests are cut from."""
        return BuildState(content_hash, {space.name: space for space in self.spaces})
