"""What holds for every method, and that CONTRIBUTING's example adds one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch._dynamo

from curate.pretrain import config
from curate.pretrain.backbones import VisionTransformer
from curate.pretrain.methods.base import ema_update, features, follower
from curate.pretrain.monitor import read_metrics
from tests.pretrain.tiny import START, crops, noise, tiny

ROOT = Path(__file__).parents[2]


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
    outputs = method(crops(method), labels, noise(method))
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
    ema_update(a, b, 0.7)
    torch.testing.assert_close(a.weight.detach(), expected)


def test_a_follower_does_not_learn_and_leaves_no_block_out() -> None:
    network = VisionTransformer(16, 3, 2, grid=2, drop_path=0.4)
    copied = follower(network)
    assert [block.drop_path for block in network.blocks] == [0.0, 0.2, 0.4]
    assert [block.drop_path for block in copied.blocks] == [0.0, 0.0, 0.0]
    assert not any(p.requires_grad for p in copied.parameters())
    assert all(torch.equal(a, b) and a is not b for a, b in zip(copied.parameters(), network.parameters(), strict=True))


@pytest.mark.parametrize("name", ["simclr", "mae", "dinov2"])
def test_compile_covers_the_whole_method(name: str) -> None:
    """Without a graph break, so heads, masks and teachers are within."""
    losses = []
    for compiled in (False, True):
        method = tiny(name)
        if compiled:
            torch._dynamo.reset()
            torch._dynamo.utils.counters.clear()
            method.compile(backend="eager", fullgraph=True)
        losses.append(float(method.loss(method(crops(method), noise=noise(method)), START).detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_the_example_of_contributing_is_a_method(manifest: Path, tmp_path: Path) -> None:
    """One file and one word, in a copy of the package: the command trains with it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Rotation(" in block)
    shutil.copytree(ROOT / "curate", tmp_path / "curate", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "curate/pretrain/methods/rotation.py").write_text(code)
    choices = tmp_path / "curate/choices.py"
    choices.write_text(choices.read_text().replace('    "supervised",\n', '    "supervised",\n    "rotation",\n'))
    command = [sys.executable, "-m", "curate", "pretrain", "--manifest", manifest, "--out", "run", "--steps", "3"]
    command += ["--method", "rotation", "--arch", "resnet18", "--crop-size", "32", "--batch", "8"]
    command += ["--set", "rotation.smoothing=0.1", "--set", "log.every=1", "--set", "probe.images=0"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in read_metrics(tmp_path / "run/metrics.jsonl")] == [1, 2, 3]
    state = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)
    assert state["method"]["classifier.weight"].shape == (4, 512)
