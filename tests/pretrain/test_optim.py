from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from curate.pretrain import config, optim
from curate.pretrain.config import Optimiser


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def gradients(module: nn.Module, step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    out = {}
    for name, p in module.named_parameters():
        value = rng.normal(size=p.shape)
        p.grad = torch.from_numpy(value).float()
        out[name] = value
    return out


def larc(w: np.ndarray, g: np.ndarray, decay: float, trust: float) -> np.ndarray:
    nw, ng = np.linalg.norm(w), np.linalg.norm(g)
    if nw == 0 or ng == 0:
        return g
    return (g + decay * w) * trust * nw / (ng + decay * nw + 1e-8)


def lars(w: np.ndarray, g: np.ndarray, decay: float, trust: float) -> np.ndarray:
    u = g + decay * w
    nw, nu = np.linalg.norm(w), np.linalg.norm(u)
    return u * (trust * nw / nu if nw > 0 and nu > 0 else 1.0)


@pytest.mark.parametrize("method", ["dino", "dinov2"])
def test_dinos_last_rate_is_the_authors_at_any_batch(method: str) -> None:
    """In their code the highest rate is scaled to the batch (by its root in DINOv2), `min_lr` = 1e-6 is not."""
    recipe = config.load(None, {"method": method}).optimiser
    for batch in (64, 1024, 4096):
        scale = batch / 256 if method == "dino" else (batch / 1024) ** 0.5
        rate = optim.learning_rate(recipe, batch, 100, 1)
        assert rate.at(recipe.warmup_epochs) == pytest.approx(recipe.lr * scale)
        assert rate.at(100) == 1e-6
    scaled = recipe.model_copy(update={"scale_final_lr": True})
    assert optim.learning_rate(scaled, 1024, 100, 1).at(100) == pytest.approx(4e-6 if method == "dino" else 1e-6)


@pytest.mark.parametrize("kind", ["larc", "lars"])
@pytest.mark.parametrize("exclude", [False, True])
def test_layerwise_rates_equal_their_definition(kind: str, exclude: bool) -> None:
    recipe = Optimiser(
        name="sgd" if kind == "larc" else "lars", larc=kind == "larc", weight_decay=0.1, trust=0.02, exclude_1d=exclude
    )
    module = network()
    optimiser = optim.build(module, recipe)
    rule = larc if kind == "larc" else lars
    weights = {name: p.detach().double().numpy().copy() for name, p in module.named_parameters()}
    momenta = {name: np.zeros_like(w) for name, w in weights.items()}
    for step in range(4):
        rate = 0.5 / (1 + step)
        optim.set_rates(optimiser, optim.Cosine(rate, rate, rate, 0, 1), optim.weight_decay(recipe, 4), step)
        for name, g in gradients(module, step).items():
            w = weights[name]
            left_out = exclude and (w.ndim == 1)
            momenta[name] = 0.9 * momenta[name] + (g if left_out else rule(w, g, 0.1, 0.02))
            weights[name] = w - rate * momenta[name]
        optimiser.step()
    for name, p in module.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), weights[name], rtol=2e-4, atol=2e-6)


def test_layers_of_zeros_and_gradients_of_zeros() -> None:
    for recipe in (Optimiser(name="sgd", larc=True, weight_decay=0.1), Optimiser(name="lars", weight_decay=0.0)):
        module = nn.Linear(2, 2)
        nn.init.zeros_(module.bias)
        optimiser = optim.build(module, recipe)
        before = module.weight.detach().clone()
        module.weight.grad = torch.zeros(2, 2)
        module.bias.grad = torch.ones(2)
        optim.set_rates(optimiser, optim.Cosine(1, 1, 1, 0, 1), optim.weight_decay(recipe, 1), 0)
        optimiser.step()
        assert torch.equal(module.weight.detach(), before)
        torch.testing.assert_close(module.bias.detach(), -torch.ones(2))


def test_warmup_and_cosine_are_swavs() -> None:
    """Against the lists that the authors build: linspace, then half a cosine."""
    per_epoch, epochs, warmup = 7, 10, 3
    recipe = Optimiser(lr=4.8, final_lr=0.0048, warmup_lr=0.3, warmup_epochs=warmup, lr_batch=None)
    rate = optim.learning_rate(recipe, 999, per_epoch * epochs, per_epoch)
    rising = np.linspace(0.3, 4.8, per_epoch * warmup)
    t = np.arange(per_epoch * (epochs - warmup))
    falling = 0.0048 + 0.5 * (4.8 - 0.0048) * (1 + np.cos(np.pi * t / (per_epoch * (epochs - warmup))))
    got = [rate.at(step) for step in range(per_epoch * epochs)]
    np.testing.assert_allclose(got, np.concatenate((rising, falling)), rtol=1e-12)


def test_rate_is_scaled_to_the_batch() -> None:
    rate = optim.learning_rate(Optimiser(lr=0.6, final_lr=0.0006, lr_batch=256), 64, 100, 10)
    assert rate.at(0) == pytest.approx(0.15)
    assert rate.end == pytest.approx(0.00015)


def test_groups_rates_and_decay() -> None:
    module = nn.ModuleDict({"body": network(), "prediction": nn.Linear(2, 2)})
    recipe = Optimiser(name="adamw", weight_decay=0.04, final_weight_decay=0.4, exclude_1d=True, lr=1.0)
    optimiser = optim.build(module, recipe, ("prediction.",))
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(module.parameters()))
    optim.set_rates(optimiser, optim.Cosine(0, 1.0, 0.0, 0, 10), optim.weight_decay(recipe, 10), 5)
    for group in optimiser.param_groups:
        assert group["weight_decay"] == (0.0 if group["excluded"] else pytest.approx(0.22))
        assert group["lr"] == (1.0 if group["constant"] else pytest.approx(0.5))
        assert all((p.dim() == 1) == group["excluded"] for p in group["params"])
    kept = {id(p) for group in optimiser.param_groups if group["constant"] for p in group["params"]}
    assert kept == {id(p) for p in module["prediction"].parameters()}


def test_clipping_is_per_parameter() -> None:
    module = nn.Linear(2, 1)
    module.weight.grad = torch.tensor([[3.0, 4.0]])
    module.bias.grad = torch.tensor([0.5])
    optim.clip(module.parameters(), 1.0)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8]]), atol=1e-5, rtol=1e-5)
    assert module.bias.grad.item() == 0.5
