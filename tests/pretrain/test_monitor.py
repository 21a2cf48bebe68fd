from __future__ import annotations

import io
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
from curate.pretrain.probe import Probe, Sight
from curate.storage.manifest import open_manifest


def recipe(method: str = "swav", **overrides: object) -> config.Recipe:
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
    watch = monitor.Watch(recipe("swav", **{"swav.freeze_prototypes_steps": 100}), math.log(3000))
    assert not [watch.loss(8.006, step) for step in range(0, 100)][-1]  # frozen: to be expected
    said = [watch.loss(8.0064, step) for step in range(100, 200)]
    (text,) = [text for text in said if text]
    assert said.index(text) == monitor.STUCK_LINES - 1
    assert "8.006" in text
    assert "swav.epsilon=0.03" in text


def test_a_loss_that_falls_is_no_trouble() -> None:
    watch = monitor.Watch(recipe("simclr"), math.log(511))
    assert not any(watch.loss(math.log(511) - 0.02 * step, step) for step in range(200))


@pytest.mark.parametrize(
    ("method", "blind"),
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
def test_loss_of_guessing(method: str, blind: float | None) -> None:
    assert monitor.blind_loss(recipe(method), 0) == (None if blind is None else pytest.approx(blind))


def test_collapse_is_noticed_once() -> None:
    watch = monitor.Watch(recipe("simsiam"), None)
    assert watch.sight(Sight(0.5, 0.1, 40.0, 0.9)) is None
    assert "collapsed" in str(watch.sight(Sight(0.1, 0.1, 1.2, 0.9)))
    assert watch.sight(Sight(0.1, 0.1, 1.2, 0.01)) is None


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with monitor.show("step", 4, True, stream) as screen:
        for step in range(1, 5):
            screen.update(step, "9.0 images/s, loss 1.0000")
        screen.say("a line")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 1 of 4, 9.0 images/s, loss 1.0000"  # how long it takes is not known yet
    assert lines[1:] == ["step 4 of 4, 9.0 images/s, loss 1.0000, 0 s left", "a line"]
    silent = io.StringIO()
    with monitor.show("step", 4, False, silent) as screen:
        screen.update(1, "x")
        screen.say("y")
    assert silent.getvalue() == ""


def test_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with monitor.show("step", 4, True, stream) as screen:
        screen.update(4, "9.0 images/s [loss] 1.0")
        screen.say("[warning] with brackets")
    assert "[warning] with brackets" in stream.getvalue()
    assert "9.0 images/s [loss] 1.0" in stream.getvalue()


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
    sight = probe.look(features, Probe(np.arange(6), label, group, "identity"))
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    hits = []
    for i in range(6):
        others = [j for j in range(6) if group[j] != group[i]]
        if any(label[j] == label[i] for j in others):
            hits.append(label[max(others, key=lambda j: unit[i] @ unit[j])] == label[i])
    assert len(hits) == 5
    assert sight.knn == pytest.approx(np.mean(hits))
    assert sight.chance == pytest.approx(np.mean([1 / 4, 1 / 4, 2 / 5, 1 / 5, 1 / 5]))


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
