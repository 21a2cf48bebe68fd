"""The five tasks: what each asks, and how answers are scored."""

from __future__ import annotations

from curate.evaluate.samples import Labels, Landmarks, Shapes, Target, Task
from curate.evaluate.tasks.classes import ClassGoal
from curate.evaluate.tasks.goal import Goal
from curate.evaluate.tasks.landmarks import LandmarkGoal
from curate.evaluate.tasks.shapes import ShapeGoal
from curate.evaluate.tasks.values import ValueGoal


def goal_of(target: Target, task: Task) -> Goal:
    """The goal that a data set's target sets."""
    if isinstance(target, Landmarks):
        return LandmarkGoal(target)
    if isinstance(target, Labels):
        return ClassGoal(target)
    if isinstance(target, Shapes):
        return ShapeGoal(target)
    return ValueGoal(target, task)
