"""Recipes: what is usual for a method, what is refused, and that documents and shipped recipes agree with the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate.errors import UsageError
from curate.pretrain import config
from curate.pretrain.optim import learning_rate

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "pipelines/pretrain").glob("*.yaml"))


@pytest.mark.parametrize("method", config.METHODS)
def test_every_method_has_defaults_that_fit(method: str) -> None:
    recipe = config.load(None, {"method": method})
    assert recipe.method == method
    assert recipe.epochs == recipe.kind.defaults["epochs"]


def test_paper_recipe_is_the_papers_to_the_letter() -> None:
    r = config.load(ROOT / "pipelines/pretrain/swav_paper.yaml")
    a, o, s = r.augment, r.optimiser, r.swav
    assert [(v.count, v.size, v.scale, v.blur_p) for v in r.crops] == [
        (2, 224, (0.14, 1.0), 0.5),
        (6, 96, (0.05, 0.14), 0.5),
    ]
    assert (a.jitter, a.jitter_p, a.grey_p, a.blur_sigma, a.flip_p) == ((0.8, 0.8, 0.8, 0.2), 0.8, 0.2, (0.1, 2.0), 0.5)
    assert (a.mean, a.std, a.interpolation) == ((0.485, 0.456, 0.406), (0.228, 0.224, 0.225), "bilinear")
    assert (r.arch, s.hidden, s.dim, s.prototypes) == ("resnet50", 2048, 128, 3000)
    assert (s.temperature, s.epsilon, s.sinkhorn_iterations, s.queue) == (0.1, 0.05, 3, 0)
    assert (s.freeze_prototypes_steps, s.assign_views) == (313, 2)
    assert (o.name, o.momentum, o.larc, o.trust, o.exclude_1d) == ("sgd", 0.9, True, 0.001, False)
    assert (o.lr, o.final_lr, o.warmup_lr, o.warmup_epochs, o.weight_decay) == (4.8, 0.0048, 0.3, 10, 1e-6)
    assert (r.epochs, o.lr_batch, r.batch, r.micro_batch) == (400, 1024, 1024, 128)
    assert (r.precision, r.sync_bn, r.sync_bn_group) == ("fp16", True, 8)
    assert learning_rate(o, r.batch, 100, 1).peak == 4.8


def test_small_batch_recipe_is_the_authors() -> None:
    r = config.load(ROOT / "pipelines/pretrain/swav_small_batch.yaml")
    assert (r.batch, r.optimiser.lr, r.optimiser.final_lr, r.optimiser.warmup_epochs) == (256, 0.6, 0.0006, 0)
    assert (r.swav.queue, r.swav.queue_from_epoch, r.swav.freeze_prototypes_steps) == (3840, 15, 5005)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    config.load(path)


def test_there_is_a_recipe_for_every_method() -> None:
    assert {config.load(path).method for path in SHIPPED} == set(config.METHODS)


def test_crops_follow_the_crop_size() -> None:
    sizes = [v.size for v in config.load(None, {"method": "swav", "crop_size": 112}).views()]
    assert sizes == [112, 48]
    sizes = [v.size for v in config.load(None, {"method": "dino", "crop_size": 96}).views()]
    assert sizes == [96, 96, 48]  # patches of 16 divide them


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"methd": "swav"}, "unknown key methd; did you mean method"),
        ({"crops": [{"cuont": 2}]}, r"unknown key crops.cuont; did you mean crops\[\].count"),
        ({"steps": 1, "epochs": 2}, "--epochs and --steps: give one budget only"),
        ({"epochs": None}, "give exactly one of epochs, steps, images"),
        ({"method": "mae", "arch": "resnet18"}, "mae needs a transformer"),
        ({"method": "dino", "crop_size": 100}, "patches of 16 pixels, which do not divide 100"),
        ({"method": "byol", "crops": [{"count": 3}]}, "byol takes 2 crops"),
        ({"method": "supervised", "crops": [{"count": 2}]}, "supervised takes 1 crop"),
        ({"crops": [{"count": 2}], "swav.assign_views": 3}, "swav.assign_views = 3: crops has 2"),
        ({"crops": [{"scale": [0.5, 0.1]}]}, "scale is smallest, largest"),
        ({"optimiser.lr": "fast"}, r"optimiser\.lr = 'fast'"),
        ({"seed.x": 1}, "seed"),
    ],
)
def test_mistakes_are_named(overrides: dict[str, Any], message: str) -> None:
    if overrides.get("swav.assign_views"):
        config.load(None, overrides | {"swav.assign_views": 2})
    with pytest.raises(UsageError, match=message):
        config.load(None, overrides)


def test_budgets_take_each_others_place(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("method: moco\nepochs: 7\n")
    assert config.load(path).total_steps(1000) == 7 * (1000 // 256)
    assert config.load(path, {"steps": 5}).total_steps(1000) == 5
    assert config.load(path, {"images": 1000}).total_steps(10) == 4
