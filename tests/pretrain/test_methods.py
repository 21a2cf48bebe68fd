"""Losses against definitions written anew in NumPy, and what each method must never do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curate.pretrain import config, methods
from curate.pretrain.backbones import BasicBlock, ResNet, VisionTransformer
from curate.pretrain.methods import Moment, byol, dino, mae, moco, simclr, simsiam, supervised, swav
from curate.pretrain.methods.base import features, follow

START = Moment(0, 10, 0.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(random(*shape, seed=seed), dim=-1)


def tiny(method: str, **overrides: Any) -> methods.Method:
    """A method around a network of a few thousand parameters."""
    torch.manual_seed(0)
    usual = {"method": method, "steps": 10, "batch": 4, "crop_size": 32, "arch": "resnet18"}
    if method == "mae":
        usual |= {"arch": "vit_s", "mae.decoder_dim": 16, "mae.decoder_depth": 1, "mae.decoder_heads": 2}
    if method == "dino":
        usual |= {"dino.hidden": 16, "dino.bottleneck": 8, "dino.prototypes": 12}
    if method in ("swav", "simclr", "moco", "byol", "simsiam"):
        usual |= {f"{method}.hidden": 16, f"{method}.dim": 8}
    if method == "swav":
        usual |= {"swav.prototypes": 12, "swav.queue": 0, "swav.freeze_prototypes_steps": 2}
    recipe = config.load(None, usual | overrides)
    vit = method == "mae"
    backbone = VisionTransformer(16, 2, 2, grid=2) if vit else ResNet(BasicBlock, (1, 1, 1, 1), width=4)
    return methods.build(backbone, recipe, classes=5).train()


def crops(method: methods.Method, n: int = 4) -> list[Tensor]:
    count = {"Swav": 4, "Dino": 4, "Mae": 1, "Supervised": 1}.get(type(method).__name__, 2)
    return [random(n, 3, 32 if i < 2 else 16, 32 if i < 2 else 16, seed=i) for i in range(count)]


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# -------------------------------------------------------------------------------------------------------------- SwAV


def sinkhorn_reference(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    q = np.exp(scores.astype(np.float64) / epsilon).T
    k, n = q.shape
    q /= q.sum()
    for _ in range(iterations):
        for row in range(k):
            q[row] /= q[row].sum() * k
        for column in range(n):
            q[:, column] /= q[:, column].sum() * n
    return (q * n).T


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 20), st.integers(2, 15), st.sampled_from([0.03, 0.05, 0.5]), st.integers(1, 5), st.integers(0, 99)
)
def test_sinkhorn_is_the_papers(n: int, k: int, epsilon: float, iterations: int, seed: int) -> None:
    scores = torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    got = swav.sinkhorn(scores, epsilon, iterations).numpy()
    np.testing.assert_allclose(got, sinkhorn_reference(scores.numpy(), epsilon, iterations), rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)


def test_sinkhorn_marginals_become_equal() -> None:
    got = swav.sinkhorn(unit(40, 8) @ unit(10, 8, seed=1).T, 0.2, 200)
    np.testing.assert_allclose(got.sum(0), 4.0, rtol=1e-3)
    np.testing.assert_allclose(got.sum(1), 1.0, rtol=1e-5)


def test_sinkhorn_survives_half_precision_and_small_epsilon() -> None:
    scores = (torch.rand(8, 6) * 2 - 1).half()
    assert torch.isfinite(swav.sinkhorn(scores, 0.03, 3)).all()


def test_swapped_loss_is_the_papers() -> None:
    scores = random(6, 5, 7)
    codes = [random(6, 7, seed=i).softmax(1) for i in (1, 2)]
    total = 0.0
    for i, code in enumerate(codes):
        part = 0.0
        for v in set(range(5)) - {i}:
            part -= (code.numpy() * log_softmax(scores[:, v].numpy() / 0.1)).sum(1).mean()
        total += part / 4
    assert float(swav.swapped_loss(scores, codes, 0.1)) == pytest.approx(total / 2, rel=1e-5)


def test_swav_loss_uses_codes_without_gradient() -> None:
    method = tiny("swav")
    outputs = method(crops(method))
    codes = [swav.sinkhorn(outputs["scores"][:, i].detach(), 0.05, 3) for i in (0, 1)]
    expected = swav.swapped_loss(outputs["scores"], codes, 0.1)
    got = method.loss(outputs, START)
    assert float(got.detach()) == pytest.approx(float(expected.detach()))
    (mine,) = torch.autograd.grad(got, outputs["scores"], retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, outputs["scores"])
    torch.testing.assert_close(mine, theirs)


def test_swav_queue_is_first_in_first_out_and_waits_until_it_is_full() -> None:
    method = tiny("swav", **{"swav.queue": 9, "swav.queue_from_epoch": 1})
    assert method.queue.shape == (2, 8, 8)  # cut to whole batches of 4
    history = []
    for step in range(5):
        embedding = unit(4, 4, 8, seed=step)
        scores = embedding @ method.prototypes.weight.detach().T
        codes = method.codes(scores)
        if step >= 3:  # two batches since epoch 1 fill it
            for crop in range(2):
                stacked = torch.cat([*(h[:, crop] for h in reversed(history[-2:])), embedding[:, crop]])
                expected = swav.sinkhorn(stacked @ method.prototypes.weight.detach().T, 0.05, 3)[-4:]
                torch.testing.assert_close(codes[crop], expected)
        else:
            torch.testing.assert_close(codes[0], swav.sinkhorn(scores[:, 0], 0.05, 3))
        method.remember({"embedding": embedding}, Moment(step, 10, float(step)))
        history += [embedding] if step >= 1 else []
    torch.testing.assert_close(method.queue[1], torch.cat((history[-1][:, 1], history[-2][:, 1])))


def test_swav_prototypes_are_frozen_then_learn_and_stay_on_the_sphere() -> None:
    method = tiny("swav")
    optimiser = torch.optim.SGD(method.parameters(), 1.0)
    before = method.prototypes.weight.detach().clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(12))
    for step in range(3):
        moment = Moment(step, 10, 0.0)
        optimiser.zero_grad()
        method.loss(method(crops(method)), moment).backward()
        method.before_update(moment)
        optimiser.step()
        method.after_update(moment)
        assert torch.allclose(method.prototypes.weight, before, atol=1e-6) == (step < 2)
        torch.testing.assert_close(method.prototypes.weight.detach().norm(dim=1), torch.ones(12))


def test_multi_crop_features_equal_one_by_one() -> None:
    method = tiny("swav").eval()
    several = crops(method)
    together = features(method.backbone, several)
    for index, crop in enumerate(several):
        torch.testing.assert_close(together[:, index], method.backbone(crop), atol=1e-5, rtol=1e-4)


# -------------------------------------------------------------------------------------------- contrastive and siamese


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 6), st.sampled_from([0.07, 0.1, 0.5]), st.integers(0, 99))
def test_nt_xent_is_the_papers(n: int, d: int, temperature: float, seed: int) -> None:
    a, b = random(n, d, seed=seed), random(n, d, seed=seed + 1)
    z = torch.cat((a, b)).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = [k for k in range(2 * n) if k != i]
        total -= log_softmax(z[others] @ z[i] / temperature)[others.index(j)]
    assert float(simclr.nt_xent(a, b, temperature)) == pytest.approx(total / (2 * n), rel=1e-4, abs=1e-5)


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
    for keys in (first, second, third):
        method.remember({"keys": keys}, START)
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


def test_byol_loss_is_the_papers() -> None:
    p, z = random(6, 5).requires_grad_(), random(6, 5, seed=1).requires_grad_()
    a, b = (x.detach().double().numpy() for x in (p, z))
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    loss = byol.byol_loss(p, z)
    assert float(loss.detach()) == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-5)
    loss.backward()
    assert z.grad is None
    assert p.grad is not None


def test_byol_target_follows_with_a_rising_momentum() -> None:
    assert byol.rising_momentum(0.99, 0, 100) == pytest.approx(0.99)
    assert byol.rising_momentum(0.99, 50, 100) == pytest.approx(0.995)
    assert byol.rising_momentum(0.99, 100, 100) == 1.0
    method = tiny("byol", **{"byol.momentum": 0.8})
    method.loss(method(crops(method)), START).backward()
    assert all(p.grad is None for p in method.target_backbone.parameters())
    old, online = method.target_projection[0].weight.clone(), method.projection[0].weight
    with torch.no_grad():
        online.mul_(2)
    moment = Moment(5, 10, 0.0)
    method.after_update(moment)
    tau = 1 - 0.2 * (math.cos(math.pi / 2) + 1) / 2
    torch.testing.assert_close(method.target_projection[0].weight, tau * old + (1 - tau) * online.detach())


def test_byol_crosses_the_crops() -> None:
    method = tiny("byol")
    p, z = random(4, 2, 8), random(4, 2, 8, seed=1)
    expected = byol.byol_loss(p[:, 0], z[:, 1]) + byol.byol_loss(p[:, 1], z[:, 0])
    assert float(method.loss({"prediction": p, "target": z}, START)) == pytest.approx(float(expected))


def test_simsiam_loss_is_the_papers_and_stops_the_gradient() -> None:
    method = tiny("simsiam")
    p, z = random(4, 2, 8).requires_grad_(), random(4, 2, 8, seed=1).requires_grad_()
    loss = method.loss({"prediction": p, "projection": z}, START)
    a, b = p.detach().double().numpy(), z.detach().double().numpy()

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).mean())

    assert float(loss.detach()) == pytest.approx(-cosine(a[:, 0], b[:, 1]) / 2 - cosine(a[:, 1], b[:, 0]) / 2, rel=1e-5)
    loss.backward()
    assert z.grad is None
    assert simsiam.negative_cosine(p.detach()[:, 0], p.detach()[:, 0]) == pytest.approx(-1.0)


# -------------------------------------------------------------------------------------------------------- DINO and MAE


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
    method.remember({"teacher": teacher}, START)
    torch.testing.assert_close(method.center, 0.25 * teacher.mean((0, 1)))
    method.remember({"teacher": teacher}, START)
    torch.testing.assert_close(method.center, (0.25 * 0.75 + 0.25) * teacher.mean((0, 1)))
    temperatures = [method.teacher_temperature(Moment(0, 1, epoch)) for epoch in (0.0, 0.9, 2.0, 4.0, 9.0)]
    assert temperatures == pytest.approx([0.04, 0.04, 0.055, 0.07, 0.07])


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


def test_patches_lie_row_by_row() -> None:
    image = torch.arange(3 * 4 * 6).reshape(1, 3, 4, 6).float()
    got = mae.patchify(image, 2)
    assert got.shape == (1, 6, 12)
    for patch, (y, x) in enumerate([(y, x) for y in range(2) for x in range(3)]):
        expected = image[0, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].permute(1, 2, 0).flatten()
        assert torch.equal(got[0, patch], expected)


def test_masks_hide_the_stated_share_at_random() -> None:
    torch.manual_seed(0)
    keep, hidden = mae.random_mask(2000, 16, 0.75, torch.device("cpu"))
    assert keep.shape == (2000, 4)
    assert (hidden.sum(1) == 12).all()
    assert not hidden.gather(1, keep).any()
    assert (hidden.double().mean(0) - 0.75).abs().max() < 4 * math.sqrt(0.75 * 0.25 / 2000)


@pytest.mark.parametrize("normalize", [True, False])
def test_mae_loss_is_the_papers(normalize: bool) -> None:
    prediction, target = random(2, 4, 12), random(2, 4, 12, seed=1) * 3 + 1
    hidden = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 1]]).bool()
    t = target.double().numpy()
    if normalize:
        t = (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, keepdims=True, ddof=1) + 1e-6)
    errors = ((prediction.double().numpy() - t) ** 2).mean(-1)
    method = tiny("mae")
    got = method.loss({"errors": mae.patch_errors(prediction, target, normalize), "hidden": hidden}, START)
    assert float(got) == pytest.approx(errors[hidden.numpy()].mean(), rel=1e-5)


def test_mae_encoder_never_sees_hidden_patches() -> None:
    """Changing the pixels under the mask changes the target alone; the encoder's tokens stay."""
    method = tiny("mae").eval()
    seen = []
    method.backbone.norm.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    images = random(2, 3, 32, 32)
    torch.manual_seed(5)
    hidden = method([images])["hidden"]
    mask = hidden.reshape(2, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
    torch.manual_seed(5)
    method([torch.where(mask, 7.0, images)])
    assert torch.equal(seen[0], seen[1])


def test_mae_decoder_puts_tokens_back_where_they_were() -> None:
    method = tiny("mae")
    method.decoder, method.decoder_norm = torch.nn.Sequential(), torch.nn.Identity()  # what is left is per patch
    method.pixels = torch.nn.Identity()
    keep = torch.tensor([[2, 0]])
    seen = random(1, 3, 16)
    out = method.decode(seen, keep, 4)[0] - method.decoder_positions[0, 1:]
    embedded = method.decoder_embed(seen)[0]
    torch.testing.assert_close(out[2], embedded[1])
    torch.testing.assert_close(out[0], embedded[2])
    torch.testing.assert_close(out[1], method.mask_token[0, 0])
    torch.testing.assert_close(out[3], method.mask_token[0, 0])


# ---------------------------------------------------------------------------------------------------------- supervised


@pytest.mark.parametrize("loss", ["softmax", "cosface", "arcface"])
def test_supervised_losses_are_the_papers(loss: str) -> None:
    method = tiny("supervised", **{"supervised.loss": loss})
    labels = torch.tensor([0, 3, 4, 3])
    outputs = method(crops(method), labels)
    scores = outputs["scores"].detach().double().numpy()
    if loss != "softmax":
        feature = method.backbone.eval()(crops(method)[0])
        assert np.abs(scores).max() <= 1 + 1e-6
        assert feature.shape == (4, 32)
    total = 0.0
    for row, label in zip(scores, labels.tolist(), strict=True):
        row = row.copy()
        if loss == "cosface":
            row[label] -= 0.35
        if loss == "arcface":
            row[label] = np.cos(np.arccos(row[label]) + 0.5)
        total -= log_softmax(row * (1 if loss == "softmax" else 64))[label]
    assert float(method.loss(outputs, START).detach()) == pytest.approx(total / 4, rel=1e-4)


def test_arcface_keeps_falling_beyond_pi() -> None:
    cosines = torch.linspace(-1, 1, 201)[:, None].repeat(1, 2)
    out = supervised.arcface(cosines, torch.zeros(201, dtype=torch.int64), 0.5)
    assert (out[:, 0].diff() > 0).all()
    assert torch.equal(out[:, 1], cosines[:, 1])


# ----------------------------------------------------------------------------------------------------------- all alike


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
