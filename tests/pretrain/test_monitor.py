from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from curate.pretrain import config, monitor
from curate.pretrain.methods import Method
from curate.pretrain.methods.swav import Swav
from curate.pretrain.probe import ProbeResult


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
