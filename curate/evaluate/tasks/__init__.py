"""The five tasks, each whole in its file: what is predicted, by which head and probe, and how it is scored."""

from __future__ import annotations

from curate.evaluate.samples import ClassTarget, LandmarkTarget, OccurrenceTarget, ShapeTarget, Target, TaskName
from curate.evaluate.tasks.action_units import ActionUnitTask, OccurrenceTask
from curate.evaluate.tasks.emotion import AffectTask, ExpressionTask
from curate.evaluate.tasks.landmarks import LandmarkTask
from curate.evaluate.tasks.reconstruction import ShapeTask
from curate.evaluate.tasks.task import Task


def task_of(target: Target, name: TaskName) -> Task:
    """The task that a data set's target sets."""
    if isinstance(target, LandmarkTarget):
        return LandmarkTask(target)
    if isinstance(target, ClassTarget):
        return ExpressionTask(target)
    if isinstance(target, ShapeTarget):
        return ShapeTask(target)
    if isinstance(target, OccurrenceTarget):
        return OccurrenceTask(target)
    return ActionUnitTask(target) if name == "action_units" else AffectTask(target)
