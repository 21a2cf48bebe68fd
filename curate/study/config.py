"""The recipe of a study: which faces, which training, which tasks, which seeds; the study is every combination.

    builds:   {main: BUILD}
    faces:    - {rule: cover, size: 2000, redundancy: [0, 0.5, 0.9]}
              - {rule: [random, full], size: 2000}
    methods:  {swav: {recipe: laptop}}
    budgets:  - {updates: 300}
    tasks:    {lfw: {task: recognition, dataset: lfw, data: LFW}}
    seeds:    [0, 1, 2]

Where a list may stand, a single value may too. Paths are as seen from where the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from curate import recipe, recipe_files
from curate.choices import FORMER, Arch, Device, Method, Mode, Order, TaskName
from curate.evaluate import CATALOGUE
from curate.recipe_files import Section
from curate.study.arms import COMPARED

Rule = Literal[
    "cover", "random", "full", "uniform", "semdedup", "components", "hierarchical_kmeans", "k_centre",
    "more_videos", "fewer_videos",
]  # fmt: skip
All = Literal["all"]


def _many(value: Any) -> Any:
    """A single value is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Many = BeforeValidator(_many)
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=1, strict=True)] | Share | All
"""So many faces, that share of the build's faces, or as many as the rule keeps."""


class FaceGrid(Section):
    """Which faces are trained on: every combination of the lists. What a rule does not use is not multiplied."""

    build: str = Field("main", description="a name of `builds`")
    rule: Annotated[tuple[Rule, ...], Many] = Field(("cover",), min_length=1, description="how faces are chosen")
    size: Annotated[tuple[Size, ...], Many] = Field(
        ("all",), min_length=1, description="numbers of faces, shares of the build below 1, or all that the rule keeps"
    )
    redundancy: Annotated[tuple[recipe.Share, ...], Many] = Field(
        (0.0,), min_length=1, description="cover only: share of the faces that repeat another one"
    )
    space: Annotated[tuple[str, ...], Many] = Field(
        ("appearance",), min_length=1, description="embedding space in which faces are compared"
    )
    threshold: Annotated[tuple[Share | None, ...], Many] = Field(
        (None,), min_length=1, description="cosine of near-duplicates; null: the build's own"
    )
    fps: Annotated[tuple[Annotated[float, Field(gt=0)] | None, ...], Many] = Field(
        (None,), min_length=1, description="frames a second, at most the build's; null: the build's"
    )
    order: Annotated[Order, BeforeValidator(lambda word: FORMER.get(word, word))] = Field(
        "largest", description="cover only: which clusters come first, as in `curate manifest`"
    )


class TrainingKeys(Section):
    """One way to pre-train, on whatever faces."""

    recipe: Path | None = Field(None, description="recipe of curate pretrain, a file or a name")
    method: Method | None = Field(None, description="null: the recipe's")
    arch: Arch | None = Field(None, description="null: the recipe's")
    set: dict[str, Any] = Field({}, description="keys of the pre-training recipe, dotted, over the file")


class TrainingBudget(Section):
    """How long a run trains; one of the three."""

    updates: Count | None = Field(None, description="updates of the weights, the same for all sizes")
    passes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="passes over the manifest, so that fewer faces cost less"
    )
    images: Count | None = Field(None, description="pictures seen, repeats counted")

    @model_validator(mode="after")
    def _one(self) -> TrainingBudget:
        given = [name for name in ("updates", "passes", "images") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of updates, passes, images; given: {', '.join(given) or 'none'}")
        return self

    @property
    def label(self) -> str:
        """As tables name it."""
        name = next(name for name in ("updates", "passes", "images") if getattr(self, name) is not None)
        count = getattr(self, name)
        return f"{count:,} {name if count != 1 else name.removesuffix('s') if name != 'passes' else 'pass'}"

    def keys(self) -> dict[str, Any]:
        """The budget as keys of a pre-training recipe."""
        return {"steps": self.updates, "epochs": self.passes, "images": self.images}


class BackboneKeys(Section):
    """A backbone that is not trained here."""

    file: str = Field(description="anything that curate evaluate takes as --backbone; random: fresh for each seed")
    arch: Arch | None = Field(None, description="for random; otherwise as the file says")


class FrameRule(Section):
    """Which frames of labelled video a task is learned from."""

    rule: Literal["all", "random", "uniform", "cover"] = Field("all", description="as frames.rule of curate evaluate")
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="share of the frames that is kept")


class TaskKeys(Section):
    """One task on one data set."""

    task: TaskName = Field(description="recognition, landmarks, action_units, emotion or reconstruction")
    dataset: str = Field(description="name of the data set, as --dataset of curate evaluate")
    data: Path = Field(description="folder of the data set")
    mode: Annotated[tuple[Mode, ...], Many] = Field(("linear",), min_length=1, description="linear, finetune, knn")
    fraction: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Many] = Field(
        (1.0,), description="shares of the training samples"
    )
    shots: Annotated[tuple[Count, ...], Many] = Field((), description="beside them: samples of each class")
    frames: Annotated[tuple[FrameRule, ...], Many] = Field(
        (FrameRule(),), min_length=1, description="which frames of labelled video are learned from"
    )
    recipe: Path | None = Field(None, description="recipe of curate evaluate, a file or a name")
    set: dict[str, Any] = Field({}, description="keys of the evaluation recipe, dotted, over the file")

    @model_validator(mode="after")
    def _known(self) -> TaskKeys:
        if self.dataset not in CATALOGUE:
            raise ValueError(f"dataset {self.dataset} is none of {', '.join(CATALOGUE)}")
        if self.task not in CATALOGUE[self.dataset].tasks:
            raise ValueError(f"dataset {self.dataset} is for {' or '.join(CATALOGUE[self.dataset].tasks)}")
        return self


class PlannedComparisons(Section):
    """Comparisons that the study is made for, chosen before it runs."""

    against: Literal["random", "full", "compare"] = Field(description="the reference: random, full or compare")
    arms: dict[str, Any] = Field(
        {}, description="columns of the arms that are compared and their values; a list: any of them"
    )
    tasks: tuple[str, ...] = Field((), description="names of tasks; none: all")
    fraction: Annotated[tuple[float, ...], Many] = Field((), description="shares of the labels; none: all")

    @model_validator(mode="after")
    def _known(self) -> PlannedComparisons:
        odd = [name for name in self.arms if name not in (*COMPARED, "size")]
        if odd:
            raise ValueError(f"planned arms name {odd[0]}; they may name size, {', '.join(COMPARED)}")
        return self


class StudyRecipe(Section):
    """A whole study; every key and its meaning is in docs/study.md."""

    builds: dict[str, Path] = Field({}, description="finished builds by name")
    faces: tuple[FaceGrid, ...] = Field((), description="grids of manifests")
    methods: dict[str, TrainingKeys] = Field({}, description="ways to pre-train, by name")
    budgets: Annotated[tuple[TrainingBudget, ...], Many] = Field(
        (), description="how long runs train: {updates: N}, {passes: N} or {images: N}"
    )
    backbones: dict[str, BackboneKeys] = Field({}, description="backbones that are only measured, by name")
    tasks: dict[str, TaskKeys] = Field(min_length=1, description="tasks, by name")
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Many] = Field(
        (0, 1, 2), min_length=1, description="each repeats everything: choice of faces, training, few-shot subsets"
    )
    compare: dict[str, Any] = Field(
        {},
        description="one more reference beside random and full: columns of results.jsonl in which it differs, "
        "for example {training: supervised}",
    )
    planned: tuple[PlannedComparisons, ...] = Field(
        (), description="the comparisons that are tested; all others are exploratory. None: all are tested"
    )
    margin: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05,
        description="an arm does no worse if its error exceeds the reference's by at most this share of it; an error "
        "is the metric, or 1 - metric where higher is better; a twentieth is less than most steps of published tables",
    )
    effect: Annotated[float, Field(gt=0)] = Field(
        1.0, description="difference that should be seen, in standard deviations of a run over seeds; for --dry-run"
    )
    device: Device = Field("auto", description="where networks run")
    keep_checkpoints: bool = Field(False, description="keep what a finished run would need to be trained further")

    @model_validator(mode="after")
    def _fits_together(self) -> StudyRecipe:
        if not self.faces and not self.backbones:
            raise ValueError("give faces (with builds, methods and budgets) or backbones: there is nothing to measure")
        if self.faces and not (self.methods and self.budgets):
            raise ValueError(
                "faces need methods and budgets; for example methods: {swav: {}}, budgets: [{updates: 300}]"
            )
        odd = [name for name in self.compare if name not in COMPARED]
        if odd:
            raise ValueError(f"compare names {odd[0]}; it may name {', '.join(COMPARED)}")
        unknown = [grid.build for grid in self.faces if grid.build not in self.builds]
        if unknown:
            there = ", ".join(self.builds) or "none"
            raise ValueError(f"build {unknown[0]} is not among builds ({there}); give --build BUILD")
        return self


def load(path: Path | None, overrides: dict[str, Any] | None = None) -> StudyRecipe:
    """Reads the recipe of a study, a YAML file with dotted keys over it.

    Raises:
        UsageError: the file is missing or no YAML, a key is unknown, or a value is wrong.
    """
    return recipe_files.load_as(StudyRecipe, path, overrides, "study")
