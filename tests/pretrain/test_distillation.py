from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from curate import pretrain
from curate.errors import UsageError
from curate.pretrain import config
from curate.pretrain.methods import distillation
from curate.pretrain.weights import save_backbone
from tests.pretrain.tiny import START, crops, random, small_resnet, tiny

TINY = "tests.pretrain.tiny:small_resnet"


def test_loss_is_one_less_the_cosine() -> None:
    a, b = random(3, 2, 5).requires_grad_(), random(3, 2, 5, seed=1).requires_grad_()
    x, y = a.detach().numpy(), b.detach().numpy()
    cosines = (x * y).sum(2) / np.linalg.norm(x, axis=2) / np.linalg.norm(y, axis=2)
    loss = distillation.cosine_loss(a, b)
    assert float(loss.detach()) == pytest.approx((1 - cosines).mean(), rel=1e-5)
    loss.backward()
    assert b.grad is None


def test_teacher_is_frozen_and_sees_its_own_normalisation(tmp_path: Path) -> None:
    save_backbone(small_resnet(), tmp_path / "backbone.pt")
    own = {"augment": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own))
    keys = {"distillation.teacher": str(tmp_path / "backbone.pt"), "distillation.teacher_arch": TINY}
    method = tiny("distillation", **keys)
    assert not method.teacher.training
    shown = crops(method)
    outputs = method(shown)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.228, 0.224, 0.225)))
    theirs = [(x * std + mean - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) for x in shown]
    theirs = [x / torch.tensor([0.5, 0.6, 0.7])[:, None, None] for x in theirs]
    torch.testing.assert_close(outputs["teacher"][:, 0], method.teacher(theirs[0]), atol=1e-5, rtol=1e-4)
    method.loss(outputs, START).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert int(method.teacher.bn1.num_batches_tracked) == 0


def test_without_a_teacher_it_says_so_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"distillation\.teacher: name the weights of a teacher"):
        pretrain.run("none.parquet", tmp_path / "run", method="distillation", arch=TINY, steps=1)
    keys = {"distillation.teacher": str(tmp_path / "no.pt")}
    with pytest.raises(UsageError, match=r"no\.pt: there is no such file of weights"):
        pretrain.run("none.parquet", tmp_path / "run", method="distillation", arch=TINY, steps=1, overrides=keys)
    assert config.load(None, {"method": "distillation"}).kind is distillation.Distillation
