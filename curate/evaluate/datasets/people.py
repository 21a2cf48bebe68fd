"""People to learn from, in whatever layout they come: VGGFace2's, or one folder a person."""

from __future__ import annotations

from pathlib import Path

from curate.errors import UsageError
from curate.evaluate.datasets import pairs
from curate.evaluate.datasets.folder import Folder
from curate.evaluate.samples import Sample

ASK = "give VGGFace2's folder, or one with train/PERSON/*.jpg"


def read_people(root: Path) -> list[Sample]:
    """Training samples with their subjects; ids and subjects are those of their own folder.

    Raises:
        UsageError: there are none.
    """
    folder = Folder(root, "train", ASK)
    if folder.find("bb_landmark", "data/bb_landmark", "meta/identity_meta.csv"):
        from curate.evaluate.datasets import vggface2

        return vggface2.training(root)
    if folder.find("train") is None:
        raise UsageError(f"--set train={root}: there is no folder train/; {ASK}")
    return pairs.people(folder, "train")
