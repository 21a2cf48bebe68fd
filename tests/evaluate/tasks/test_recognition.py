"""CosFace by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.evaluate.tasks import recognition


def test_cosface_by_hand() -> None:
    torch.manual_seed(0)
    head = recognition.CosFace(3, 4, scale=8.0, margin=0.35)
    x, people = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    cosines = head(x)
    w = head.weight.detach().numpy()
    by_hand = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)) @ (
        w / np.linalg.norm(w, axis=1, keepdims=True)
    ).T
    np.testing.assert_allclose(cosines.detach().numpy(), by_hand, atol=1e-6)
    logits = 8.0 * (by_hand - 0.35 * np.eye(4)[people.numpy()])
    expected = np.mean([np.log(np.exp(row - row[p]).sum()) for row, p in zip(logits, people.numpy(), strict=True)])
    assert float(head.loss(cosines, people).detach()) == pytest.approx(float(expected), rel=1e-5)
