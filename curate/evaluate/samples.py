"""What a data set is once it has been read: samples, targets, trials, and one crop.

Dataset = samples (pictures, splits, subjects) + one target a question + for recognition the trials to score
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curate.choices import TaskName as TaskName
from curate.errors import UsageError
from curate.evaluate.crops import Box, CropRule
from curate.evaluate.pictures import File, PictureSource

Normaliser = Literal["inter_ocular", "inter_pupil", "box", "diagonal"]
TRAIN, VALIDATION, TEST = "train", "val", "test"
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture of a face.

    Attributes:
        id: unique in the data set, and the same wherever its folder lies; published in lists of ids.
        split: `train`, `val` or `test`; in a data set that is cross-validated, the name of its fold.
        subject: who it is, where that is known; no subject may be in two splits.
        box: x0, y0, x1, y1 of the face in pixels, where the owners give one and the crop uses it.
        points: float64 [5, 2], x and y in pixels of both eyes, nose and mouth corners, where the crop aligns by them.
        clip: the video that it is a frame of, for choosing frames; frames of a clip follow each other in `samples`.
    """

    id: str
    picture: PictureSource
    split: str
    subject: str | None = None
    box: Box | None = None
    points: Floats | None = None
    clip: str | None = None


@dataclass(frozen=True, eq=False)
class LandmarkTarget:
    """Points to be found.

    Attributes:
        points: float64 [N, P, 2], pixels; NaN where unknown.
        normaliser: what distances are divided by in the metric `nme`.
        boxes: float64 [N, 4], for `box` and `diagonal`.
        mirror: index of each point's partner in the mirrored face [P]; None where that is not known.
    """

    points: Floats
    normaliser: Normaliser
    boxes: Floats
    mirror: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class ClassTarget:
    """One class of several: `index` int64 [N] into `names`, -1 where unknown."""

    names: tuple[str, ...]
    index: Indices


@dataclass(frozen=True, eq=False)
class ValueTarget:
    """Numbers to be estimated: `values` float64 [N, K] of `names`, NaN where unknown, within `low` and `high`."""

    names: tuple[str, ...]
    values: Floats
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class OccurrenceTarget:
    """Action units that are there or not: `values` float64 [N, K] of `names`, 1 or 0, NaN where unknown."""

    names: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, eq=False)
class ShapeTarget:
    """Shapes to be reconstructed.

    Attributes:
        points: float64 [N, V, 3], x and y in pixels of the picture and z in the same unit; z NaN where unknown. The
            usual 68 come first, vertices of the dense face may follow.
        yaw: float64 [N], degrees; NaN where unknown.
        surfaces: row -> vertices float64 [M, 3] of a scan without landmarks, in the same coordinates.
    """

    points: Floats
    yaw: Floats
    surfaces: Mapping[int, Floats] = field(default_factory=dict)


Target = LandmarkTarget | ClassTarget | ValueTarget | OccurrenceTarget | ShapeTarget


@dataclass(frozen=True, eq=False)
class PairTrials:
    """Pairs to be verified: indices into the samples int64 [M] twice, bool [M], and the fold of each, int64 [M]."""

    first: Indices
    second: Indices
    same: NDArray[np.bool_]
    fold: Indices


@dataclass(frozen=True, eq=False)
class TemplateTrials:
    """Templates (sets of pictures) to be verified and identified.

    Attributes:
        sample, template, media: int64 [L]: each picture's sample, template and medium; a medium's pictures are averaged
            before its template's media are added.
        score: float64 [L], how sure a detector was of each picture; None where the folder does not say.
        first, second, same: template ids int64 [M] twice, bool [M].
        galleries: by name, template ids and subjects of the gallery, int64 [G] twice.
        probes: template ids and subjects, int64 [P] twice; None where the folder has no 1:N protocol.
    """

    sample: Indices
    template: Indices
    media: Indices
    first: Indices
    second: Indices
    same: NDArray[np.bool_]
    score: Floats | None = None
    galleries: Mapping[str, tuple[Indices, Indices]] = field(default_factory=dict)
    probes: tuple[Indices, Indices] | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, ready for a protocol.

    Attributes:
        crop: how a face is cut out of its picture, the same for every backbone.
        targets: what is asked of the pictures; empty for recognition, which is asked about `trials`.
        subsets: named parts of the test samples that are scored by themselves, as indices into `samples`; one named
            `full` stands for all of them.
        folds: names of the folds (values of `Sample.split`) of a data set that is cross-validated.
        notes: what a reader of the results must know, for example how many annotations were unusable.
    """

    name: str
    task: TaskName
    samples: list[Sample]
    crop: CropRule
    targets: tuple[Target, ...] = ()
    trials: PairTrials | TemplateTrials | None = None
    subsets: Mapping[str, Indices] = field(default_factory=dict)
    folds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, *splits: str) -> Indices:
        """Indices of the samples of these splits, in order."""
        return np.array([i for i, sample in enumerate(self.samples) if sample.split in splits], dtype=np.int64)

    @property
    def tested_part(self) -> str:
        """What results call all that is tested."""
        return f"cv{len(self.folds)}" if self.folds else TEST

    def tested(self) -> dict[str, Indices]:
        """The parts that are scored, by name, as indices into `samples`."""
        if "full" in self.subsets:
            return dict(self.subsets)
        return {self.tested_part: self.of(*(self.folds or (TEST,))), **self.subsets}


def upright(sample: Sample) -> Sample:
    """The sample with its picture turned as its EXIF orientation says; where no annotation is in pixels."""
    picture = sample.picture
    return replace(sample, picture=replace(picture, upright=True)) if isinstance(picture, File) else sample


def refuse_leaks(name: str, samples: Iterable[Sample]) -> None:
    """Sees that no subject and no sample is in two splits.

    Raises:
        UsageError: one is; it is named with its splits.
    """
    split_of: dict[str, str] = {}
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise UsageError(f"{name}: {sample.id} is listed twice; each picture belongs to one split, once")
        seen.add(sample.id)
        if sample.subject is None:
            continue
        other = split_of.setdefault(sample.subject, sample.split)
        if other != sample.split:
            raise UsageError(
                f"{name}: subject {sample.subject} is in both {other} and {sample.split} (see {sample.id}); "
                "scores would be too good: keep each subject in one split"
            )
