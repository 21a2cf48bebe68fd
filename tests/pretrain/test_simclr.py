from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.pretrain.methods import simclr
from tests.pretrain.tiny import log_softmax, random


@settings(max_examples=20)
@given(st.integers(2, 9), st.integers(1, 6), st.sampled_from([0.07, 0.1, 0.5]), st.integers(0, 99))
def test_nt_xent_is_the_papers(n: int, d: int, temperature: float, seed: int) -> None:
    a, b = random(n, d, seed=seed), random(n, d, seed=seed + 1)
    z = torch.cat((a, b)).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = [k for k in range(2 * n) if k != i]
        total -= log_softmax(z[others] @ z[i] / temperature)[others.index(j)]
    assert float(simclr.nt_xent(a, b, temperature)) == pytest.approx(total / (2 * n), rel=1e-4, abs=1e-5)
