"""`run`, end to end on miniatures: every data set and mode, protocols, chance, damage, cache and results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from curate.errors import StorageError, UsageError
from curate.evaluate import TASKS, Result, features, load_recipe, read_results, results, run, summarise
from curate.evaluate.datasets.people import read_people
from curate.evaluate.protocol import Mode, telling
from curate.evaluate.samples import Task
from tests.evaluate import layouts
from tests.evaluate.test_datasets import MINIATURES
from tests.evaluate.tiny import Means, tiny

SMALL = {"crop.size": 32, "finetune.epochs": 1, "finetune.batch": 4, "heads.channels": 8, "extract.batch": 8}
FIELDS = (
    "backbone", "method", "manifest", "task", "dataset", "split", "metric", "value", "fraction", "mode", "seed",
    "n_train", "n_test", "seconds",
)  # fmt: skip


def measure(task: str, dataset: str, data: Path, **options: object) -> list[Result]:
    backbone = options.pop("backbone", None) or tiny()
    overrides = SMALL | options.pop("overrides", {})  # type: ignore[operator]
    return run(task, dataset, backbone, data=data, device="cpu", overrides=overrides, **options)  # type: ignore[arg-type]


def value(found: list[Result], metric: str, split: str | None = None) -> float:
    return next(r.value for r in found if r.metric == metric and split in (None, r.split))


@pytest.mark.parametrize("name", MINIATURES)
def test_every_data_set_is_measured(name: str, tmp_path: Path) -> None:
    task, make, _ = MINIATURES[name]
    root = make(tmp_path / "data")
    modes = ("knn",) if name.startswith("ijb") else ("linear", "knn")  # they have no people to learn from
    found = [r for mode in modes for r in measure(task, name, root, mode=mode)]
    assert {r.mode for r in found} == set(modes)
    assert all(np.isfinite(r.value) for r in found if r.metric in ("nme", "accuracy", "rmse", "nme_2d", "eer"))
    assert {(r.task, r.dataset) for r in found} == {(task, name)}


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


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("pairs", layouts.make_pairs, "pairs: of none of the 16 pairs"),
        ("ijbc", layouts.make_ijb_insightface, "ijbc: none of the 24 pictures of templates"),
    ],
)
def test_tested_pictures_that_cannot_be_read_are_refused(
    name: str, make: Callable[[Path], Path], told: str, tmp_path: Path
) -> None:
    for picture in make(tmp_path / "d").rglob("*.jpg"):
        picture.write_bytes(b"")
    with pytest.raises(UsageError, match=told):
        measure("recognition", name, tmp_path / "d", mode="knn", out=tmp_path / "out" / "r.jsonl")
    assert not (tmp_path / "out" / "r.jsonl").exists()


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


def test_landmarks_are_found_where_they_can_be_seen(tmp_path: Path) -> None:
    """A white square on black: its corners follow linearly from what a map shows."""
    rng = np.random.default_rng(0)
    for i in range(60):
        part = "test" if i % 3 == 0 else "train"
        x, y = rng.integers(25, 40, 2)
        picture = np.zeros((80, 80, 3), np.uint8)
        picture[y : y + 20, x : x + 20] = 255
        (tmp_path / part).mkdir(exist_ok=True)
        layouts.Image.fromarray(picture).save(tmp_path / part / f"{i}.png")
        corners = np.array([[x, y], [x + 20, y], [x + 20, y + 20], [x, y + 20.0], [5, 5], [75, 75]])
        layouts.pts(tmp_path / part / f"{i}.pts", corners)
    found = measure("landmarks", "pts", tmp_path, backbone=Means(), overrides={"linear.grid": 8})
    assert value(found, "nme") < 0.03  # of the box: 70 pixels


def noise_classes(root: Path, classes: int, count: int) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        layouts.save(root / "images" / f"{i}.png", i, (32, 32))
        rows.append((f"images/{i}.png", "test" if i % 2 else "train", f"class{rng.integers(classes)}"))
    layouts.table(root / "labels.csv", ("image", "split", "emotion"), rows)
    return root


@pytest.mark.parametrize("mode", ["linear", "knn"])
def test_random_scores_as_chance_says_on_classes(mode: str, tmp_path: Path) -> None:
    """Labels that have nothing to do with pictures: accuracy within four deviations of 1 / classes."""
    root = noise_classes(tmp_path, 4, 400)
    accuracy = value(measure("emotion", "csv", root, mode=mode), "accuracy")
    assert abs(accuracy - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 200)


def test_random_scores_as_chance_says_on_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for i in range(400):
        for side in "ab":
            layouts.save(tmp_path / f"{i}{side}.png", 2 * i + (side == "b"), (32, 32))
        rows.append((i % 10, f"{i}a.png", f"{i}b.png", int(rng.random() < 0.5)))
    layouts.table(tmp_path / "pairs.csv", ("fold", "image_a", "image_b", "same"), rows)
    found = measure("recognition", "pairs", tmp_path, mode="knn")
    assert abs(value(found, "accuracy") - 0.5) < 4 * np.sqrt(0.25 / 400)
    assert abs(value(found, "roc_auc") - 0.5) < 0.12
    assert abs(value(found, "eer") - 0.5) < 0.12


def test_results_have_the_fields_and_are_appended(tmp_path: Path) -> None:
    out = tmp_path / "results" / "results.jsonl"
    root = layouts.make_csv(tmp_path / "data")
    first = measure("emotion", "csv", root, out=out)
    measure("emotion", "csv", root, out=out, mode="knn")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 2 * len(first)
    for line in lines:
        assert set(FIELDS) <= set(line)
        assert line["crop"]["rule"] == "whole" and line["crop"]["size"] == 32
    assert lines[0]["n_train"] == 16 and lines[0]["n_test"] == 8 and lines[0]["fraction"] == 1.0
    assert [r.value for r in read_results(out)][: len(first)] == [r.value for r in first]


def test_folders_and_recipes_of_one_format_are_measurements_of_their_own(tmp_path: Path) -> None:
    """Of two folders and two numbers of neighbours none replaces another; a line of before has neither and is read."""
    out = tmp_path / "results.jsonl"
    for name, seeds, k in (("one", 2, 20), ("two", 1, 20), ("two", 1, 3), ("two", 1, 3)):
        root = tmp_path / name
        if not root.exists():
            layouts.make_pairs(root, people=4 + len(list(tmp_path.iterdir())))
        measure("recognition", "pairs", root, mode="knn", out=out, seeds=seeds, overrides={"knn.k": k})
    found = [r for r in read_results(out) if r.metric == "eer"]
    assert [(Path(str(r.data)).name, r.seed, r.recipe) for r in found] == [
        ("one", 0, {}), ("one", 1, {}), ("two", 0, {}), ("two", 0, {"knn.k": 3}),
    ]  # fmt: skip
    assert len(list((tmp_path / "curves").iterdir())) == 4
    old = json.loads(out.read_text().splitlines()[0])
    del old["data"], old["recipe"]
    (tmp_path / "old.jsonl").write_text(json.dumps(old) + "\n")
    assert [(r.data, r.recipe) for r in read_results(tmp_path / "old.jsonl")] == [(None, {})]


@pytest.mark.parametrize(
    ("task", "mode", "keys", "told"),
    [
        ("emotion", "linear", {"finetune.epochs": 2, "knn.k": 3, "extract.batch": 4, "seed": 1, "train": "x"}, {}),
        ("emotion", "finetune", {"finetune.epochs": 2, "linear.grid": 3}, {"finetune.epochs": 2}),
        ("landmarks", "linear", {"heads.linear_landmarks": "heatmap", "finetune.lr": 0.1},
         {"finetune.lr": 0.1, "heads.linear_landmarks": "heatmap"}),
        ("recognition", "knn", {"extract.mirror": False, "train": "x"}, {"extract.mirror": False, "train": "x"}),
        ("emotion", "knn", {"linear.strengths": [1.0], "split.folds": 3},
         {"linear.strengths": [1.0], "split.folds": 3}),
    ],
)  # fmt: skip
def test_results_tell_the_keys_that_decide_them(
    task: Task, mode: Mode, keys: dict[str, Any], told: dict[str, Any]
) -> None:
    assert telling(mode, task, load_recipe(None, keys)) == told


def test_subsets_are_nested_and_published(tmp_path: Path) -> None:
    out = tmp_path / "out" / "results.jsonl"
    root = layouts.make_csv(tmp_path / "data", count=60)
    found = measure("emotion", "csv", root, out=out, fraction=[1.0, 0.5, 0.1], seeds=2)
    assert sorted({(r.fraction, r.n_train) for r in found}) == [(0.1, 4), (0.5, 20), (1.0, 40)]
    hashes = {(r.fraction, r.seed): r.subset for r in found}
    lists = {
        (f, s): (out.parent / "subsets" / f"emotion-csv-train-fraction{f:g}-seed{s}-{name}.txt")
        .read_text()
        .splitlines()
        for (f, s), name in hashes.items()
    }
    for s in (0, 1):
        assert set(lists[0.1, s][1:]) < set(lists[0.5, s][1:]) < set(lists[1.0, s][1:])
    assert lists[0.1, 0] != lists[0.1, 1]
    published = {r.subset for r in found if r.fraction == 0.1 and r.seed == 0}
    assert all(digest and digest in lists[0.1, 0][0] for digest in published)
    shots = measure("emotion", "csv", root, shots=[1, 3])
    assert {(r.shots, r.n_train) for r in shots} == {(1, 2), (3, 6)}


def test_without_test_part_folds_test_each_other(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path, test=False, subjects=True)
    found = measure("emotion", "csv", root)
    assert {(r.split, r.n_test) for r in found} == {("cv4", 24)}  # four people
    assert found[0].n_train == 18


def test_a_list_of_ids_tells_what_every_fold_learned_from(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path / "data", test=False, subjects=True)
    found = measure("emotion", "csv", root, out=tmp_path / "out" / "r.jsonl", fraction=0.5)
    (listed,) = (tmp_path / "out" / "subsets").iterdir()
    assert listed.stem.endswith(f"-cv4-fraction0.5-seed0-{found[0].subset}")
    lines = [line.split("\t") for line in listed.read_text().splitlines()[1:]]
    assert Counter(fold for fold, _ in lines) == {f"fold{k}": 9 for k in (1, 2, 3, 4)}
    changed = measure("emotion", "csv", root, out=tmp_path / "out" / "r.jsonl", fraction=0.5, seeds=2)
    assert len({r.subset for r in changed}) == 2


def test_a_list_of_ids_tells_what_whitened_every_fold_of_pairs(tmp_path: Path) -> None:
    root, out = layouts.make_pairs(tmp_path / "data"), tmp_path / "out" / "r.jsonl"
    found = measure("recognition", "pairs", root, out=out, fraction=0.5)
    (listed,) = (tmp_path / "out" / "subsets").iterdir()
    assert listed.stem == f"recognition-pairs-cv2-fraction0.5-seed0-{found[0].subset}"
    lines = [line.split("\t") for line in listed.read_text().splitlines()[1:]]
    assert Counter(fold for fold, _ in lines) == {"fold1": 4, "fold2": 4} and found[0].n_train == 4
    assert {(fold, name[:2]) for fold, name in lines} == {("fold1", "p2"), ("fold2", "p1")}


def test_damaged_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path / "csv")
    (root / "images" / "0.png").write_bytes(b"not a picture")
    (root / "images" / "1.png").write_bytes((root / "images" / "1.png").read_bytes()[:200])
    for mode in ("linear", "finetune"):
        found = measure("emotion", "csv", root, mode=mode)
        assert found[0].n_test == 7 and found[0].skipped >= 1
    pairs = layouts.make_pairs(tmp_path / "pairs")
    (pairs / "p10" / "p10_0.jpg").write_bytes(b"")
    found = measure("recognition", "pairs", pairs)
    assert found[0].n_test == 14 and found[0].skipped == 2


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


@pytest.mark.parametrize(("rule", "expected"), [("random", 8), ("uniform", 8), ("cover", 8)])
def test_frames_of_videos_are_chosen(rule: str, expected: int, tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    found = measure("action_units", "bp4d", root, overrides={"frames.rule": rule, "frames.share": 0.5})
    assert {(r.n_train, r.frames) for r in found} == {(expected, f"{rule}:0.5")}


@pytest.mark.parametrize(("task", "name", "make"), [
    ("emotion", "csv", layouts.make_csv), ("recognition", "pairs", layouts.make_pairs),
])  # fmt: skip
def test_without_videos_all_frames_are_told(task: str, name: str, make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = measure(task, name, make(tmp_path), overrides={"frames.rule": "random", "frames.share": 0.02})
    assert {r.frames for r in found} == {"all"}


def test_cover_keeps_one_of_equal_frames(tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    for subject in ("F001", "M003"):
        for k in range(1, 8):
            layouts.save(root / "2D+3D" / subject / "T1" / f"{k + 1:04d}.jpg", k // 4)
    found = measure("action_units", "bp4d", root, overrides={"frames.rule": "cover", "frames.threshold": 0.99})
    assert found[0].n_train == 4 and found[0].frames == "cover:t=0.99"


def test_people_of_another_folder(tmp_path: Path) -> None:
    root = layouts.make_pairs(tmp_path / "pairs")
    people = layouts.make_vggface2(tmp_path / "vgg")
    found = measure("recognition", "pairs", root, overrides={"train": str(people)})
    assert found[0].n_train == 6
    (people / "data").mkdir()  # as the owners' archives unpack
    (people / "bb_landmark").rename(people / "data" / "bb_landmark")
    with_points = read_people(people)
    assert len(with_points) == 6 and all(sample.points is not None for sample in with_points)
    layouts.make_pairs(tmp_path / "own", train=True)
    assert measure("recognition", "pairs", root, overrides={"train": str(tmp_path / "own")})[0].n_train == 12
    with pytest.raises(UsageError, match="nobody to learn from"):
        measure("recognition", "pairs", root, mode="finetune")


@pytest.mark.parametrize(("name", "make"), [("ijbb", layouts.make_ijb_owners), ("ijbc", layouts.make_ijb_insightface)])
def test_templates_are_whitened_by_people_alone(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    """The insightface layout crops by five landmarks, which VGGFace2 has; the owners' by boxes, which nobody has."""
    root, people = make(tmp_path / "ijb", name), layouts.make_vggface2(tmp_path / "vgg")
    for mode in ("linear", "finetune"):
        with pytest.raises(UsageError, match=f"--mode {mode}: {name} has nobody to learn from"):
            measure("recognition", name, root, mode=mode)
    own = layouts.make_pairs(tmp_path / "own", train=True)
    for folder in (own,) if name == "ijbc" else (own, people):
        with pytest.raises(UsageError, match=f"train={folder}: no picture there comes with .*, by which {name}"):
            measure("recognition", name, root, overrides={"train": str(folder)})
    if name == "ijbc":
        whitened = measure("recognition", name, root, overrides={"train": str(people)})
        assert whitened[0].n_train == 6
        for picture in (people / "train").rglob("*.jpg"):
            picture.write_bytes(b"")
        with pytest.raises(UsageError, match="none of the 6 pictures to learn from"):
            measure("recognition", name, root, overrides={"train": str(people)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "lineer"}, "--mode lineer"),
        ({"fraction": 0.0}, "--fraction"),
        ({"shots": 0}, "--shots 0"),
        ({"seeds": 0}, "--seeds 0"),
        ({"fraction": 0.5, "shots": 2}, "--fraction and --shots: give one"),
        ({"overrides": {"linear.stength": 1}}, r"linear\.strengths"),
        ({"overrides": {"frames.rule": "random"}}, r"frames\.rule = random: needs frames\.share"),
        ({"overrides": {"frames.rule": "random", "frames.threshold": 0.9}}, r"needs frames\.share"),
        ({"overrides": {"frames.rule": "cover", "frames.threshold": 0.9, "frames.share": 0.1}}, "give one"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        measure("emotion", "csv", layouts.make_csv(tmp_path), **options)


def test_csv_without_the_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="AU01"):
        measure("action_units", "csv", layouts.make_csv(tmp_path))


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


def test_a_crop_that_the_network_cannot_take_is_refused_at_once(tmp_path: Path) -> None:
    root, keys = layouts.make_csv(tmp_path), {"crop.size": 50}
    with pytest.raises(UsageError, match=r"--backbone random: refuses pictures of 50 x 50 .*--set crop\.size"):
        measure("emotion", "csv", root, backbone="random", arch="vit_s", overrides=keys)


def test_random_backbones_differ_by_seed(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path)
    found = run("emotion", "csv", "random", data=root, arch="resnet18", seeds=2, device="cpu", overrides=SMALL)
    assert len({r.backbone_digest for r in found}) == 2 and {r.seed for r in found} == {0, 1}


class Broken(nn.Module):
    """A backbone whose weights went wrong."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * float("nan")


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not all numbers"):
        measure("emotion", "csv", layouts.make_csv(tmp_path), backbone=Broken())


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    measure("emotion", "csv", layouts.make_csv(tmp_path), progress=lambda *a: told.append(a))
    assert told[0] == ("features", 0, 24) and told[-1] == ("features", 24, 24)
    told.clear()
    measure("emotion", "csv", tmp_path, mode="finetune", progress=lambda *a: told.append(a))
    assert [t for t in told if t[0] == "passes"] == [("passes", 0, 1), ("passes", 1, 1)]


def test_statistics_over_seeds() -> None:
    found = summarise([1.0, 2.0, 3.0, float("nan")])
    assert (found.mean, found.deviation, found.seeds) == (2, 1, 3)
    assert found.low is not None and found.high is not None and 1 <= found.low < 2 < found.high <= 3
    assert summarise([5.0]).low is None and summarise([]).seeds == 0


def test_results_survive_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    result = Result("b", None, None, "emotion", "csv", "test", "accuracy", float("nan"), 1.0, "linear", 0, 1, 1, 0.1)
    results.append(path, [result])
    with path.open("a") as file:
        file.write('{"backbone": "cut')
    assert len(read_results(path)) == 1
    results.append(path, [result])
    assert path.read_text().count("\n") == 3
    with pytest.raises(UsageError, match=r"r\.jsonl:2"):
        read_results(path)
    assert json.loads(path.read_text().splitlines()[0])["value"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"value": "abc"}, "value"),
        ({"fraction": None}, "fraction"),
        ({"crop": 3}, "crop"),
        ({"manifest": 3}, "manifest"),
        ({"method": {"a": 1}}, "method"),
        ({"recipe": []}, "recipe"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_field_of_another_type_is_named_with_its_line(
    change: dict[str, object], told: str, last: bool, tmp_path: Path
) -> None:
    """The last line too, unless it is cut short: it is whole, so no interrupted run has left it."""
    result = Result("b", None, None, "emotion", "csv", "test", "accuracy", 0.5, 1.0, "linear", 0, 1, 1, 0.1)
    lines = [json.dumps(json.loads(result.line()) | change), *([] if last else [result.line()])]
    (tmp_path / "r.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=rf"r\.jsonl:1: no measurement .*\({told} is missing or wrong"):
        read_results(str(tmp_path / "r.jsonl"))


def test_an_out_that_cannot_be_written_is_told_before_the_forward_pass(tmp_path: Path) -> None:
    root, network = layouts.make_csv(tmp_path / "data"), Counting()
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "r.jsonl", tmp_path):
        with pytest.raises(StorageError, match=str(out)):
            measure("emotion", "csv", root, backbone=network, out=out)
    assert network.seen == 0
    results.check(tmp_path / "new" / "r.jsonl")
    assert not (tmp_path / "new" / "r.jsonl").exists()


RECIPES = Path(__file__).parents[2] / "pipelines" / "evaluate"
SETS = {
    "recognition": ("pairs", layouts.make_pairs),
    "landmarks": ("pts", layouts.make_pts),
    "action_units": ("csv", lambda root: layouts.make_csv(root, "units")),
    "emotion": ("csv", layouts.make_csv),
    "reconstruction": ("mat", layouts.make_mat),
}


def test_every_task_has_a_recipe() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_recipes_of_the_repository_run(task: str, tmp_path: Path) -> None:
    dataset, make = SETS[task]
    recipe = load_recipe(RECIPES / f"{task}.yaml", {"crop.size": 32})
    found = run(task, dataset, tiny(), data=make(tmp_path), recipe=recipe, device="cpu")
    assert found and all(r.task == task for r in found)
