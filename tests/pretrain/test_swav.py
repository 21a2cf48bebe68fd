from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.pretrain.methods import StepInfo, swav
from tests.pretrain.tiny import START, crops, log_softmax, random, tiny, unit


def sinkhorn_reference(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    q = np.exp(scores.astype(np.float64) / epsilon).T
    k, n = q.shape
    q /= q.sum()
    for _ in range(iterations):
        for row in range(k):
            q[row] /= q[row].sum() * k
        for column in range(n):
            q[:, column] /= q[:, column].sum() * n
    return (q * n).T


@settings(max_examples=30)
@given(
    st.integers(2, 20), st.integers(2, 15), st.sampled_from([0.03, 0.05, 0.5]), st.integers(1, 5), st.integers(0, 99)
)
def test_sinkhorn_is_the_papers(n: int, k: int, epsilon: float, iterations: int, seed: int) -> None:
    scores = torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    got = swav.sinkhorn(scores, epsilon, iterations).numpy()
    np.testing.assert_allclose(got, sinkhorn_reference(scores.numpy(), epsilon, iterations), rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)


def test_sinkhorn_marginals_become_equal() -> None:
    got = swav.sinkhorn(unit(40, 8) @ unit(10, 8, seed=1).T, 0.2, 200)
    np.testing.assert_allclose(got.sum(0), 4.0, rtol=1e-3)
    np.testing.assert_allclose(got.sum(1), 1.0, rtol=1e-5)


def test_sinkhorn_survives_half_precision_and_small_epsilon() -> None:
    scores = (torch.rand(8, 6) * 2 - 1).half()
    assert torch.isfinite(swav.sinkhorn(scores, 0.03, 3)).all()


def test_swapped_loss_is_the_papers() -> None:
    scores = random(6, 5, 7)
    codes = [random(6, 7, seed=i).softmax(1) for i in (1, 2)]
    total = 0.0
    for i, code in enumerate(codes):
        part = 0.0
        for v in set(range(5)) - {i}:
            part -= (code.numpy() * log_softmax(scores[:, v].numpy() / 0.1)).sum(1).mean()
        total += part / 4
    assert float(swav.swapped_loss(scores, codes, 0.1)) == pytest.approx(total / 2, rel=1e-5)


def test_swav_loss_uses_codes_without_gradient() -> None:
    method = tiny("swav")
    outputs = method(crops(method))
    codes = [swav.sinkhorn(outputs["scores"][:, i].detach(), 0.05, 3) for i in (0, 1)]
    expected = swav.swapped_loss(outputs["scores"], codes, 0.1)
    got = method.loss(outputs, START)
    assert float(got.detach()) == pytest.approx(float(expected.detach()))
    (mine,) = torch.autograd.grad(got, outputs["scores"], retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, outputs["scores"])
    torch.testing.assert_close(mine, theirs)


def test_swav_queue_is_first_in_first_out_and_waits_until_it_is_full() -> None:
    method = tiny("swav", **{"swav.queue": 9, "swav.queue_from_epoch": 1})
    assert method.queue.shape == (2, 8, 8)  # cut to whole batches of 4
    history = []
    for step in range(5):
        embedding = unit(4, 4, 8, seed=step)
        scores = embedding @ method.prototypes.weight.detach().T
        codes = method.codes(scores, StepInfo(step, 10, float(step)))
        if step >= 3:  # two batches since epoch 1 fill it
            for crop in range(2):
                stacked = torch.cat([*(h[:, crop] for h in reversed(history[-2:])), embedding[:, crop]])
                expected = swav.sinkhorn(stacked @ method.prototypes.weight.detach().T, 0.05, 3)[-4:]
                torch.testing.assert_close(codes[crop], expected)
        else:
            torch.testing.assert_close(codes[0], swav.sinkhorn(scores[:, 0], 0.05, 3))
        method.update_memory({"embedding": embedding}, StepInfo(step, 10, float(step)))
        history += [embedding] if step >= 1 else []
    torch.testing.assert_close(method.queue[1], torch.cat((history[-1][:, 1], history[-2][:, 1])))


def test_swav_prototypes_are_frozen_then_learn_and_stay_on_the_sphere() -> None:
    method = tiny("swav")
    optimiser = torch.optim.SGD(method.parameters(), 1.0)
    before = method.prototypes.weight.detach().clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(12))
    for step in range(3):
        info = StepInfo(step, 10, 0.0)
        optimiser.zero_grad()
        method.loss(method(crops(method)), info).backward()
        method.before_update(info)
        optimiser.step()
        method.after_update(info)
        assert torch.allclose(method.prototypes.weight, before, atol=1e-6) == (step < 2)
        torch.testing.assert_close(method.prototypes.weight.detach().norm(dim=1), torch.ones(12))


@pytest.mark.parametrize("epsilon", [0.05, 0.008, 0.001, 1e-5])
def test_assignments_are_finite_at_any_epsilon(epsilon: float) -> None:
    """As plain Sinkhorn in extended precision, where its exponentials can be had; rows sum to 1 everywhere."""
    scores = (unit(24, 16) @ unit(10, 16, seed=1).T).float()
    found = swav.sinkhorn(scores, epsilon).double().numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    if epsilon >= 0.001:
        q = np.exp(scores.numpy().astype(np.longdouble) / np.longdouble(epsilon))
        for _ in range(3):
            q /= q.sum(0, keepdims=True) * q.shape[1]
            q /= q.sum(1, keepdims=True) * q.shape[0]
        np.testing.assert_allclose(found, (q * len(q)).astype(np.float64), atol=2e-7 / epsilon)
