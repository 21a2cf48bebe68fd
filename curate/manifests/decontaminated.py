"""What `curate decontaminate` found out about a build, and what manifests and backbones make of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.errors import UsageError
from curate.storage.build import Build
from curate.storage.files import digest, files_below
from curate.storage.manifest import read_metadata
from curate.storage.parquet import metadata_of, named_in, read_table

NAME = "decontamination.parquet"


@dataclass(frozen=True)
class CheckedSet:
    """One set of evaluation pictures.

    Attributes:
        folder: as the user gave it; digest: of the names and sizes of the files in it.
        pictures: how many; without_face, unreadable: of these, that could not be compared.
    """

    folder: str
    digest: str
    pictures: int
    without_face: int
    unreadable: int


@dataclass(frozen=True)
class Decontamination:
    """What was compared, and how.

    Attributes:
        build: content hash of the build at that time.
        picture_threshold: cosine from which a face is an evaluation picture.
        identity_threshold: cosine from which it is a person of the evaluation; None: people were not compared.
        false_matches: people that are expected to be taken for another one, in the whole run.
    """

    build: str
    against: tuple[CheckedSet, ...]
    picture_threshold: float
    identity_threshold: float | None = None
    false_matches: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Decontamination:
        """From the metadata of the file, or those of a manifest.

        Raises:
            KeyError, TypeError: something is missing or of another kind.
        """
        against = tuple(CheckedSet(**entry) for entry in values["against"])
        rest = ("build", "picture_threshold", "identity_threshold", "false_matches")
        return cls(against=against, **{name: values[name] for name in rest})

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def decontamination_of(build: Build) -> tuple[Decontamination, pa.Table] | None:
    """What was found for a build, with the matching faces; None where it was never compared.

    Raises:
        UsageError: the file is damaged.
    """
    path = build.path / NAME
    if not path.is_file():
        return None
    try:
        return Decontamination.from_dict(metadata_of(path)), read_table(path)
    except (KeyError, TypeError):
        raise UsageError(f"{path}: is damaged; run curate decontaminate again") from None


def contaminated(ids: pa.ChunkedArray, faces: pa.Table) -> NDArray[np.bool_]:
    """bool [ids]: faces of a build that match evaluation pictures."""
    return named_in(ids, faces["face_id"])


def digest_of(folder: Path) -> str:
    """Of the names and sizes of the files below a folder: the same set, wherever it lies."""
    files = [path for path in files_below(folder) if path.is_file()]
    return digest([[path.relative_to(folder).as_posix(), path.stat().st_size] for path in files])


def left_unchecked(build: Build, folder: Path) -> bool:
    """Whether a build was never compared with the evaluation pictures of a folder."""
    found = decontamination_of(build)
    return found is None or digest_of(folder) not in {entry.digest for entry in found[0].against}


def unchecked(manifest: str | Path, folder: Path) -> str | None:
    """One line where a manifest was never compared with the evaluation pictures at hand; None where it was."""
    name = Path(manifest).name  # without its folder: results are the same wherever a study lies
    how = f"curate decontaminate BUILD --against {folder}, then cut the manifest and train again"
    try:
        record = read_metadata(manifest).decontamination
    except (UsageError, OSError):
        return f"{name} is not there: cannot tell whether its faces are among those of {folder}"
    if record is None:
        return f"{name} was never compared with evaluation pictures; {how}"
    checked = {entry.digest for entry in Decontamination.from_dict(record).against}
    return None if digest_of(folder) in checked else f"{name} was compared with other pictures than these; {how}"
