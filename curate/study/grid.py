"""From a recipe to its cells: every selection of faces, training and measurement once, each under a key of its content.

    Selection    which faces           -> one manifest
    TrainedBackbone  a selection, a training, a seed -> one backbone; or GivenBackbone, one that is only measured
    StudyCell    a backbone, a task, a mode, a budget of labels, frames, a seed -> one measurement

Keys are digests of what decides the outcome, not of names or folders: equal parts of two cells are done once, and a
seed, task or size that is added later leaves what is there alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from curate import evaluate
from curate.choices import Mode, TaskName
from curate.errors import UsageError
from curate.evaluate.protocol import trains
from curate.pretrain import config as pretraining
from curate.storage.build import open_build
from curate.storage.files import digest, sha256_file
from curate.study.config import FaceGrid, FrameRule, Rule, StudyRecipe, TaskKeys, TrainingBudget, TrainingKeys

VERSION = 1
"""Raised when the same recipe gives other faces or other measurements."""

SEEDED: frozenset[Rule] = frozenset(
    {"cover", "random", "semdedup", "hierarchical_kmeans", "k_centre", "more_videos", "fewer_videos"}
)
"""Rules that a seed changes."""
IN_SPACE: frozenset[Rule] = frozenset({"cover", "semdedup", "components", "hierarchical_kmeans", "k_centre"})
"""Rules that look at vectors."""
BY_THRESHOLD: frozenset[Rule] = frozenset({"semdedup", "components"})
"""Rules whose threshold says how many faces they keep, where no size does."""


@dataclass(frozen=True)
class StudyBuild:
    """A build as far as a study needs to know it beforehand; `content` is empty where it is not there yet."""

    name: str
    path: Path
    content: str = ""
    faces: int = 0
    fps: float = 0.0
    thresholds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Selection:
    """Which faces are trained on. Attributes that its rule does not use are None."""

    build: str
    content: str
    rule: Rule
    size: int | float | None
    redundancy: float | None
    space: str | None
    threshold: float | None
    fps: float | None
    order: str | None
    seed: int | None

    @property
    def key(self) -> str:
        """Names the manifest."""
        known = {name: value for name, value in asdict(self).items() if name != "build" or not self.content}
        if self.order == "random_walk":
            known["order"] = "met"  # its former name: what was measured under it is not measured again
        return _key("selection", known)

    @property
    def label(self) -> str:
        """In words, without the seed."""
        words = [f"{self.build}: {self.rule.replace('_', ' ')}", "all" if self.size is None else f"{self.size:,}"]
        words += [f"r = {self.redundancy:g}"] if self.redundancy is not None else []
        words += [f"{self.space} {self.threshold or ''}".strip()] if self.space is not None else []
        words += [f"{self.fps:g} frames/s"] if self.fps is not None else []
        return ", ".join(words)


@dataclass(frozen=True)
class TrainedBackbone:
    """A backbone that the study trains.

    Attributes:
        training, budget: as tables name them.
        recipe: keys over the defaults of pre-training, as JSON values; `decisive` is what decides the weights.
    """

    selection: Selection
    training: str
    budget: str
    arch: str
    seed: int
    recipe: tuple[tuple[str, Any], ...]
    file: Path | None
    decisive: str

    @property
    def key(self) -> str:
        """Names the run."""
        return _key("run", [self.selection.key, self.decisive])

    @property
    def name(self) -> str:
        """File of the backbone below the study's folder."""
        return f"runs/{self.key}/backbone.pt"


@dataclass(frozen=True)
class GivenBackbone:
    """A backbone that is only measured; a random one is drawn again for each seed."""

    training: str
    file: str
    arch: str | None
    content: str

    selection = None
    budget = ""

    @property
    def key(self) -> str:
        """Names the backbone."""
        return _key("given", [self.content, self.arch])

    @property
    def name(self) -> str:
        """What curate evaluate is given."""
        return self.file


Backbone = TrainedBackbone | GivenBackbone


@dataclass(frozen=True)
class StudyCell:
    """One measurement.

    Attributes:
        title: the task's name in the recipe.
        content: of the data set's folder, see `_folder`.
        keys: over the defaults of evaluation.
    """

    backbone: Backbone
    title: str
    task: str
    dataset: str
    data: Path
    content: str
    mode: str
    fraction: float
    shots: int | None
    keys: tuple[tuple[str, Any], ...]
    file: Path | None
    decisive: str
    seed: int

    @property
    def key(self) -> str:
        """Names the measurement."""
        parts = [self.task, self.dataset, self.content, self.mode, self.fraction, self.shots, self.decisive, self.seed]
        return _key("cell", [self.backbone.key, *parts])


@dataclass(frozen=True)
class Plan:
    """All that a recipe asks for, each part once, in the order in which it is done: seed by seed."""

    recipe: StudyRecipe
    sources: dict[str, StudyBuild]
    cells: tuple[StudyCell, ...]

    @property
    def backbones(self) -> list[Backbone]:
        """Distinct ones."""
        return list({cell.backbone.key: cell.backbone for cell in self.cells}.values())

    @property
    def selections(self) -> list[Selection]:
        """Distinct ones."""
        found = {b.selection.key: b.selection for b in self.backbones if b.selection is not None}
        return list(found.values())


def plan(recipe: StudyRecipe, dry: bool = False) -> Plan:
    """Lays out a study.

    Args:
        dry: builds and data sets that are not there are planned for all the same.

    Raises:
        UsageError: a build, a recipe or a folder cannot be used.
    """
    sources = {name: _source(name, path, dry) for name, path in recipe.builds.items()}
    folders = {title: _folder(keys.data, dry) for title, keys in recipe.tasks.items()}
    cells: dict[str, StudyCell] = {}
    for seed in recipe.seeds:
        for backbone in _backbones(recipe, sources, seed, dry):
            for title, keys in recipe.tasks.items():
                for cell in _cells(backbone, title, keys, folders[title], seed, dry):
                    cells.setdefault(cell.key, cell)
    return Plan(recipe, sources, tuple(cells.values()))


def _backbones(recipe: StudyRecipe, sources: dict[str, StudyBuild], seed: int, dry: bool) -> Iterator[Backbone]:
    for grid in recipe.faces:
        for selection in _selections(grid, sources[grid.build], seed):
            for name, training in recipe.methods.items():
                for budget in recipe.budgets:
                    yield _trained(selection, name, training, budget, seed, recipe.device)
    for name, given in recipe.backbones.items():
        yield GivenBackbone(name, given.file, given.arch, _weights(given.file, dry))


def _selections(grid: FaceGrid, source: StudyBuild, seed: int) -> Iterator[Selection]:
    """Every combination, with what a rule does not use taken out, so that equal ones are equal."""
    axes = (grid.rule, grid.size, grid.space, grid.threshold, grid.fps, grid.redundancy)
    for rule, size, space, threshold, fps, redundancy in product(*axes):
        count = None if size == "all" else _count(size, source)
        asked = (rule, count, redundancy, space, threshold, fps, grid.order, seed)
        yield _used(Selection(source.name, source.content, *asked), source)


def _used(asked: Selection, source: StudyBuild) -> Selection:
    """A selection without what its rule does not use, and with the build's own threshold where none is asked for.

    Raises:
        UsageError: the build has no such space.
    """
    rule, size = asked.rule, None if asked.rule == "full" else asked.size
    plain = size is None and rule not in IN_SPACE
    if plain or (size is None and rule in ("hierarchical_kmeans", "k_centre")):
        rule = "full"  # without a number these keep every face
    covering, own = rule == "cover", dict(source.thresholds)
    if rule in IN_SPACE and own and asked.space not in own:
        raise UsageError(f"faces.space = {asked.space}: {source.path} has {', '.join(own)}")
    decides = covering or (rule in BY_THRESHOLD and size is None)
    threshold = own.get(asked.space or "") if asked.threshold is None else asked.threshold
    return replace(
        asked,
        rule=rule,
        size=size,
        redundancy=asked.redundancy if covering else None,
        space=asked.space if rule in IN_SPACE else None,
        threshold=threshold if decides else None,
        fps=None if asked.fps == source.fps else asked.fps,
        order=asked.order if covering else None,
        seed=asked.seed if rule in SEEDED else None,
    )


def _count(size: int | float | str, source: StudyBuild) -> int | float:
    """A number of faces; a share stays one where the build is not there to be counted."""
    if isinstance(size, int) or not source.faces:
        return size  # type: ignore[return-value]  # `all` never comes here
    return max(1, round(float(size) * source.faces))


def _trained(
    selection: Selection, name: str, training: TrainingKeys, budget: TrainingBudget, seed: int, device: str
) -> TrainedBackbone:
    keys: dict[str, Any] = dict(training.set)
    keys |= {key: value for key, value in (("method", training.method), ("arch", training.arch)) if value is not None}
    keys |= {key: value for key, value in budget.keys().items() if value is not None} | {"seed": seed, "device": device}
    chosen = pretraining.load(training.recipe, keys)
    decisive = chosen.decisive()
    if chosen.init is not None:
        decisive["init_sha256"] = sha256_file(chosen.init) if chosen.init.is_file() else str(chosen.init)
    return TrainedBackbone(
        selection, name, budget.label, chosen.arch, seed, tuple(keys.items()), training.recipe, digest(decisive)
    )


def _cells(
    backbone: Backbone, title: str, keys: TaskKeys, content: str, seed: int, dry: bool
) -> Iterator[StudyCell]:  # fmt: skip
    budgets = [(share, None) for share in keys.fraction] + [(1.0, count) for count in keys.shots]
    for mode in keys.mode:
        for frames in keys.frames:
            chosen = {**keys.set, **_frames(frames), "seed": seed}
            decisive = _measuring(evaluate.load_recipe(keys.recipe, chosen), mode, keys.task, dry)
            for fraction, shots in budgets:
                yield StudyCell(
                    backbone, title, keys.task, keys.dataset, keys.data, content, mode, fraction, shots,
                    tuple(chosen.items()), keys.recipe, digest(decisive), seed,
                )  # fmt: skip


def _measuring(chosen: evaluate.EvaluateRecipe, mode: Mode, task: TaskName, dry: bool) -> dict[str, Any]:
    """What of a recipe of evaluation decides a measurement; not how it is cut into batches, nor where it is kept."""
    decisive = chosen.model_dump(mode="json")
    decisive["extract"] = {"mirror": chosen.extract.mirror}
    if not trains(mode, task, chosen):
        decisive.pop("finetune")
    elif mode == "finetune":
        decisive.pop("linear")
    if chosen.train is not None:
        decisive["train"] = _folder(chosen.train, dry, "tasks.*.set.train names whom to learn from")
    return decisive


def _frames(frames: FrameRule) -> dict[str, Any]:
    return {} if frames.rule == "all" else {"frames.rule": frames.rule, "frames.share": frames.share}


def _source(name: str, path: Path, dry: bool) -> StudyBuild:
    if dry and not (path / "build.json").is_file():
        return StudyBuild(name, path)
    build = open_build(path)
    info = build.info
    thresholds = tuple((space, found.threshold) for space, found in info.spaces.items())
    faces = len(build.faces(["face_id"]))
    return StudyBuild(name, path, info.content_hash, faces, float(info.recipe["fps"]), thresholds)


def _folder(path: Path, dry: bool, about: str = "tasks.*.data names where a data set lies") -> str:
    """What a data set's folder holds at its top: names, and sizes of files. Deeper changes are not seen."""
    if not path.is_dir():
        if dry:
            return ""
        raise UsageError(f"{path}: there is no such folder; {about}")
    entries = sorted(path.iterdir())
    return digest([[entry.name, entry.stat().st_size if entry.is_file() else None] for entry in entries])


def _weights(file: str, dry: bool) -> str:
    if file == "random":
        return file
    path = Path(file)
    if path.is_file():
        return sha256_file(path)
    if dry:
        return ""
    raise UsageError(f"{file}: there is no such file; backbones.*.file names weights, or random")


def _key(kind: str, content: Any) -> str:
    return digest([VERSION, kind, content])[:16]
