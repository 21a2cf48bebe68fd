from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.pretrain.methods import StepInfo, dinov2
from curate.pretrain.methods.swav import sinkhorn
from tests.pretrain.tiny import START, crops, log_softmax, noise, random, tiny


def test_rectangles_have_exactly_so_many_patches_and_no_holes() -> None:
    places = dinov2.rectangle(torch.rand(200, 3, generator=torch.Generator().manual_seed(0)), 7, 7, 15)
    assert places.shape == (200, 15)
    sizes = set()
    for row in places:
        assert len(set(row.tolist())) == 15
        y, x = row // 7, row % 7
        height, width = int(y.max() - y.min() + 1), int(x.max() - x.min() + 1)
        assert (height - 1) * (width - 1) < 15 <= height * width  # the outer ring alone may be incomplete
        sizes.add((height, width))
    assert len(sizes) > 5
    assert len(torch.bincount(places.flatten(), minlength=49).nonzero()) == 49


def test_loss_is_the_sum_of_its_definitions() -> None:
    method = tiny("dinov2", **{"dinov2.patches": 0.7, "dinov2.spread": 0.2})
    outputs = {
        "student": random(4, 5, 12),
        "teacher": random(4, 2, 12, seed=1),
        "patches": random(4, 3, 12, seed=2),
        "teacher_patches": random(4, 3, 12, seed=3),
        "features": random(4, 2, 6, seed=4),
    }
    info = StepInfo(0, 10, 15.0)  # half-way through the warm-up of 30 passes
    temperature = (0.04 + 0.07) / 2
    whole = sinkhorn(outputs["teacher"].reshape(8, 12), temperature).reshape(4, 2, 12).numpy()
    student, total, count = outputs["student"].numpy() / 0.1, 0.0, 0
    for t in range(2):
        for s in range(5):
            if s != t:
                total -= (whole[:, t] * log_softmax(student[:, s])).sum(1).mean()
                count += 1
    parts = sinkhorn(outputs["teacher_patches"].reshape(12, 12), temperature).reshape(4, 3, 12).numpy()
    hidden = -(parts * log_softmax(outputs["patches"].numpy() / 0.1)).sum(2).mean() / 2
    spread = 0.0
    for crop in range(2):
        x = outputs["features"][:, crop].double().numpy()
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        near = [min(np.linalg.norm(x[i] - x[j]) for j in range(4) if j != i) for i in range(4)]
        spread -= np.log(near).mean()
    assert float(method.loss(outputs, info)) == pytest.approx(total / count + 0.7 * hidden + 0.2 * spread, rel=1e-4)


def test_one_large_crop_of_two_has_hidden_patches_and_the_teacher_sees_all() -> None:
    method = tiny("dinov2").eval()
    given = noise(method)
    large = crops(method)[:2]
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        method.mask_token.fill_(100.0)
        hook = method.backbone.norm.register_forward_hook(lambda _, __, out: seen.append(out))
        outputs = method(large, noise=given)
        hook.remove()
        hidden = dinov2.rectangle(given[:, :3], 2, 2, method.count)
        plain = [method.backbone.encode(method.backbone.patches(crop)) for crop in large]
        taught = [method.teacher_backbone.encode(method.teacher_backbone.patches(crop)) for crop in large]
    second = given[:, 3] >= 0.5
    for index in range(2):
        same = torch.tensor([torch.allclose(a, b) for a, b in zip(seen[index], plain[index], strict=True)])
        assert torch.equal(same, second if index == 0 else ~second)
    row = torch.arange(4)
    shown = torch.stack([taught[int(s)][i] for i, s in zip(row, second, strict=True)])
    expected = method.teacher_patch_head(torch.stack([shown[i, 1:][hidden[i]] for i in row]).flatten(0, 1))
    torch.testing.assert_close(outputs["teacher_patches"].flatten(0, 1), expected)


def test_teacher_learns_nothing_follows_and_is_exported() -> None:
    method = tiny("dinov2")
    method.loss(method(crops(method), noise=noise(method)), START).backward()
    method.before_update(START)
    assert method.head.last.weight.grad is None
    assert method.mask_token.grad is not None
    assert all(p.grad is None for p in method.teacher_backbone.parameters())
    assert method.exported() is method.teacher_backbone
