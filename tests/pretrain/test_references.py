"""Losses against numbers of another implementation, committed as data (tests/data/reference_losses.py makes them)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from curate.pretrain.methods import StepInfo, simsiam, swav
from curate.pretrain.methods.barlow_twins import barlow_twins_loss
from curate.pretrain.methods.dinov2 import koleo_loss
from curate.pretrain.methods.simclr import nt_xent
from tests.pretrain.tiny import tiny

KNOWN = json.loads((Path(__file__).parents[1] / "data/reference_losses.json").read_text())


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def vicreg(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return tiny("vicreg").loss({"embedding": torch.stack((a, b), 1)}, StepInfo(0, 1, 0.0))


def swav_loss(scores: list[torch.Tensor]) -> torch.Tensor:
    codes = [swav.sinkhorn(one, 0.05, 3) for one in scores[:2]]
    return swav.swapped_loss(torch.stack(scores, 1), codes, 0.1)


def test_losses_are_those_of_lightly() -> None:
    a, b = numbers(1, 16, 12), numbers(2, 16, 12)
    scores = [F.normalize(numbers(seed, 16, 8), dim=1) for seed in range(3, 7)]
    ours = {
        "barlow_twins": barlow_twins_loss(a, b),
        "vicreg": vicreg(a, b),
        "koleo": koleo_loss(a),
        "simclr": nt_xent(a, b, 0.1),
        "simsiam": simsiam.negative_cosine(a, b),
        "swav": swav_loss(scores),
        "sinkhorn": swav.sinkhorn(scores[0], 0.05, 3).square().sum(),
    }
    assert ours.keys() == KNOWN.keys()
    for name, value in ours.items():
        assert float(value) == pytest.approx(KNOWN[name], rel=1e-5), name
