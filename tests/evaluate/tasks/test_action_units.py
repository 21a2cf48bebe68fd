"""Ordinal questions against written-out references; detection of units."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import nn

from curate.evaluate.features import FeatureTable
from curate.evaluate.probes import ProbeData
from curate.evaluate.samples import OccurrenceTarget
from curate.evaluate.tasks import action_units
from curate.evaluate.tasks.task import Predictions


def test_ordinal_questions_are_ordered_and_their_loss_is_cross_entropy() -> None:
    torch.manual_seed(0)
    head = action_units.Ordinal(4, 2, 5)
    nn.init.normal_(head.steps)
    logits = head(torch.randn(3, 4))
    assert logits.shape == (3, 2, 5) and (logits.diff(dim=2) <= 0).all()
    truth = torch.tensor([[0.0, 5.0], [2.0, float("nan")], [3.0, 1.0]])
    total, count = 0.0, 0
    for i in range(3):
        for k in range(2):
            if not torch.isnan(truth[i, k]):
                above = [float(truth[i, k] > level) for level in range(5)]
                each = [np.log1p(np.exp(-z if a else z)) for z, a in zip(logits[i, k].tolist(), above, strict=True)]
                total, count = total + float(np.mean(each)), count + 1
    assert float(action_units.ordinal_loss(logits, truth).detach()) == pytest.approx(total / count, rel=1e-5)


def test_each_unit_is_detected_by_its_own_probe() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    values = np.stack([x[:, 0] > 0, x[:, 1] > 1, np.ones(200)], axis=1).astype(np.float64)
    values[::7, 0] = np.nan
    task = action_units.OccurrenceTask(OccurrenceTarget(("AU01", "AU02", "AU04"), values))
    rows = np.arange(200)
    probe = task.probe(ProbeData(FeatureTable([x]), rows, values, [(rows[:150], rows[150:])], rows, (0.001, 1.0)))
    found = probe(FeatureTable([x]), rows)
    scores = task.score(Predictions(found, rows, np.zeros((200, 2, 3)), 32))
    assert scores["f1_AU01"] > 0.95 and scores["f1_AU02"] > 0.9 and scores["f1_AU04"] == 1
    known = ~np.isnan(values[:, 0])
    expected = sklearn.metrics.f1_score(values[known, 0], found[known, 0] >= 0.5)
    assert scores["f1_AU01"] == pytest.approx(expected, abs=1e-12)
    assert scores["f1"] == pytest.approx(np.mean([scores[f"f1_AU0{u}"] for u in (1, 2, 4)]))
