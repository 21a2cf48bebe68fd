from __future__ import annotations

import numpy as np
import pytest

from curate.pretrain.methods import simsiam
from tests.pretrain.tiny import START, random, tiny


def test_simsiam_loss_is_the_papers_and_stops_the_gradient() -> None:
    method = tiny("simsiam")
    p, z = random(4, 2, 8).requires_grad_(), random(4, 2, 8, seed=1).requires_grad_()
    loss = method.loss({"prediction": p, "projection": z}, START)
    a, b = p.detach().double().numpy(), z.detach().double().numpy()

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).mean())

    assert float(loss.detach()) == pytest.approx(-cosine(a[:, 0], b[:, 1]) / 2 - cosine(a[:, 1], b[:, 0]) / 2, rel=1e-5)
    loss.backward()
    assert z.grad is None
    assert simsiam.negative_cosine(p.detach()[:, 0], p.detach()[:, 0]) == pytest.approx(-1.0)
