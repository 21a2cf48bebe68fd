"""Ordinal questions against written-out references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from curate.evaluate.tasks import action_units


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
