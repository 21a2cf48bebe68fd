from __future__ import annotations

import numpy as np
import pytest
import torch

from curate.pretrain.methods import StepInfo, moco
from tests.pretrain.tiny import START, crops, log_softmax, tiny, unit


def test_info_nce_is_the_papers() -> None:
    q, k, queue = unit(5, 4), unit(5, 4, seed=1), unit(9, 4, seed=2)
    total = 0.0
    for i in range(5):
        logits = np.concatenate(([q[i] @ k[i]], (queue @ q[i]).numpy())) / 0.2
        total -= log_softmax(logits)[0]
    assert float(moco.info_nce(q, k, queue, 0.2)) == pytest.approx(total / 5, rel=1e-5)


def test_moco_queue_goes_round_and_loss_sees_the_old_one() -> None:
    method = tiny("moco", **{"moco.queue": 10})
    assert method.queue.shape == (8, 8)
    first, second, third = (unit(4, 8, seed=i) for i in range(3))
    before = method.queue.clone()
    outputs = {"queries": unit(4, 8, seed=9), "keys": first}
    expected = moco.info_nce(outputs["queries"], first, before, 0.2)
    assert float(method.loss(outputs, START)) == pytest.approx(float(expected))
    for step, keys in enumerate((first, second, third)):
        method.update_memory({"keys": keys}, StepInfo(step, 10, 0.0))
    torch.testing.assert_close(method.queue, torch.cat((third, second)))


def test_moco_keys_have_no_gradient_and_their_encoder_follows() -> None:
    method = tiny("moco", **{"moco.momentum": 0.9})
    method.loss(method(crops(method)), START).backward()
    assert all(p.grad is None for p in method.key_backbone.parameters())
    assert all(p.grad is not None for p in method.backbone.parameters())
    key, query = method.key_backbone.conv1.weight.clone(), method.backbone.conv1.weight
    with torch.no_grad():
        query += 1.0
    method.after_update(START)
    torch.testing.assert_close(method.key_backbone.conv1.weight, 0.9 * key + 0.1 * query.detach())
