"""CosFace by hand; templates as insightface makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curate.evaluate import curves, run
from curate.evaluate.config import TemplateWeights
from curate.evaluate.datasets import read
from curate.evaluate.features import Features, FeatureTable
from curate.evaluate.samples import TemplateTrials
from curate.evaluate.tasks import recognition
from curate.evaluate.tasks.trials import as_they_are, people_of_templates, template_vectors
from tests.evaluate import layouts
from tests.evaluate.tiny import tiny


def test_cosface_by_hand() -> None:
    torch.manual_seed(0)
    head = recognition.CosFace(3, 4, scale=8.0, margin=0.35)
    x, people = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    cosines = head(x)
    w = head.weight.detach().numpy()
    by_hand = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)) @ (
        w / np.linalg.norm(w, axis=1, keepdims=True)
    ).T
    np.testing.assert_allclose(cosines.detach().numpy(), by_hand, atol=1e-6)
    logits = 8.0 * (by_hand - 0.35 * np.eye(4)[people.numpy()])
    expected = np.mean([np.log(np.exp(row - row[p]).sum()) for row, p in zip(logits, people.numpy(), strict=True)])
    assert float(head.loss(cosines, people).detach()) == pytest.approx(float(expected), rel=1e-5)


def test_people_are_kept_with_their_influence_on_the_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of templates, at a FAR that a few can resolve; people are those whom pairs of one person join."""
    monkeypatch.setattr(recognition, "KEPT_FARS", (1e-1,))
    root, out = layouts.make_ijb_insightface(tmp_path / "d"), tmp_path / "r.jsonl"
    keys = {"crop.size": 32}
    found = run("recognition", "ijbc", tiny(), data=root, mode="knn", device="cpu", overrides=keys, out=out)
    tar = next(r.value for r in found if r.metric == "tar@far=1e-01")
    (curve,) = curves.read(tmp_path / "curves")
    assert list(curve.each) == ["tar@far=1e-01"] and curve.each["tar@far=1e-01"].mean() == pytest.approx(tar)
    assert curve.groups.shape == (len(curve.each["tar@far=1e-01"]), 1) and not curve.errors.size
    trials = read("ijbc", "recognition", root).trials
    assert isinstance(trials, TemplateTrials)
    people = people_of_templates(np.unique(trials.template), trials)
    assert (people[trials.same, 0] == people[trials.same, 1]).all()
    assert (people[~trials.same, 0] != people[~trials.same, 1]).all()


@pytest.mark.parametrize(("norm", "detector"), [(True, True), (False, False), (True, False), (False, True)])
def test_templates_as_insightface_makes_them(norm: bool, detector: bool) -> None:
    """Its loop over templates and media, with its two switches."""
    rng = np.random.default_rng(0)
    count = 40
    trials = TemplateTrials(
        np.arange(count), rng.integers(1, 6, count), rng.integers(0, 9, count), np.zeros(1, int), np.zeros(1, int),
        np.zeros(1, bool), rng.random(count),
    )  # fmt: skip
    vectors = rng.normal(size=(count, 7)).astype(np.float32)
    features = Features(FeatureTable([vectors]), np.zeros((count, 2, 3)), np.ones(count, bool))
    ids, found = template_vectors(features, trials, as_they_are, TemplateWeights(norm=norm, detector=detector))
    own = vectors.astype(np.float64) if norm else vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = own * trials.score[:, None] if detector else own
    for place, template in enumerate(np.unique(trials.template)):
        inside = trials.template == template
        media = [own[inside & (trials.media == m)].mean(0) for m in np.unique(trials.media[inside])]
        expected = np.sum(media, axis=0) / np.linalg.norm(np.sum(media, axis=0))
        np.testing.assert_allclose(found[place], expected, atol=1e-6)
    assert ids.tolist() == np.unique(trials.template).tolist()
