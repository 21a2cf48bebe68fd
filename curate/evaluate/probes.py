"""What is read from frozen features without training a network: ridge, logistic regression, nearest neighbours.

Features are standardised with the training samples' statistics. The strength of a penalty is chosen on validation
samples only: the data set's own, else five folds of the training samples (one hold-out part where they are many),
subjects kept whole; then the probe is fitted on all training samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from curate.evaluate.features import FeatureTable
from curate.stages.backend import unit

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
Indices = NDArray[np.int64]
Parts = Sequence[tuple[Indices, Indices]]
"""Positions among the training samples that fit, and that validate; several times."""
Predictor = Callable[[FeatureTable, Indices], Floats]
"""Takes features and rows of them; gives float64 [len(rows), K]."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """Standardisation: float32 [D] twice; constant features become 0."""

    mean: Single
    factor: Single

    def __call__(self, vectors: Single) -> Single:
        """float32 [n, D], mean 0 and mean squared length 1 over the samples that it was made of."""
        return np.asarray((vectors - self.mean) * self.factor, np.float32)


def scaler(table: FeatureTable, rows: Indices) -> Scaler:
    """Statistics of these rows, summed in float64."""
    total, squares = np.zeros(table.shape[1]), np.zeros(table.shape[1])
    shift = table.take(rows[:1])[0].astype(np.float64) if len(rows) else 0.0  # squares of large means would cancel
    for _, block in table.blocks(rows):
        moved = block - shift
        total += moved.sum(axis=0)
        squares += np.square(moved).sum(axis=0)
    mean = total / max(len(rows), 1)
    deviation = np.sqrt(np.maximum(squares / max(len(rows), 1) - mean**2, 0))
    dead = deviation <= 1e-6 * max(float(deviation.max(initial=0.0)), 1e-12)
    factor = np.where(dead, 0.0, 1 / np.where(dead, 1.0, deviation) / np.sqrt(max((~dead).sum(), 1)))
    return Scaler((mean + shift).astype(np.float32), factor.astype(np.float32))


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A fitted linear probe: `weight` float32 [D, K], `bias` float64 [K], on standardised features."""

    scaler: Scaler
    weight: Single
    bias: Floats

    def __call__(self, table: FeatureTable, rows: Indices) -> Floats:
        """float64 [len(rows), K]."""
        out = np.empty((len(rows), len(self.bias)))
        for where, block in table.blocks(rows):
            out[where] = self.scaler(block) @ self.weight + self.bias
        return out


@dataclass(frozen=True, eq=False)
class ProbeData:
    """What a probe is fitted on.

    Attributes:
        rows: rows of `table`: the training samples, and those that only validate.
        targets: float64 [len(rows), K]; NaN where unknown.
        parts: how to choose the strength; empty: the middle one is taken.
        final: positions in `rows` of those that train.
        strengths: of the penalty, in hundredths of the features' mean squared length (1 after standardisation).
    """

    table: FeatureTable
    rows: Indices
    targets: Floats
    parts: Parts
    final: Indices
    strengths: Sequence[float]


def ridge(data: ProbeData) -> LinearMap:
    """Ridge regression in closed form; columns that are known for the same samples are solved together."""
    table, rows, final = data.table, data.rows, data.final
    scale = scaler(table, rows[final])
    known = ~np.isnan(data.targets)
    weight = np.zeros((table.shape[1], data.targets.shape[1]), np.float32)
    bias = np.zeros(data.targets.shape[1])
    patterns, member = np.unique(known, axis=1, return_inverse=True)
    for index in range(patterns.shape[1]):
        columns = np.flatnonzero(member.ravel() == index)
        there = np.flatnonzero(patterns[:, index])
        place = np.full(len(rows), -1)
        place[there] = np.arange(there.size)
        last = place[final][place[final] >= 0]
        if not last.size:
            continue
        inside = [(place[fit][place[fit] >= 0], place[check][place[check] >= 0]) for fit, check in data.parts]
        usable = [(fit, check) for fit, check in inside if fit.size and check.size]
        values = data.targets[np.ix_(there, columns)]
        level = values[last].mean(axis=0)
        own = replace(data, rows=rows[there], targets=values - level, parts=usable, final=last)
        solve = _dual if there.size <= table.shape[1] else _primal
        weight[:, columns] = solve(own, scale)
        bias[columns] = level
    return _recentred(LinearMap(scale, weight, bias), table, rows[final], data.targets[final])


def _recentred(probe: LinearMap, table: FeatureTable, rows: Indices, targets: Floats) -> LinearMap:
    """The same map with the bias that leaves no mean error on the training samples."""
    error = targets - probe(table, rows)
    counts = np.maximum((~np.isnan(error)).sum(axis=0), 1)
    return LinearMap(probe.scaler, probe.weight, probe.bias + np.nansum(error, axis=0) / counts)


def _dual(data: ProbeData, scale: Scaler) -> Single:
    """Weights [D, K] by the n x n Gram matrix, for fewer samples than features; every target is known."""
    y, strengths = data.targets, data.strengths
    vectors = scale(data.table.take(data.rows))
    gram = (vectors @ vectors.T).astype(np.float64)

    def fit(inside: Indices, strengths: Sequence[float]) -> list[Floats]:
        values, basis = np.linalg.eigh(gram[np.ix_(inside, inside)])
        turned = basis.T @ y[inside]
        return [basis @ (turned / (np.maximum(values, 0)[:, None] + s * len(inside) / 100)) for s in strengths]

    def losses(inside: Indices, outside: Indices) -> list[float]:
        kernel = gram[np.ix_(outside, inside)]
        return [float(np.square(kernel @ alpha - y[outside]).mean()) for alpha in fit(inside, strengths)]

    strength = _best(data.parts, losses, strengths)
    return np.asarray(vectors[data.final].T @ fit(data.final, [strength])[0], dtype=np.float32)


def _primal(data: ProbeData, scale: Scaler) -> Single:
    """Weights [D, K] by the D x D covariance, for more samples than features; every target is known."""
    table, rows, y, strengths = data.table, data.rows, data.targets, data.strengths

    def moments(inside: Indices) -> tuple[Floats, Floats]:
        covariance = np.zeros((table.shape[1], table.shape[1]))
        cross = np.zeros((table.shape[1], y.shape[1]))
        for where, block in table.blocks(rows[inside]):
            x = scale(block)
            covariance += x.T @ x
            cross += x.T @ y[inside[where]]
        return covariance, cross

    def solve(covariance: Floats, cross: Floats, count: int, strength: float) -> Floats:
        system = covariance + np.eye(len(covariance)) * (strength * count / 100)
        return np.asarray(scipy.linalg.solve(system, cross, assume_a="pos", overwrite_a=True))

    def losses(inside: Indices, outside: Indices) -> list[float]:
        covariance, cross = moments(inside)
        solutions = [solve(covariance, cross, len(inside), s) for s in strengths]
        totals = np.zeros(len(strengths))
        for where, block in table.blocks(rows[outside]):
            x = scale(block)
            totals += [float(np.square(x @ w - y[outside[where]]).sum()) for w in solutions]
        return [float(total) for total in totals]

    strength = _best(data.parts, losses, strengths)
    return np.asarray(solve(*moments(data.final), len(data.final), strength), dtype=np.float32)


def _best(parts: Parts, losses: Callable[[Indices, Indices], list[float]], strengths: Sequence[float]) -> float:
    """The strength of the least summed validation loss; the strongest of equals; the middle one without validation."""
    if not parts or len(strengths) == 1:
        return strengths[len(strengths) // 2]
    totals = np.sum([losses(fit, check) for fit, check in parts], axis=0)
    return strengths[int(np.flatnonzero(totals <= totals.min())[-1])]


def logistic(data: ProbeData, classes: int, weights: Floats | None = None) -> LinearMap:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS; it gives logits [n, classes].

    Args:
        data: its targets are [len(rows), 1], classes in [0, `classes`).
        classes: how many there are.
        weights: float64 [classes], how much a sample of each class counts; None: all alike.
    """
    table, rows, final = data.table, data.rows, data.final
    labels = data.targets[:, 0].astype(np.int64)
    counted = np.ones(classes) if weights is None else weights
    scale = scaler(table, rows[final])

    def fit(inside: Indices, strength: float, start: Floats, tolerance: float) -> Floats:
        penalty = strength / 100
        blocks = _standardised(table, rows[inside], scale)

        def objective(flat: Floats) -> tuple[float, Floats]:
            w = flat.reshape(-1, classes)
            loss, slope = 0.0, np.zeros_like(w)
            for where, x in blocks():
                correct = labels[inside[where]]
                logits = x @ w[:-1].astype(np.float32) + w[-1]
                own = counted[correct]
                loss -= float((own * _log_softmax(logits)[np.arange(len(correct)), correct]).sum())
                error = np.exp(_log_softmax(logits))
                error[np.arange(len(correct)), correct] -= 1
                error *= own[:, None]
                slope[:-1] += x.T @ error.astype(np.float32)
                slope[-1] += error.sum(axis=0)
            loss = loss / len(inside) + penalty / 2 * float(np.square(w[:-1]).sum())
            slope /= len(inside)
            slope[:-1] += penalty * w[:-1]
            return loss, slope.ravel()

        options = {"maxiter": 200, "ftol": tolerance}
        found = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x, dtype=np.float64)

    def losses(inside: Indices, outside: Indices) -> list[float]:
        results, weights = [], np.zeros((table.shape[1] + 1) * classes)
        for strength in reversed(data.strengths):  # from strong to weak, each starting where the last one ended
            weights = fit(inside, strength, weights, ROUGH)
            w, total = weights.reshape(-1, classes), 0.0
            for where, x in _standardised(table, rows[outside], scale)():
                logits = x @ w[:-1] + w[-1]
                correct = labels[outside[where]]
                total -= float((counted[correct] * _log_softmax(logits)[np.arange(len(x)), correct]).sum())
            results.append(total)
        return results[::-1]

    strength = _best(data.parts, losses, data.strengths)
    w = fit(final, strength, np.zeros((table.shape[1] + 1) * classes), FINE).reshape(-1, classes)
    return LinearMap(scale, w[:-1].astype(np.float32), w[-1])


ROUGH, FINE = 1e-5, 2.2e-9
"""Relative gain of the loss below which a fit ends: where strengths are compared, and in the end."""
IN_MEMORY = 2**28
"""Numbers that a probe may hold at once; more are read from disk in every pass."""


def _standardised(table: FeatureTable, rows: Indices, scale: Scaler) -> Callable[[], Iterable[tuple[slice, Single]]]:
    """Standardised blocks of rows, again and again; kept where they are few."""
    if len(rows) * table.shape[1] > IN_MEMORY:
        return lambda: ((where, scale(block)) for where, block in table.blocks(rows))
    kept = [(where, scale(block)) for where, block in table.blocks(rows)]
    return lambda: kept


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)


def neighbours(
    table: FeatureTable, rows: Indices, targets: Floats, queries: Indices, k: int, temperature: float
) -> Floats:
    """Weighted means over the k training samples of the highest cosine, float64 [len(queries), K].

    Features are centred on the training samples' mean. A neighbour weighs exp(cosine / temperature); unknown targets
    (NaN) do not count, and where all are unknown the mean of the training samples stands.
    """
    mean: Single = scaler(table, rows).mean
    base = unit(table.take(rows) - mean)
    k = min(k, len(rows))
    fallback = np.array([np.nanmean(c) if (~np.isnan(c)).any() else 0.0 for c in targets.T])
    out = np.empty((len(queries), targets.shape[1]))
    for where, block in table.blocks(queries, 1024):
        cosine = unit(block - mean) @ base.T
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        weight = np.exp((np.take_along_axis(cosine, nearest, 1).astype(np.float64) - 1) / temperature)[..., None]
        found = targets[nearest]
        weight = np.where(np.isnan(found), 0.0, weight)
        total = weight.sum(axis=1)
        mean_of = (weight * np.nan_to_num(found)).sum(axis=1) / np.where(total > 0, total, 1.0)
        out[where] = np.where(total > 0, mean_of, fallback)
    return out


def reduce_maps(table: FeatureTable, rows: Indices, cells: int, width: int) -> FeatureTable:
    """Feature maps with their channels cut to the leading ones of a PCA over all cells of the training samples.

    Args:
        table: each row holds `cells` vectors of C channels, one after the other.
        width: longest row that is left as it is; longer ones keep `width // cells` channels, at least 1.
    """
    channels = table.shape[1] // max(cells, 1)
    kept = min(channels, max(width // max(cells, 1), 1))
    if table.shape[1] <= width or kept >= channels:
        return table
    total, second, count = np.zeros(channels), np.zeros((channels, channels)), 0
    for _, block in table.blocks(rows, 256):
        x = block.reshape(-1, channels).astype(np.float64)
        total += x.sum(axis=0)
        second += x.T @ x
        count += len(x)
    mean = total / max(count, 1)
    _, basis = np.linalg.eigh(second / max(count, 1) - np.outer(mean, mean))
    basis = basis[:, ::-1][:, :kept].astype(np.float32)
    everything = np.arange(len(table), dtype=np.int64)
    parts = [
        ((block.reshape(-1, channels) - mean.astype(np.float32)) @ basis).reshape(len(block), -1)
        for _, block in table.blocks(everything, 1024)
    ]
    return FeatureTable(parts)


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map for verification: `(x - mean) @ matrix`, float32 [D] and [D, D]."""

    mean: Single
    matrix: Single

    def __call__(self, vectors: Single) -> Single:
        """float32 [n, D], of any length."""
        return np.asarray((vectors - self.mean) @ self.matrix, np.float32)


def whitening(table: FeatureTable, rows: Indices, people: Indices | None, shrink: float) -> Whitening:
    """The inverse root of the covariance, shrunk by `shrink` towards its mean eigenvalue.

    With `people` (int64 [len(rows)]) it is the covariance *within* people (Hatch et al. 2006): directions in which one
    person's pictures differ count less. Without, it is that of all pictures.
    """
    mean = scaler(table, rows).mean.astype(np.float64)
    size = table.shape[1]
    scatter, sums = np.zeros((size, size)), np.zeros((0, size))
    if people is not None:
        sums = np.zeros((int(people.max(initial=-1)) + 1, size))
    for where, block in table.blocks(rows):
        x = block - mean
        scatter += x.T @ x
        if people is not None:
            np.add.at(sums, people[where], x)
    if people is not None:
        counts = np.maximum(np.bincount(people, minlength=len(sums)), 1)
        scatter -= sums.T @ (sums / counts[:, None])
    scatter /= max(len(rows), 1)
    level = max(float(np.trace(scatter)) / max(size, 1), 1e-12)
    values, basis = np.linalg.eigh((1 - shrink) * scatter + shrink * level * np.eye(size))
    matrix = (basis / np.sqrt(np.maximum(values, 1e-6 * level))) @ basis.T
    return Whitening(mean.astype(np.float32), matrix.astype(np.float32))
