from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.pretrain import config, pictures, probe
from curate.pretrain.backbones import BasicBlock, ResNet
from curate.pretrain.faces import ManifestFaces
from curate.pretrain.probe import Probe
from curate.storage.manifest import open_manifest


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
    # faces 0, 1, 2: person 0, the first two near-duplicates; 3, 4: person 1 in one clip; 5: person 2, alone
    label = np.array([0, 0, 0, 1, 1, 2])
    group = np.array([7, 7, 8, 9, 10, 11])
    features = torch.tensor([[1, 0, 0], [1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1], [0, 0.1, 0.9]])
    clip = np.array([0, 1, 2, 3, 3, 4])
    result = probe.score(features, Probe(np.arange(6), label, group, clip))
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    hits = []
    for i in range(6):
        others = [j for j in range(6) if group[j] != group[i] and clip[j] != clip[i]]
        if any(label[j] == label[i] for j in others):
            hits.append(label[max(others, key=lambda j: unit[i] @ unit[j])] == label[i])
    assert len(hits) == result.asked == 3  # person 1 is in no other clip
    assert "(of 3 faces, chance" in result.text() and result.line()["knn_faces"] == 3
    assert result.knn == pytest.approx(np.mean(hits))
    assert result.chance == pytest.approx(np.mean([1 / 4, 1 / 4, 2 / 5]))


def test_probe_takes_several_pictures_of_a_person(make_build: Callable[..., Path], tmp_path: Path) -> None:
    read = ManifestFaces(open_manifest(make_build()))
    chosen = probe.choose(read, np.arange(0, 64, 2), 20, seed=0)
    assert len(set(chosen.positions.tolist())) == 20
    assert (chosen.positions % 2 == 0).all()
    assert max(np.bincount(chosen.label)) >= 2
    pictures.pack(read, tmp_path / "cache")
    opened = pictures.open_pictures(read, tmp_path / "cache")
    recipe = config.load(None, {"steps": 1})
    backbone = ResNet(BasicBlock, (1, 1, 1, 1), width=8).train()
    images = probe.decoded(opened, chosen.positions)
    found = probe.features(backbone, images, 20, 32, recipe.augment)
    assert found.shape == (20, 64)
    assert backbone.training
    assert int(backbone.bn1.num_batches_tracked) == 0


def test_people_of_one_clip_each_are_not_measured() -> None:
    """Any network finds frames of one clip alike: 100 % with random weights says nothing."""
    clip = np.array([0, 0, 1, 1])
    same = Probe(np.arange(4), clip, np.arange(4), clip)
    result = probe.score(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), same)
    assert math.isnan(result.knn)
    assert "same person" not in result.text()
    assert result.effective_rank >= 1


def test_people_in_several_clips_come_first(make_build: Callable[..., Path]) -> None:
    read = ManifestFaces(open_manifest(make_build()))
    chosen = probe.choose(read, np.arange(64), 60, seed=0)
    assert all(len(set(chosen.clip[chosen.label == person])) == 2 for person in set(chosen.label.tolist()))
    counts = np.bincount(chosen.clip)
    assert counts[counts > 0].max() <= probe.PER_CLIP
