from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.pretrain.methods import supervised
from tests.pretrain.tiny import START, crops, log_softmax, tiny


@pytest.mark.parametrize("loss", ["softmax", "cosface", "arcface"])
def test_supervised_losses_are_the_papers(loss: str) -> None:
    method = tiny("supervised", **{"supervised.loss": loss})
    labels = torch.tensor([0, 3, 4, 3])
    outputs = method(crops(method), labels)
    scores = outputs["scores"].detach().double().numpy()
    if loss != "softmax":
        feature = method.backbone.eval()(crops(method)[0])
        assert np.abs(scores).max() <= 1 + 1e-6
        assert feature.shape == (4, 64)
    total = 0.0
    for row, label in zip(scores, labels.tolist(), strict=True):
        row = row.copy()
        if loss == "cosface":
            row[label] -= 0.35
        if loss == "arcface":
            row[label] = np.cos(np.arccos(row[label]) + 0.5)
        total -= log_softmax(row * (1 if loss == "softmax" else 64))[label]
    assert float(method.loss(outputs, START).detach()) == pytest.approx(total / 4, rel=1e-4)


def test_arcface_keeps_falling_beyond_pi() -> None:
    cosines = torch.linspace(-1, 1, 201)[:, None].repeat(1, 2)
    out = supervised.arcface(cosines, torch.zeros(201, dtype=torch.int64), 0.5)
    assert (out[:, 0].diff() > 0).all()
    assert torch.equal(out[:, 1], cosines[:, 1])
