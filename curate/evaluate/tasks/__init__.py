"""The five tasks: what each asks, and how answers are scored."""

from __future__ import annotations

from curate.evaluate.samples import ClassTarget, LandmarkTarget, ShapeTarget, Target, TaskName
from curate.evaluate.tasks.classes import ClassGoal
from curate.evaluate.tasks.goal import Goal
from curate.evaluate.tasks.landmarks import LandmarkGoal
from curate.evaluate.tasks.shapes import ShapeGoal
from curate.evaluate.tasks.values import ValueGoal


def goal_of(target: Target, task: TaskName) -> Goal:
    """The goal that a data set's target sets."""
    if isinstance(target, LandmarkTarget):
        return LandmarkGoal(target)
    if isinstance(target, ClassTarget):
        return ClassGoal(target)
    if isinstance(target, ShapeTarget):
        return ShapeGoal(target)
    return ValueGoal(target, task)
