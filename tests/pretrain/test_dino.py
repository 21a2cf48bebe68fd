from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.pretrain.methods import StepInfo, dino
from tests.pretrain.tiny import START, crops, log_softmax, random, tiny


def test_dino_loss_is_the_papers() -> None:
    student, teacher, center = random(3, 5, 6).requires_grad_(), random(3, 2, 6, seed=1).requires_grad_(), random(6)
    s, t = student.detach().double().numpy() / 0.1, (teacher.detach() - center).double().numpy() / 0.05
    total, count = 0.0, 0
    for i in range(2):
        for v in range(5):
            if v != i:
                total -= (np.exp(log_softmax(t[:, i])) * log_softmax(s[:, v])).sum(1).mean()
                count += 1
    loss = dino.dino_loss(student, teacher, center, 0.1, 0.05)
    assert float(loss.detach()) == pytest.approx(total / count, rel=1e-5)
    loss.backward()
    assert teacher.grad is None


def test_dino_center_and_temperature() -> None:
    method = tiny("dino", **{"dino.center_momentum": 0.75, "dino.teacher_warmup_epochs": 4})
    teacher = random(4, 2, 12)
    method.update_memory({"teacher": teacher}, START)
    torch.testing.assert_close(method.center, 0.25 * teacher.mean((0, 1)))
    method.update_memory({"teacher": teacher}, START)
    torch.testing.assert_close(method.center, (0.25 * 0.75 + 0.25) * teacher.mean((0, 1)))
    temperatures = [method.teacher_temperature(StepInfo(0, 1, epoch)) for epoch in (0.0, 0.9, 2.0, 3.0, 9.0)]
    first, _, third, last = np.linspace(0.04, 0.07, 4)  # one a pass
    assert temperatures == pytest.approx([first, first, third, last, last])


def test_dino_teacher_sees_two_crops_learns_nothing_and_is_exported() -> None:
    method = tiny("dino")
    outputs = method(crops(method))
    assert outputs["student"].shape == (4, 4, 12)
    assert outputs["teacher"].shape == (4, 2, 12)
    method.loss(outputs, START).backward()
    method.before_update(START)
    assert method.head.last.weight.grad is None  # frozen for the first pass
    assert all(p.grad is None for p in method.teacher_backbone.parameters())
    assert method.exported() is method.teacher_backbone
