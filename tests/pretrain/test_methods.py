"""Losses against definitions written anew in NumPy, and what each method must never do."""

from __future__ import annotations

import pytest
import torch

from curate.pretrain import config
from curate.pretrain.methods.base import features, follow
from tests.pretrain.tiny import START, crops, tiny


def test_multi_crop_features_equal_one_by_one() -> None:
    method = tiny("swav").eval()
    several = crops(method)
    together = features(method.backbone, several)
    for index, crop in enumerate(several):
        torch.testing.assert_close(together[:, index], method.backbone(crop), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", config.METHODS)
def test_every_method_learns_a_step_and_leaves_no_parameter_behind(name: str) -> None:
    method = tiny(name)
    labels = torch.tensor([0, 1, 2, 3]) if name == "supervised" else None
    outputs = method(crops(method), labels)
    assert all(len(value) == 4 for value in outputs.values())
    loss = method.loss(outputs, START)
    assert loss.shape == ()
    loss.backward()
    unused = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    assert all(name.startswith(tuple(method.state_dict())) for name in method.constant_rate) or any(
        n.startswith(method.constant_rate) for n, _ in method.named_parameters()
    )


def test_follow_moves_by_the_definition() -> None:
    a, b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    expected = 0.7 * a.weight.detach() + 0.3 * b.weight.detach()
    follow(a, b, 0.7)
    torch.testing.assert_close(a.weight.detach(), expected)
