"""What is known of the arms of a study beside their scores: how much runs vary, and every answer to a test picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from curate.study.answers import Answers, over_pictures, same_pictures
from curate.study.arms import Arm, Question, Score
from curate.study.statistics import Difference, Noise, clustered_covariance, difference, exceeds, noise


@dataclass(frozen=True, eq=False)
class Evidence:
    """See the module.

    Attributes:
        noises: moderated variances of the arms of each question.
        answers: of each arm to each question, by seed; empty where they were not kept.
    """

    noises: Mapping[Question, Mapping[Hashable, Noise]]
    answers: Mapping[tuple[Question, Arm], Mapping[int, Answers]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, scores: Iterable[Score], answers: Mapping[tuple[Question, Arm], Mapping[int, Answers]] | None = None
    ) -> Evidence:
        """That of some scores."""
        groups: dict[Question, dict[Hashable, Mapping[int, float]]] = defaultdict(dict)
        for score in scores:
            groups[score.question][score.arm] = score.values
        return cls({question: noise(own) for question, own in groups.items()}, answers or {})

    def noise(self, score: Score) -> Noise | None:
        """Of the score's arm."""
        return self.noises[score.question].get(score.arm)

    def difference(self, score: Score, other: Score) -> Difference:
        """Of two arms, in the unit of their metric."""
        pictures = over_pictures(self._of(score), self._of(other))
        return difference(score.values, other.values, self.noise(score), self.noise(other), pictures)

    def exceeds(self, score: Score, other: Score, margin: float) -> tuple[float, float] | None:
        """Whether the error of one arm exceeds the other's by more than a margin, see `statistics.exceeds`."""
        pictures = over_pictures(self._of(score), self._of(other), 1 + margin)
        return exceeds(score.errors, other.errors, margin, self.noise(score), self.noise(other), pictures)

    def covariance(self, scores: Sequence[Score]) -> tuple[NDArray[np.float64], float] | None:
        """Of the mean errors of arms [K, K], over seeds and test pictures, with the degrees of freedom of the noise.

        What all arms have in common is left in: only differences of arms may be looked at.
        """
        known = [self.noise(score) for score in scores]
        sound = [one for one in known if one is not None]
        if len(sound) < len(scores) or all(one.variance == 0 for one in sound):
            return None
        total = np.diag([one.variance / len(score.values) for one, score in zip(sound, scores, strict=True)])
        answers = [self._of(score) for score in scores]
        every = [own for by_seed in answers for own in by_seed.values()]
        if all(answers) and same_pictures(every):
            means = np.stack([np.mean([own.errors for own in by_seed.values()], axis=0) for by_seed in answers])
            total = total + clustered_covariance(means, every[0].groups)
        return total, min(one.df for one in sound)

    def _of(self, score: Score) -> Mapping[int, Answers]:
        return self.answers.get((score.question, score.arm), {})
