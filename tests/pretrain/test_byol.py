from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from curate.pretrain.methods import StepInfo, base, byol
from tests.pretrain.tiny import START, crops, random, tiny


def test_byol_loss_is_the_papers() -> None:
    p, z = random(6, 5).requires_grad_(), random(6, 5, seed=1).requires_grad_()
    a, b = (x.detach().double().numpy() for x in (p, z))
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    loss = byol.byol_loss(p, z)
    assert float(loss.detach()) == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-5)
    loss.backward()
    assert z.grad is None
    assert p.grad is not None


def test_byol_target_follows_with_a_momentum_schedule() -> None:
    assert base.momentum_schedule(0.99, 0, 100) == pytest.approx(0.99)
    assert base.momentum_schedule(0.99, 50, 100) == pytest.approx(0.995)
    assert base.momentum_schedule(0.99, 100, 100) == 1.0
    method = tiny("byol", **{"byol.momentum": 0.8})
    method.loss(method(crops(method)), START).backward()
    assert all(p.grad is None for p in method.target_backbone.parameters())
    old, online = method.target_projection[0].weight.clone(), method.projection[0].weight
    with torch.no_grad():
        online.mul_(2)
    info = StepInfo(5, 10, 0.0)
    method.after_update(info)
    tau = 1 - 0.2 * (math.cos(math.pi / 2) + 1) / 2
    torch.testing.assert_close(method.target_projection[0].weight, tau * old + (1 - tau) * online.detach())


def test_byol_crosses_the_crops() -> None:
    method = tiny("byol")
    p, z = random(4, 2, 8), random(4, 2, 8, seed=1)
    expected = byol.byol_loss(p[:, 0], z[:, 1]) + byol.byol_loss(p[:, 1], z[:, 0])
    assert float(method.loss({"prediction": p, "target": z}, START)) == pytest.approx(float(expected))
