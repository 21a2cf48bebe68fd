"""Fine-tuning, end to end on miniatures: it learns, from one sample on, and leaves the backbone alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.evaluate import encoders
from curate.evaluate.config import Finetune
from curate.evaluate.crops import CropRule, apply
from curate.evaluate.datasets.points import MIRROR
from curate.evaluate.finetune import TrainingPlan, TunedNetwork, _optimiser, chained, jitter, schedule
from curate.evaluate.samples import LandmarkTarget
from curate.evaluate.tasks.landmarks import LandmarkTask
from curate.evaluate.tasks.task import Head, OnFeature
from tests.evaluate import layouts
from tests.evaluate.test_benchmark import measure, value
from tests.evaluate.tiny import Means, tiny


@pytest.mark.parametrize(
    ("task", "dataset", "make"),
    [
        ("landmarks", "pts", layouts.make_pts),
        ("emotion", "csv", layouts.make_csv),
        ("emotion", "csv", lambda root: layouts.make_csv(root, "affect")),
        ("action_units", "csv", lambda root: layouts.make_csv(root, "units", subjects=True)),
        ("reconstruction", "mat", layouts.make_mat),
        ("recognition", "pairs", lambda root: layouts.make_pairs(root, train=True)),
    ],
)
def test_finetuning_runs_and_leaves_the_backbone_alone(
    task: str, dataset: str, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    network = tiny()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = measure(task, dataset, make(tmp_path), mode="finetune", backbone=network)
    again = measure(task, dataset, tmp_path, mode="finetune", backbone=network)
    assert [r.value for r in found] == pytest.approx([r.value for r in again], nan_ok=True)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_each_finetuned_recognition_is_scored_by_its_own_features(tmp_path: Path) -> None:
    """With one cache for all, a budget, a seed and the frozen backbone score as they do alone."""
    root = layouts.make_pairs(tmp_path / "pairs")
    layouts.make_pairs(tmp_path / "people", train=True)
    keys = {"train": str(tmp_path / "people"), "finetune.lr": 0.1, "extract.chunk": 16}

    def aucs(name: str, mode: str, **options: object) -> dict[tuple[float, int], float]:
        found = measure("recognition", "pairs", root, mode=mode, overrides=keys, out=tmp_path / name / "r", **options)
        return {(r.fraction, r.seed): r.value for r in found if r.metric == "roc_auc"}

    frozen = aucs("together", "knn")
    together = aucs("together", "finetune", fraction=[1.0, 0.4], seeds=2)
    assert len(list((tmp_path / "together" / "features").iterdir())) == 1  # those of the frozen backbone
    assert aucs("together", "knn") == frozen == aucs("alone", "knn")
    assert len({*together.values(), *frozen.values()}) == 5
    assert together[0.4, 0] == pytest.approx(aucs("other", "finetune", fraction=0.4)[0.4, 0])


@pytest.mark.parametrize("shots", [1, 2])
def test_one_and_two_samples_train(shots: int, tmp_path: Path) -> None:
    """What a rate of zero leaves untrained scores otherwise."""
    root = layouts.make_pts(tmp_path)
    scores = {
        value(measure("landmarks", "pts", root, mode="finetune", shots=shots, overrides={"finetune.lr": lr}), "nme")
        for lr in (1e-12, 0.05)
    }
    assert len(scores) == 2


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_finetuned_and_left_alone(tmp_path: Path) -> None:
    script = torch.jit.trace(tiny(), torch.zeros(1, 3, 32, 32), check_trace=False)
    torch.jit.save(script, str(tmp_path / "net.ts"))
    root, keys = layouts.make_csv(tmp_path / "data", "affect"), {"finetune.lr": 0.1, "finetune.backbone_lr": 1}
    frozen = measure("emotion", "csv", root, mode="knn", backbone=str(tmp_path / "net.ts"))
    first, again = (
        measure("emotion", "csv", root, mode="finetune", backbone=str(tmp_path / "net.ts"), overrides=keys)
        for _ in range(2)
    )
    assert [r.value for r in first] == pytest.approx([r.value for r in again], nan_ok=True)
    assert measure("emotion", "csv", root, mode="knn", backbone=str(tmp_path / "net.ts"))[0].value == frozen[0].value


def test_training_pictures_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path / "csv")
    for i in range(24):
        if i % 3:
            (root / "images" / f"{i}.png").write_bytes(b"")
    with pytest.raises(UsageError, match="csv: none of the training pictures can be read"):
        measure("emotion", "csv", root, mode="finetune")
    pairs = layouts.make_pairs(tmp_path / "pairs", train=True)
    for picture in (pairs / "train").rglob("*.jpg"):
        picture.write_bytes(b"")
    with pytest.raises(UsageError, match=r"too few of the \d+ training pictures can be read .*train/t\d/\d\.jpg"):
        measure("recognition", "pairs", pairs, mode="finetune")


def test_heatmaps_can_be_trained_on_a_frozen_backbone(tmp_path: Path) -> None:
    found = measure("landmarks", "pts", layouts.make_pts(tmp_path), overrides={"heads.linear_landmarks": "heatmap"})
    assert value(found, "nme") > 0


def test_finetuning_learns(tmp_path: Path) -> None:
    """Bright against dark pictures, told apart after a few passes from random weights."""
    root, rows = tmp_path, []
    for i in range(48):
        picture = layouts.picture(i) // 3 + (150 if i % 2 else 0)
        (root / "images").mkdir(exist_ok=True)
        layouts.Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"{i}.png")
        rows.append((f"images/{i}.png", "test" if i % 4 < 2 and i > 15 else "train", ("dark", "bright")[i % 2]))
    layouts.table(root / "labels.csv", ("image", "split", "emotion"), rows)
    keys = {
        "finetune.epochs": 12,
        "finetune.batch": 8,
        "finetune.colour": 0,
        "finetune.lr": 0.01,
        "finetune.backbone_lr": 1,
    }
    assert value(measure("emotion", "csv", root, mode="finetune", overrides=keys), "accuracy") > 0.9
    assert value(measure("emotion", "csv", root, mode="linear"), "accuracy") > 0.9


def test_schedule_rises_then_falls() -> None:
    rates = [schedule(t, 0.1) for t in np.linspace(0, 1, 50)]
    assert max(rates) == pytest.approx(1, abs=0.01) and rates[-1] == pytest.approx(0, abs=1e-9) and rates[0] < 0.05
    assert all(a >= b for a, b in itertools.pairwise(rates[5:]))


@given(st.integers(0, 1000))
def test_jitter_stays_within_its_keys(seed: int) -> None:
    keys = Finetune(rotate=10, zoom=0.2, move=0.05)
    change = jitter(np.random.default_rng(seed), keys, 64, True)
    turn = change.matrix[:, :2]
    zoom = np.sqrt(np.linalg.det(turn))
    assert 1 / 1.2 - 1e-9 <= zoom <= 1.2 + 1e-9
    assert abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= 10 + 1e-9
    assert np.abs(apply(change.matrix, np.array([[31.5, 31.5]])) - 31.5).max() <= 0.05 * 64 + 1e-9
    first = np.array([[2.0, 0, 3], [0, 2, 1]])
    point = np.array([[4.0, 5.0]])
    np.testing.assert_allclose(apply(chained(change.matrix, first), point), apply(change.matrix, apply(first, point)))


@pytest.mark.parametrize(
    ("arch", "expected"),
    [("resnet18", {0: "layer4", 1: "layer3", 3: "layer1", 4: "conv1"}), ("vit_s", {0: "blocks.11"})],
)
def test_lower_layers_learn_at_lower_rates(arch: str, expected: dict[int, str]) -> None:
    encoder = encoders.load("random", arch)
    head = Head(OnFeature(torch.nn.Linear(4, 2)), lambda given, target: given.sum())
    plan = TrainingPlan([], CropRule("whole"), None, Finetune(lr=0.01, backbone_lr=0.5, layer_decay=0.5))  # type: ignore[arg-type]
    groups = _optimiser(TunedNetwork(encoder, head.layers), plan).param_groups
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rate_of) == len(list(encoder.parameters())) + 2 and groups[0]["lr"] == 0.01
    for below, start in expected.items():
        own = {rate_of[id(p)] for name, p in encoder.network.named_parameters() if name.startswith(start + ".")}
        assert sorted(own) == pytest.approx([0.005 * 0.5**below])
    stem = rate_of[id(next(iter(encoder.network.parameters())))]
    assert stem == min(group["lr"] for group in groups)
    with pytest.raises(UsageError, match=r"finetune\.layer_decay: the layers of .* are not known"):
        _optimiser(TunedNetwork(encoders.load(Means()), head.layers), plan)


@pytest.mark.parametrize("mode", ["knn", "linear", "finetune"])
@pytest.mark.parametrize(
    ("task", "dataset", "make"),
    [
        ("landmarks", "pts", layouts.make_pts),
        ("reconstruction", "mat", layouts.make_mat),
        ("emotion", "csv", lambda root: layouts.make_csv(root, "affect")),
    ],
)
def test_flip_averaging_changes_predictions_and_is_recorded(
    task: str, dataset: str, make: Callable[[Path], Path], mode: str, tmp_path: Path
) -> None:
    root = make(tmp_path)
    keys = {"extract.flip_average": True, "finetune.flip": False, "finetune.rotate": 0, "finetune.colour": 0}
    plain = measure(task, dataset, root, mode=mode, overrides=keys | {"extract.flip_average": False})
    found = measure(task, dataset, root, mode=mode, overrides=keys)
    assert [r.value for r in found] != pytest.approx([r.value for r in plain], nan_ok=True, abs=1e-12)
    assert {r.recipe.get("extract.flip_average") for r in found} == {True}


def test_predictions_of_mirror_images_are_mirrored_back() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 80, (3, 68, 2))
    task = LandmarkTask(LandmarkTarget(points, "box", np.tile([0.0, 0, 80, 80], (3, 1)), MIRROR[68]))
    matrix = np.array([[0.4, 0, 0], [0, 0.4, 0.0]])
    targets, mirrored = (np.stack([task.target(i, matrix, 32, flip) for i in range(3)]) for flip in (False, True))
    np.testing.assert_allclose(task.unmirrored(mirrored), targets, atol=1e-12)
    assert not np.allclose(mirrored, targets)


def test_half_precision_trains(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path)
    found = [
        [r.value for r in measure("emotion", "csv", root, mode="finetune", overrides={"finetune.precision": precision})]
        for precision in ("float32", "bfloat16")
    ]
    assert np.isfinite(found).all()
