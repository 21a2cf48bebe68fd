"""The CCC loss against the metric."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.evaluate import metrics
from curate.evaluate.tasks import emotion


def test_ccc_loss_is_the_metric() -> None:
    rng = np.random.default_rng(0)
    p, t = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    t[:5, 1] = np.nan
    known = ~np.isnan(t[:, 1])
    expected = 1 - (metrics.ccc(p[:, 0], t[:, 0]) + metrics.ccc(p[known, 1], t[known, 1])) / 2
    found = emotion.ccc_loss(torch.from_numpy(p), torch.from_numpy(t))
    assert float(found) == pytest.approx(expected, abs=1e-5)
    flat = torch.zeros(4, 1, requires_grad=True)
    emotion.ccc_loss(flat, torch.ones(4, 1)).backward()
    assert torch.isfinite(flat.grad).all()
