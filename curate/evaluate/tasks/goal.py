"""What a task asks of a sample, in the coordinates of its crop, and how answers are scored."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.evaluate.crops import Matrix

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Kind = Literal["classes", "values", "landmarks", "shapes"]


class Goal(Protocol):
    """One question of a data set.

    Attributes:
        kind: decides the head and the loss.
        width: how many numbers answer it.
        spatial: whether probes read feature maps instead of the pooled feature.
        mirrors: whether training may mirror pictures.
    """

    @property
    def kind(self) -> Kind:
        """See the class."""
        ...

    @property
    def width(self) -> int:
        """See the class."""
        ...

    @property
    def spatial(self) -> bool:
        """See the class."""
        ...

    @property
    def mirrors(self) -> bool:
        """See the class."""
        ...

    def known(self) -> NDArray[np.bool_]:
        """bool [N]: which samples have an answer at all."""
        ...

    def truth(self, index: int, matrix: Matrix, size: int, mirrored: bool = False) -> Floats:
        """The answer for one sample under a crop, float64 [width]; NaN where unknown.

        Args:
            matrix: pixels of the picture -> pixels of the crop of side `size`.
            mirrored: the crop was mirrored after `matrix`.
        """
        ...

    def score(self, answers: Floats, rows: Indices, matrices: Floats, size: int) -> dict[str, float]:
        """Metrics of answers [n, width] (for classes: scores) for samples `rows`, whose crops are `matrices`."""
        ...
