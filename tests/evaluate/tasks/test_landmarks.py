"""Heatmaps against written-out references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curate.evaluate.tasks import landmarks


@given(st.floats(0.12, 0.88), st.floats(0.12, 0.88))
def test_heatmaps_are_read_finer_than_a_cell(x: float, y: float) -> None:
    side = 16
    centre = (torch.arange(side) + 0.5) / side
    distance = (centre[None, :] - x) ** 2 + (centre[:, None] - y) ** 2
    logits = (-0.5 * distance * side**2 / 1.0**2)[None, None]
    np.testing.assert_allclose(landmarks.decode_heatmaps(logits)[0, 0].numpy(), [x, y], atol=0.15 / side)


def test_heatmap_loss_is_least_at_the_truth() -> None:
    truth = torch.tensor([[[0.4, 0.6], [float("nan"), 0.1], [1.4, 0.5]]])
    side = 12
    centre = (torch.arange(side) + 0.5) / side

    def logits(x: float, y: float) -> torch.Tensor:
        return (-0.5 * ((centre[None, :] - x) ** 2 + (centre[:, None] - y) ** 2) * (side / 1.5) ** 2).expand(
            1, 3, side, side
        )

    right, wrong = (float(landmarks.heatmap_loss(logits(*p), truth, 1.5)) for p in ((0.4, 0.6), (0.5, 0.6)))
    assert right < wrong
    target = torch.softmax(logits(0.4, 0.6)[0, 0].flatten(), 0)
    assert right == pytest.approx(float(-(target * target.log()).sum()), rel=1e-4)
    unknown = truth[:, [1, 2, 1]]  # unknown points and those outside do not count
    assert float(landmarks.heatmap_loss(logits(0.1, 0.1), unknown, 1.5)) == 0


@pytest.mark.parametrize("shapes", [((8, 16), (16, 8), (32, 4)), ((24, 7),)])
def test_decoder_gives_a_heatmap_a_point(shapes: tuple[tuple[int, int], ...]) -> None:
    decoder = landmarks.HeatmapDecoder(shapes, 5, 16).eval()
    out = decoder([torch.randn(2, c, s, s) for c, s in shapes])
    side = shapes[0][1] if len(shapes) > 1 else 4 * shapes[0][1]
    assert out.shape == (2, 5, side, side)
