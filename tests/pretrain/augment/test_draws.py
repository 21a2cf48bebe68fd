"""The random choices have the distribution of the functions whose names they bear."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from curate.pretrain.augment.draws import Draws, draw, numbers, side_by_side
from curate.pretrain.config import View
from tests.pretrain.augment.samples import PAPER, VIEW, uniforms


def reference_box(rng: np.random.Generator, height: int, width: int, scale: tuple[float, float]) -> tuple[int, ...]:
    """Random resized crop as its authors define it, one picture at a time."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        shape = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * shape)), round(np.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


@pytest.mark.parametrize("scale", [(0.14, 1.0), (0.05, 0.14)])
def test_boxes_have_the_reference_distribution(scale: tuple[float, float]) -> None:
    """Two-sample Kolmogorov-Smirnov tests of place, size, area and shape."""
    n = 4000
    boxes = draw(uniforms(n, 1), 224, 224, View(scale=scale), PAPER).box.double().numpy()
    rng = np.random.default_rng(1)
    reference = np.array([reference_box(rng, 224, 224, scale) for _ in range(n)], float)
    for measure in (
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] / (225 - b[:, 2]),
    ):
        p = scipy.stats.ks_2samp(measure(boxes), measure(reference)).pvalue
        assert p > 1e-3


def test_draws_have_the_papers_distribution() -> None:
    n = 20000
    draws = draw(uniforms(n, 2), 64, 64, VIEW, PAPER)
    for name, chance in {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.5, "solarize": 0.0}.items():
        share = getattr(draws, name).double().mean()
        assert abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / n)
    for values, (low, high) in (
        (draws.sigma, (0.1, 2.0)),
        (draws.factors[:, 0], (0.2, 1.8)),
        (draws.factors[:, 1], (0.2, 1.8)),
        (draws.factors[:, 2], (0.2, 1.8)),
        (draws.factors[:, 3], (-0.2, 0.2)),
    ):
        assert scipy.stats.kstest(values.numpy(), "uniform", (low, high - low)).pvalue > 1e-3
    _, counts = np.unique(draws.order.numpy() @ np.array([64, 16, 4, 1]), return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_no_box_fits_falls_back_to_the_centre() -> None:
    draws = draw(uniforms(3), 10, 100, View(scale=(0.9, 1.0)), PAPER)
    assert draws.box.tolist() == [[0.0, (100 - 13) // 2, 10.0, 13.0]] * 3


def test_numbers_belong_to_a_picture_of_a_step() -> None:
    """Any process can make those of its own pictures alone; they are uniform and never the same twice."""
    whole = numbers(3, 7, range(64), 37)
    assert whole.shape == (64, 37)
    for rows in (range(0, 5), range(5, 64), range(63, 64)):
        np.testing.assert_array_equal(numbers(3, 7, rows, 37), whole[rows.start : rows.stop])
    assert scipy.stats.kstest(numbers(0, 0, range(2000), 20).ravel(), "uniform").pvalue > 1e-3
    others = [whole, numbers(3, 8, range(64), 37), numbers(4, 7, range(64), 37)]
    assert len({part.tobytes() for part in others}) == 3
    assert len(np.unique(whole)) > 0.99 * whole.size
    assert (whole >= 0).all() and (whole < 1).all()


def test_a_packed_table_holds_every_choice() -> None:
    draws = draw(uniforms(9), 30, 40, View(solarize_p=0.5), PAPER)
    again = Draws.unpack(draws.pack())
    for name, value in vars(draws).items():
        assert (getattr(again, name) == value).all(), name
    two = side_by_side([draws, draw(uniforms(9, 1), 30, 40, VIEW, PAPER)])
    assert (two.box[::2] == draws.box).all()
    assert len(two.sigma) == 18
