from __future__ import annotations

import math

import pytest
import torch

from curate.pretrain.backbones import VisionTransformer, sincos_positions
from curate.pretrain.methods import mocov3
from curate.pretrain.methods.base import Setup
from tests.pretrain.tiny import START, crops, log_softmax, random, tiny, unit


def test_contrast_is_the_authors() -> None:
    """Algorithm 1: cross-entropy of q k^T / t against the diagonal, times 2 t."""
    q, k = random(5, 4), random(5, 4, seed=1)
    unit_q, unit_k = (x / x.norm(dim=1, keepdim=True) for x in (q, k))
    logits = (unit_q @ unit_k.T).numpy() / 0.2
    expected = -sum(log_softmax(logits[i])[i] for i in range(5)) / 5 * 2 * 0.2
    assert float(mocov3.contrast(q, k, 0.2)) == pytest.approx(expected, rel=1e-5)
    assert float(mocov3.contrast(torch.zeros(4, 3), unit(4, 3), 0.2)) == pytest.approx(0.4 * math.log(4))


def test_both_crops_are_queries_and_keys_do_not_learn() -> None:
    method = tiny("mocov3")
    outputs = method(crops(method))
    q, k = outputs["queries"], outputs["keys"]
    expected = mocov3.contrast(q[:, 0], k[:, 1]) + mocov3.contrast(q[:, 1], k[:, 0])
    loss = method.loss(outputs, START)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()))
    loss.backward()
    assert all(p.grad is None for p in method.key_backbone.parameters())
    key, query = method.key_backbone.conv1.weight.clone(), method.backbone.conv1.weight
    with torch.no_grad():
        query += 1.0
    method.after_update(START)
    torch.testing.assert_close(method.key_backbone.conv1.weight, 0.99 * key + 0.01 * query.detach())


def test_transformers_begin_as_the_authors_do() -> None:
    backbone = VisionTransformer(32, 2, 2, grid=2)
    settings = mocov3.Mocov3Settings(hidden=16, dim=8)
    method = mocov3.Mocov3(backbone, settings, Setup(batch=4, crop_size=32))
    assert torch.equal(backbone.pos_embed, sincos_positions(2, 32))
    fixed = [name for name, p in method.named_parameters() if not p.requires_grad and not name.startswith("key_")]
    assert fixed == ["backbone.pos_embed", "backbone.patch_embed.proj.weight", "backbone.patch_embed.proj.bias"]
    bound = math.sqrt(6 / (32 + 32))
    largest = float(backbone.blocks[0].attn.qkv.weight.detach().abs().max())
    assert 0.9 * bound < largest <= bound
    linears = [m for m in method.projection if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linears] == [16, 16, 8]
    assert all(m.bias is None for m in linears)
