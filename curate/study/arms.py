"""What a number of a study answers, and what answers it.

A *question* is a task on a data set, by a metric, in a mode, from so many labels. An *arm* is a training on a choice of
faces. Seeds are repetitions of an arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from curate.evaluate.results import Summary
from curate.evaluate.tables import LOWER_IS_BETTER, is_plain


@dataclass(frozen=True)
class Question:
    """What a number answers."""

    title: str
    task: str
    dataset: str
    split: str
    metric: str
    mode: str
    fraction: float
    shots: int | None

    @property
    def lower_is_better(self) -> bool:
        """Errors."""
        return self.metric.startswith(LOWER_IS_BETTER)

    def error(self, value: float) -> float:
        """A score as an error: itself, or what is missing to 1, the best value of all others."""
        return value if self.lower_is_better else 1 - value

    @property
    def percent(self) -> bool:
        """Whether the metric is a share, shown in percent."""
        return not is_plain(self.metric)

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.title} ({self.metric}, {self.protocol})"

    @property
    def protocol(self) -> str:
        """Mode and labels, in words."""
        labels = f"{self.shots} shots" if self.shots is not None else f"{100 * self.fraction:g} % of the labels"
        return self.mode if labels == "100 % of the labels" else f"{self.mode}, {labels}"


@dataclass(frozen=True)
class Arm:
    """What answers; attributes as in results.jsonl, `faces` of its manifest. Those that are the same
    in the whole study may be None."""

    training: str
    budget: str
    arch: str | None
    build: str | None
    rule: str | None
    faces: int | None
    redundancy: float | None
    space: str | None
    threshold: float | None
    fps: float | None
    order: str | None
    frames: str

    @property
    def choice(self) -> str:
        """The faces that it was trained on, in words."""
        if self.rule is None:
            return "" if self.frames == "all" else f"frames {self.frames}"
        words = [self.rule.replace("_", " ")]
        words += [f"r = {self.redundancy:g}"] if self.redundancy is not None else []
        words += [self.space] if self.space is not None else []
        words += [f"cosine {self.threshold:g}"] if self.threshold is not None else []
        words += [f"{self.order} first"] if self.order is not None else []
        words += [f"{self.fps:g} frames/s"] if self.fps is not None else []
        words += [f"frames {self.frames}"] if self.frames != "all" else []
        return ", ".join(words)

    @property
    def label(self) -> str:
        """Everything, in words."""
        size = f"{self.faces:,} faces" if self.faces is not None else ""
        build = self.build if self.build not in (None, "main") else ""
        return " · ".join(part for part in (self.choice, size, build, self.training, self.budget) if part)


@dataclass(frozen=True)
class Score:
    """An arm's answers to a question.

    Attributes:
        values: of the metric, by seed; `summary` is over them.
        kept_share: faces of the manifest as a share of its build's; `unique`: clusters that they fall into; both, and
            the seconds and pictures of the training run, are means over seeds, None for a backbone not trained here.
    """

    question: Question
    arm: Arm
    values: Mapping[int, float]
    summary: Summary
    kept_share: float | None
    unique: float | None
    train_seconds: float | None
    train_images: float | None

    @property
    def errors(self) -> dict[int, float]:
        """The values as errors, by seed."""
        return {seed: self.question.error(value) for seed, value in self.values.items()}


COMPARED = tuple(field.name for field in fields(Arm))
"""What an arm may differ in: columns of results.jsonl."""
