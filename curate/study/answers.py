"""How far off a measurement was on every test picture (or pair), and what that says of other test pictures.

DIR/answers/KEY/*.npz    of one cell, as `curate.evaluate.curves` writes them

Seeds repeat the training, not the test: on other pictures of the same kind the same networks would score otherwise.
Two arms are compared picture by picture, so what makes a picture hard for both drops out. Pictures of one person or
clip are not independent: their errors are added up first (Liang & Zeger 1986; of pairs, which show two people each,
Aronow, Samii & Assenova 2015). Of independent pictures the standard error is that of a paired bootstrap, for right and
wrong that of McNemar's test. Metrics that are no mean over pictures (CCC, ICC, F1, TAR) come as each picture's
influence on them (`curate.evaluate.metrics.influence`), whose mean is the metric; then the same sums are the
bootstrap's to first order.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.evaluate import curves
from curate.evaluate.curves import MeasuredCurve
from curate.study.arms import Question
from curate.study.results import Line
from curate.study.statistics import Spread, clustered

NAME = "answers"
TOLERANCE = 1e-9
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """One measurement.

    Attributes:
        errors: float64 [N], whose mean is the error of the question; of templates one a person.
        ids: str [N]; empty for pairs, which are in the order of the protocol, and for templates.
        groups: int32 [N, 1] or [N, 2], who is seen: numbers by the sorted names.
    """

    errors: Floats
    ids: NDArray[np.str_]
    groups: NDArray[np.generic]


Lookup = Callable[[Line, Question], Answers | None]


def keep(found: Path, folder: Path) -> None:
    """Takes a measurement's curves over, people as numbers, and without the scores of pairs: both are large."""
    shutil.rmtree(folder, ignore_errors=True)
    for curve in curves.read(found):
        if curve.groups.size and all(len(each) == len(curve.groups) for each in _columns(curve)):
            errors = {"errors": curve.errors} if curve.errors.size else {}
            numbers = errors | {"ids": curve.ids, "groups": _numbered(curve.groups)} | curves.named(curve.each)
            curves.write(folder, curve.label, **numbers)


def of_study(out: Path) -> Lookup:
    """Reads the kept answers of a study's measurements."""

    def look(line: Line, question: Question) -> Answers | None:
        wanted = question.error(line.result.value)
        for curve in curves.read(out / NAME / str(line.columns["cell"])):
            if curve.label["split"] != question.split:
                continue
            each = curve.each.get(question.metric)
            errors = curve.errors if each is None else each if question.lower_is_better else 1 - each
            # of several targets that whose mean is the metric; of a metric of which nothing is kept none is
            known = errors.size and len(errors) == len(curve.groups)
            if known and abs(float(errors.mean()) - wanted) <= TOLERANCE * max(1.0, abs(wanted)):
                return Answers(errors, curve.ids, _numbered(curve.groups))  # earlier studies kept names
        return None

    return look


def _numbered(groups: NDArray[np.generic]) -> NDArray[np.int32]:
    """Who is seen, by the place among the sorted names."""
    return np.asarray(np.unique(groups, return_inverse=True)[1].reshape(groups.shape), dtype=np.int32)


def _columns(curve: MeasuredCurve) -> list[Floats]:
    return [*([curve.errors] if curve.errors.size else []), *curve.each.values()]


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
    return all(
        len(one.errors) == len(first.errors)
        and np.array_equal(one.ids, first.ids)
        and np.array_equal(one.groups, first.groups)
        for one in every
    )
