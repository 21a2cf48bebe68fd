from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.errors import UnavailableError
from curate.pretrain import config, monitor, pictures, probe
from curate.pretrain.backbones import BasicBlock, ResNet
from curate.pretrain.methods import Method
from curate.pretrain.methods.swav import Swav
from curate.pretrain.probe import Probe, ProbeResult
from curate.storage.manifest import open_manifest


def recipe(method: str = "swav", **overrides: object) -> config.PretrainRecipe:
    return config.load(None, {"method": method, "steps": 10} | overrides)


def test_metrics_drop_what_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = monitor.Metrics(path)
    for step in (0, 2, 4):
        first.write({"step": step, "loss": 1.0 / 3, "odd": float("inf")})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    monitor.Metrics(path, 2).write({"step": 3, "loss": 2.0})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 3]
    assert lines[0] == {"step": 0, "loss": 0.333333, "odd": None}
    monitor.Metrics(path, 0)
    assert path.read_text() == ""


def test_tensorboard_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    try:
        import tensorboard  # noqa: F401  the test is of its absence
    except ImportError:
        with pytest.raises(UnavailableError, match="pip install tensorboard"):
            monitor.Metrics(tmp_path / "m.jsonl", 0, tmp_path / "events")
    else:
        monitor.Metrics(tmp_path / "m.jsonl", 0, tmp_path / "events").close()
        assert list((tmp_path / "events").iterdir())


def test_a_loss_stuck_at_guessing_is_noticed_once_with_its_mend() -> None:
    detector = monitor.CollapseDetector(math.log(3000), Swav.remedy, 100)
    assert not [detector.loss(8.006, step) for step in range(0, 100)][-1]  # frozen: to be expected
    said = [detector.loss(8.0064, step) for step in range(100, 200)]
    (text,) = [text for text in said if text]
    assert said.index(text) == monitor.STUCK_LINES - 1
    assert "8.006" in text
    assert "swav.epsilon=0.03" in text


def test_a_loss_that_falls_is_no_trouble() -> None:
    detector = monitor.CollapseDetector(math.log(511), Method.remedy)
    assert not any(detector.loss(math.log(511) - 0.02 * step, step) for step in range(200))


@pytest.mark.parametrize(
    ("method", "chance"),
    [
        ("swav", math.log(3000)),
        ("simclr", math.log(511)),
        ("moco", math.log(65537)),
        ("dino", math.log(65536)),
        ("byol", None),
        ("simsiam", None),
        ("mae", None),
    ],
)
def test_loss_of_guessing(method: str, chance: float | None) -> None:
    assert recipe(method).chance_loss() == (None if chance is None else pytest.approx(chance))


def test_collapse_is_noticed_once() -> None:
    detector = monitor.CollapseDetector(None, Method.remedy)
    assert detector.features(ProbeResult(0.5, 0.1, 40.0, 0.9)) is None
    assert "collapsed" in str(detector.features(ProbeResult(0.1, 0.1, 1.2, 0.9)))
    assert detector.features(ProbeResult(0.1, 0.1, 1.2, 0.01)) is None


def test_effective_rank_is_roy_and_vetterlis() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 8)) * np.arange(1, 9)
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    p = s / s.sum()
    assert probe.effective_rank(torch.from_numpy(x)) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert probe.effective_rank(torch.ones(5, 3)) == 1.0
    line = torch.linspace(0, 1, 9)[:, None] * torch.ones(1, 4)
    assert probe.effective_rank(line) == pytest.approx(1.0, abs=1e-6)


def test_probe_counts_people_and_not_near_duplicates() -> None:
    # faces 0, 1: person 0, near-duplicates of each other; 2: person 0 anew; 3, 4: person 1; 5: person 2, alone
    label = np.array([0, 0, 0, 1, 1, 2])
    group = np.array([7, 7, 8, 9, 10, 11])
    features = torch.tensor([[1, 0, 0], [1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1], [0, 0.1, 0.9]])
    result = probe.score(features, Probe(np.arange(6), label, group, "identity"))
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    hits = []
    for i in range(6):
        others = [j for j in range(6) if group[j] != group[i]]
        if any(label[j] == label[i] for j in others):
            hits.append(label[max(others, key=lambda j: unit[i] @ unit[j])] == label[i])
    assert len(hits) == 5
    assert result.knn == pytest.approx(np.mean(hits))
    assert result.chance == pytest.approx(np.mean([1 / 4, 1 / 4, 2 / 5, 1 / 5, 1 / 5]))


def test_probe_takes_several_pictures_of_a_person(make_build: Callable[..., Path], tmp_path: Path) -> None:
    read = open_manifest(str(make_build()))
    chosen = probe.choose(read, np.arange(0, 64, 2), 20, seed=0)
    assert len(set(chosen.positions.tolist())) == 20
    assert (chosen.positions % 2 == 0).all()
    assert chosen.kind == "identity"
    assert max(np.bincount(chosen.label)) >= 2
    pictures.pack(read, tmp_path / "cache")
    opened = pictures.open_pictures(read, tmp_path / "cache")
    backbone = ResNet(BasicBlock, (1, 1, 1, 1), width=4).train()
    found = probe.features(backbone, opened, chosen.positions, 32, recipe().augment, torch.device("cpu"))
    assert found.shape == (20, 32)
    assert backbone.training
    assert int(backbone.bn1.num_batches_tracked) == 0
