"""How every metric reads its input: float64 arrays of the right shape, or a ValueError that names the argument."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def vector(values: ArrayLike, name: str) -> Floats:
    """`values` as float64 [N].

    Raises:
        ValueError: not one-dimensional, or not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected [N], got shape {array.shape}")
    return finite(array, name)


def pair(predicted: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    """Two float64 vectors of one length.

    Raises:
        ValueError: their lengths differ, or a value is not finite.
    """
    a, b = vector(predicted, "predicted"), vector(target, "target")
    if a.shape != b.shape:
        raise ValueError(f"predicted has {a.size} values, target has {b.size}")
    return a, b


def finite(array: Floats, name: str) -> Floats:
    """`array` itself.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    return array


def centred(array: Floats) -> Floats:
    """`array` less its mean along axis 0; exactly zero where a column is constant, whatever rounding does."""
    if not array.shape[0]:
        return array
    constant = np.ptp(array, axis=0) == 0
    return np.where(constant, 0.0, array - array.mean(axis=0))


def ratio(numerator: float, denominator: float) -> float:
    """The quotient; NaN where it is 0 / 0, infinite where only the denominator is 0. Never a warning."""
    if denominator != 0:
        return float(numerator / denominator)
    return float("nan") if numerator == 0 or np.isnan(numerator) else float(np.copysign(np.inf, numerator))
