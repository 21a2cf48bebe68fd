"""Features: one forward pass, kept and shared by what may share it, whatever happens to the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from curate.errors import UsageError
from curate.evaluate import features, read_results
from tests.evaluate import layouts
from tests.evaluate.test_benchmark import measure, value
from tests.evaluate.tiny import tiny


class Counting(nn.Module):
    """Counts the pictures that pass; one alone only tries the network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny()
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images) if len(images) > 1 else 0
        return self.network.maps(images)[-1]


def test_frozen_modes_cost_one_forward_pass(tmp_path: Path) -> None:
    root, out = layouts.make_csv(tmp_path / "data"), tmp_path / "out" / "r.jsonl"
    network = Counting()
    first = measure("emotion", "csv", root, backbone=network, out=out, fraction=[1.0, 0.5], seeds=3)
    assert network.seen == 24
    measure("emotion", "csv", root, backbone=network, out=out, mode="knn")
    again = measure("emotion", "csv", root, backbone=network, out=out, fraction=[1.0, 0.5], seeds=3)
    assert network.seen == 24 and [r.value for r in again] == [r.value for r in first]
    layouts.save(root / "images" / "3.png", 999, (81, 80))  # a changed picture is seen again, with its chunk
    measure("emotion", "csv", root, backbone=network, out=out)
    assert network.seen == 48
    measure("emotion", "csv", root, backbone=network, out=out, overrides={"crop.size": 40})
    assert network.seen == 72


def test_killed_extraction_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = layouts.make_csv(tmp_path / "data")
    network, keys = Counting(), {"extract.chunk": 6, "extract.cache": str(tmp_path / "cache")}
    real, calls = features._write, []

    def dying(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        measure("emotion", "csv", root, backbone=network, overrides=keys)
    monkeypatch.setattr(features, "_write", real)
    found = measure("emotion", "csv", root, backbone=network, overrides=keys)
    assert network.seen == 18 + 12
    assert [r.value for r in found] == [r.value for r in measure("emotion", "csv", root, backbone=network)]


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize("kept", [0, 100, -30])
def test_a_damaged_file_of_features_is_made_anew(kind: str, kept: int, tmp_path: Path) -> None:
    root, network, out = layouts.make_csv(tmp_path / "data"), Counting(), tmp_path / "out" / "r.jsonl"
    first = measure("emotion", "csv", root, backbone=network, out=out, mode="knn")
    (stored,) = (tmp_path / "out" / "features").rglob(f"*.{kind}")
    stored.write_bytes(stored.read_bytes()[:kept])
    again = measure("emotion", "csv", root, backbone=network, out=out, mode="knn")
    assert network.seen == 48 and [r.value for r in again] == [r.value for r in first]


def test_chunks_do_not_change_features(tmp_path: Path) -> None:
    root = layouts.make_pts(tmp_path)
    values = [
        [r.value for r in measure("landmarks", "pts", root, overrides={"extract.chunk": c, "extract.batch": b})]
        for c, b in ((1024, 32), (5, 2))
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-3)


class Scaled(nn.Module):
    """Networks of one class that differ in what is no weight."""

    def __init__(self, power: float, seed: int = 0) -> None:
        super().__init__()
        self.network, self.power = tiny(seed), power

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (self.network.maps(images)[-1].mean((2, 3)).abs() + 0.1) ** self.power


def test_modules_of_one_class_share_neither_features_nor_rows(tmp_path: Path) -> None:
    """Same weights and another forward, or one class and other weights: each as it scores alone."""
    root, out = layouts.make_csv(tmp_path / "data", "affect"), tmp_path / "out" / "r.jsonl"
    networks = [Scaled(1.0), Scaled(-3.0), Scaled(1.0, seed=1)]
    alone = [value(measure("emotion", "csv", root, backbone=n), "rmse_valence") for n in networks]
    for network in networks:
        measure("emotion", "csv", root, backbone=network, out=out)
    found = [r for r in read_results(out) if r.metric == "rmse_valence"]
    assert [r.value for r in found] == pytest.approx(alone) and len(set(alone)) == 3
    assert len({r.backbone for r in found}) == 3 and all(r.backbone.startswith("Scaled@") for r in found)
    again = measure("emotion", "csv", root, backbone=Scaled(1.0))
    assert again[0].backbone == found[0].backbone and again[0].backbone_digest == found[0].backbone_digest
    assert measure("emotion", "csv", root, backbone=networks[0], name="mine")[0].backbone == "mine"


def test_a_module_keeps_the_mode_of_each_part(tmp_path: Path) -> None:
    network = Scaled(1.0).train()
    network.network.layer4.eval()
    modes, state = [m.training for m in network.modules()], {k: v.clone() for k, v in network.state_dict().items()}
    measure("emotion", "csv", layouts.make_csv(tmp_path), backbone=network, mode="knn")
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


class Broken(nn.Module):
    """A backbone whose weights went wrong."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * float("nan")


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not all numbers"):
        measure("emotion", "csv", layouts.make_csv(tmp_path), backbone=Broken())


def test_progress_counts_pictures_and_passes(tmp_path: Path) -> None:
    shown: list[tuple[str, int | None, str, list[int]]] = []

    @contextmanager
    def stage(name: str, total: int | None, unit: str = "") -> Iterator[Callable[[int, str], None]]:
        counts: list[int] = []
        shown.append((name, total, unit, counts))
        yield lambda count, note="": counts.append(count)

    measure("emotion", "csv", layouts.make_csv(tmp_path), progress=stage)
    assert shown == [("features", 24, "pictures", [8, 8, 8])]
    shown.clear()
    measure("emotion", "csv", tmp_path, mode="finetune", progress=stage)
    assert ("passes", 1, "passes", [1]) in shown
