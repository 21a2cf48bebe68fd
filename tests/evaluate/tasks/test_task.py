"""What tasks share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.evaluate.tasks import task


def test_masked_errors() -> None:
    p, t = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, float("nan")], [3.0, 1.0]])
    assert float(task.masked_mse(p, t)) == pytest.approx(10 / 3)
    assert float(task.masked_l1(p, t)) == pytest.approx(4 / 3)


def test_predictions_stay_within_reach_of_the_targets() -> None:
    targets = np.array([[0.0, np.nan, 1.0], [1.0, np.nan, 1.0], [0.5, np.nan, np.nan]])
    found = task.within_reach(np.array([[0.3, 7.0, 1.0], [42.0, -7.0, 3.0], [-42.0, 0.0, 1.0]]), targets)
    np.testing.assert_array_equal(found, [[0.3, 7.0, 1.0], [1.5, -7.0, 1.0], [-0.5, 0.0, 1.0]])
