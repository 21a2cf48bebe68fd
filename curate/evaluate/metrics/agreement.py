"""How well continuous predictions agree with the target: ICC(3,1), CCC, PCC, RMSE, MSE, MAE, sign agreement.

Degenerate input, one rule for all: what the formula leaves at 0 / 0 is NaN. So ICC, CCC and PCC of too few samples are
NaN; a constant prediction of a target that varies has ICC and CCC 0 and PCC NaN; two equal constants have NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from curate.evaluate.metrics.arrays import centred, finite, pair, ratio


def icc_3_1(ratings: ArrayLike) -> float:
    """ICC(3,1): two-way mixed effects, consistency, one rater (Shrout and Fleiss, 1979).

    `(BMS - EMS) / (BMS + (k - 1) EMS)`, with the mean squares between targets and of the residual.

    Args:
        ratings: float [n, k]: n targets, each rated by k raters; for a predictor, `stack([predicted, target], 1)`.

    Returns:
        In [-1 / (k - 1), 1]; NaN where n < 2 or every rating of each rater is the same.

    Raises:
        ValueError: not [n, k >= 2], or not finite.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"ratings: expected [n, k >= 2], got shape {table.shape}")
    finite(table, "ratings")
    n, k = table.shape
    if n < 2:
        return float("nan")
    table = centred(table)  # the raters' own levels do not count
    of_target = table.mean(axis=1, keepdims=True)
    between = k * np.square(of_target).sum() / (n - 1)
    residual = np.square(table - of_target).sum() / ((n - 1) * (k - 1))
    return ratio(between - residual, between + (k - 1) * residual)


def icc(predicted: ArrayLike, target: ArrayLike) -> float:
    """ICC(3,1) of a predictor and the target as two raters, float [N] each. See `icc_3_1`."""
    return icc_3_1(np.stack(pair(predicted, target), axis=1))


def ccc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Concordance correlation coefficient (Lin, 1989), with moments divided by N.

    `2 cov / (var_p + var_t + (mean_p - mean_t)^2)`.
    """
    p, t = pair(predicted, target)
    if p.size < 2:
        return float("nan")
    cp, ct = centred(p), centred(t)
    apart = 0.0 if _same_constant(p, t) else float(p.mean() - t.mean())
    return ratio(2 * float((cp * ct).mean()), float(np.square(cp).mean() + np.square(ct).mean()) + apart**2)


def pcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Pearson's correlation, in [-1, 1]; NaN where either is constant or N < 2."""
    cp, ct = (centred(x) for x in pair(predicted, target))
    if cp.size < 2 or not cp.any() or not ct.any():
        return float("nan")
    cp, ct = cp / np.abs(cp).max(), ct / np.abs(ct).max()  # squares neither overflow nor vanish
    return float(np.clip(cp @ ct / (np.linalg.norm(cp) * np.linalg.norm(ct)), -1.0, 1.0))


def rmse(predicted: ArrayLike, target: ArrayLike) -> float:
    """Root of the mean squared error; NaN where N = 0."""
    p, t = pair(predicted, target)
    return float(np.sqrt(np.square(p - t).mean())) if p.size else float("nan")


def mse(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean squared error; NaN where N = 0."""
    p, t = pair(predicted, target)
    return float(np.square(p - t).mean()) if p.size else float("nan")


def mae(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error; NaN where N = 0."""
    p, t = pair(predicted, target)
    return float(np.abs(p - t).mean()) if p.size else float("nan")


def sagr(predicted: ArrayLike, target: ArrayLike) -> float:
    """Sign agreement: the share of samples whose signs are equal; the sign of 0 is 0. NaN where N = 0."""
    p, t = pair(predicted, target)
    return float((np.sign(p) == np.sign(t)).mean()) if p.size else float("nan")


def _same_constant(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.ptp(a) == 0 and np.ptp(b) == 0 and a[0] == b[0])
