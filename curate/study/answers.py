"""How far off a measurement was on every test picture (or pair), and what that says of other test pictures.

DIR/answers/KEY/*.npz    of one cell, as `curate.evaluate.curves` writes them; those of templates are not kept

Seeds repeat the training, not the test: on other pictures of the same kind the same networks would score otherwise.
Two arms are compared picture by picture, so what makes a picture hard for both drops out. Pictures of one person or
clip are not independent: their errors are added up first (Liang & Zeger 1986; of pairs, which show two people each,
Aronow, Samii & Assenova 2015). Of independent pictures the standard error is that of a paired bootstrap, for right and
wrong that of McNemar's test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import curves
from curate.study.arms import Question
from curate.study.results import Line
from curate.study.statistics import Spread, clustered

NAME = "answers"
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """One measurement.

    Attributes:
        errors: float64 [N], whose mean is the error of the question.
        ids: str [N]; empty for pairs, which are in the order of the protocol.
        groups: str [N, 1] or [N, 2], who is seen.
    """

    errors: Floats
    ids: NDArray[np.str_]
    groups: NDArray[np.str_]


Lookup = Callable[[Line, Question], Answers | None]


def keep(found: Path, folder: Path) -> None:
    """Takes a measurement's curves over, without the scores of pairs, which are large and can be computed again."""
    shutil.rmtree(folder, ignore_errors=True)
    for curve in curves.read(found):
        if curve.errors.size and len(curve.groups) == len(curve.errors):
            curves.write(folder, curve.label, errors=curve.errors, ids=curve.ids, groups=curve.groups)


def of_study(out: Path) -> Lookup:
    """Reads the kept answers of a study's measurements."""

    def look(line: Line, question: Question) -> Answers | None:
        for curve in curves.read(out / NAME / str(line.columns["cell"])):
            wanted = question.error(line.result.value)
            same = curve.label["split"] == question.split and len(curve.groups) == len(curve.errors)
            # of several targets that whose mean is the metric; none is, where the metric is no mean (CCC, ICC, TAR)
            if same and abs(float(curve.errors.mean()) - wanted) <= 1e-9 * max(1.0, abs(wanted)):
                return Answers(curve.errors, curve.ids, curve.groups)
        return None

    return look


def over_pictures(arm: Mapping[int, Answers], other: Mapping[int, Answers], factor: float = 1.0) -> Spread | None:
    """How far `arm - factor * other`, over the seeds that both have, is off for want of other test pictures.

    Returns:
        None where an arm has no answers, or not to the same pictures.
    """
    seeds = sorted(arm.keys() & other.keys())
    every = [own[seed] for own in (arm, other) for seed in seeds]
    if not every or not same_pictures(every):
        return None
    differences = np.mean([arm[seed].errors - factor * other[seed].errors for seed in seeds], axis=0)
    return clustered(differences, every[0].groups)


def same_pictures(every: Sequence[Answers]) -> bool:
    """Whether all answers are to the same test pictures."""
    first = every[0]
    return all(len(one.errors) == len(first.errors) and np.array_equal(one.ids, first.ids) for one in every)
