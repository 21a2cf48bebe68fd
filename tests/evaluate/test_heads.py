"""Heads and losses against written-out references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from curate.evaluate import heads, metrics
from curate.evaluate.config import Finetune
from curate.evaluate.crops import apply
from curate.evaluate.finetune import chained, jitter, schedule


@given(st.floats(0.12, 0.88), st.floats(0.12, 0.88))
def test_heatmaps_are_read_finer_than_a_cell(x: float, y: float) -> None:
    side = 16
    centre = (torch.arange(side) + 0.5) / side
    distance = (centre[None, :] - x) ** 2 + (centre[:, None] - y) ** 2
    logits = (-0.5 * distance * side**2 / 1.0**2)[None, None]
    np.testing.assert_allclose(heads.decode_heatmaps(logits)[0, 0].numpy(), [x, y], atol=0.15 / side)


def test_heatmap_loss_is_least_at_the_truth() -> None:
    truth = torch.tensor([[[0.4, 0.6], [float("nan"), 0.1], [1.4, 0.5]]])
    side = 12
    centre = (torch.arange(side) + 0.5) / side

    def logits(x: float, y: float) -> torch.Tensor:
        return (-0.5 * ((centre[None, :] - x) ** 2 + (centre[:, None] - y) ** 2) * (side / 1.5) ** 2).expand(
            1, 3, side, side
        )

    right, wrong = (float(heads.heatmap_loss(logits(*p), truth, 1.5)) for p in ((0.4, 0.6), (0.5, 0.6)))
    assert right < wrong
    target = torch.softmax(logits(0.4, 0.6)[0, 0].flatten(), 0)
    assert right == pytest.approx(float(-(target * target.log()).sum()), rel=1e-4)
    unknown = truth[:, [1, 2, 1]]  # unknown points and those outside do not count
    assert float(heads.heatmap_loss(logits(0.1, 0.1), unknown, 1.5)) == 0


@pytest.mark.parametrize("shapes", [((8, 16), (16, 8), (32, 4)), ((24, 7),)])
def test_decoder_gives_a_heatmap_a_point(shapes: tuple[tuple[int, int], ...]) -> None:
    decoder = heads.HeatmapDecoder(shapes, 5, 16).eval()
    out = decoder([torch.randn(2, c, s, s) for c, s in shapes])
    side = shapes[0][1] if len(shapes) > 1 else 4 * shapes[0][1]
    assert out.shape == (2, 5, side, side)


def test_ccc_loss_is_the_metric() -> None:
    rng = np.random.default_rng(0)
    p, t = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    t[:5, 1] = np.nan
    known = ~np.isnan(t[:, 1])
    expected = 1 - (metrics.ccc(p[:, 0], t[:, 0]) + metrics.ccc(p[known, 1], t[known, 1])) / 2
    found = heads.ccc_loss(torch.from_numpy(p), torch.from_numpy(t))
    assert float(found) == pytest.approx(expected, abs=1e-5)
    flat = torch.zeros(4, 1, requires_grad=True)
    heads.ccc_loss(flat, torch.ones(4, 1)).backward()
    assert torch.isfinite(flat.grad).all()


def test_masked_errors() -> None:
    p, t = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, float("nan")], [3.0, 1.0]])
    assert float(heads.masked_mse(p, t)) == pytest.approx(10 / 3)
    assert float(heads.masked_l1(p, t)) == pytest.approx(4 / 3)


def test_ordinal_questions_are_ordered_and_their_loss_is_cross_entropy() -> None:
    torch.manual_seed(0)
    head = heads.Ordinal(4, 2, 5)
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
    assert float(heads.ordinal_loss(logits, truth).detach()) == pytest.approx(total / count, rel=1e-5)


def test_cosface_by_hand() -> None:
    torch.manual_seed(0)
    head = heads.CosFace(3, 4, scale=8.0, margin=0.35)
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


def test_schedule_rises_then_falls() -> None:
    rates = [schedule(t, 0.1) for t in np.linspace(0, 1, 50)]
    assert max(rates) == pytest.approx(1, abs=0.01) and rates[-1] == pytest.approx(0, abs=1e-9) and rates[0] < 0.05
    assert all(a >= b for a, b in itertools.pairwise(rates[5:]))


@given(st.integers(0, 1000))
def test_jitter_stays_within_its_keys(seed: int) -> None:
    keys = Finetune(rotate=10, zoom=0.2, move=0.05)
    change = jitter(np.random.default_rng(seed), keys, 64, True)
    turn = change.matrix[:, :2]
    zoom = np.sqrt(np.linalg.det(turn))
    assert 1 / 1.2 - 1e-9 <= zoom <= 1.2 + 1e-9
    assert abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= 10 + 1e-9
    assert np.abs(apply(change.matrix, np.array([[31.5, 31.5]])) - 31.5).max() <= 0.05 * 64 + 1e-9
    first = np.array([[2.0, 0, 3], [0, 2, 1]])
    point = np.array([[4.0, 5.0]])
    np.testing.assert_allclose(apply(chained(change.matrix, first), point), apply(change.matrix, apply(first, point)))
