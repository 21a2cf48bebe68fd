"""`run`, end to end on miniatures: every data set and mode, protocols, chance, damage, cache and results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curate.errors import UsageError
from curate.evaluate import TASKS, Result, curves, load_recipe, run
from curate.evaluate.datasets.people import read_people
from curate.evaluate.tables import headline_metrics
from curate.study import answers
from curate.study.arms import Question
from curate.study.results import COLUMNS, Line
from tests.evaluate import layouts
from tests.evaluate.test_datasets import MINIATURES
from tests.evaluate.tiny import Means, tiny

SMALL = {"crop.size": 32, "finetune.epochs": 1, "finetune.batch": 4, "heads.channels": 8, "extract.batch": 8}


def measure(task: str, dataset: str, data: Path, **options: object) -> list[Result]:
    backbone = options.pop("backbone", None) or tiny()
    overrides = SMALL | options.pop("overrides", {})  # type: ignore[operator]
    options.setdefault("out", None)
    return run(task, dataset, backbone, data=data, device="cpu", overrides=overrides, **options)  # type: ignore[arg-type]


def value(found: list[Result], metric: str, split: str | None = None) -> float:
    return next(r.value for r in found if r.metric == metric and split in (None, r.split))


@pytest.mark.parametrize("name", MINIATURES)
def test_every_data_set_is_measured(name: str, tmp_path: Path) -> None:
    task, make, _ = MINIATURES[name]
    root = make(tmp_path / "data")
    modes = ("knn",) if name.startswith("ijb") else ("linear", "knn")  # they have no people to learn from
    found = [r for mode in modes for r in measure(task, name, root, mode=mode, out=tmp_path / "out" / "r.jsonl")]
    _what_is_compared_has_an_answer_a_picture(found, tmp_path / "out")
    assert {r.mode for r in found} == set(modes)
    assert all(np.isfinite(r.value) for r in found if r.metric in ("nme", "accuracy", "rmse", "nme_2d", "eer"))
    assert {(r.task, r.dataset) for r in found} == {(task, name)}


def _what_is_compared_has_an_answer_a_picture(found: list[Result], out: Path) -> None:
    """Of each headline metric studies find numbers whose mean it is; a few templates have no TAR at 1e-4."""
    for split, mode in {(r.split, r.mode) for r in found}:
        own = {r.metric: r for r in found if (r.split, r.mode) == (split, mode)}
        first = next(iter(own.values()))
        for metric in headline_metrics(first.task, first.dataset, own):
            if first.dataset.startswith("ijb") or np.isnan(own[metric].value):
                continue
            (kept := out / answers.NAME).mkdir(exist_ok=True)
            answers.keep(out / "curves", kept / "k")
            question = Question("t", first.task, first.dataset, split, metric, mode, 1.0, None)
            line = Line(own[metric], dict.fromkeys(COLUMNS) | {"cell": "k"})
            assert answers.of_study(out)(line, question) is not None, (split, mode, metric)


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


def test_a_unit_that_is_nowhere_coded_does_not_shorten_means_in_silence(tmp_path: Path) -> None:
    root = layouts.make_bp4d(tmp_path)
    for path in root.rglob("*_AU12.csv"):
        path.unlink()
    found = measure("action_units", "bp4d", root)
    assert "test: means over 4 of 5 (icc, mae, mse, rmse): undefined for AU12" in found[0].notes
    values = {r.metric: r.value for r in found}
    assert np.isnan(values["mae_AU12"])
    assert values["mae"] == pytest.approx(np.mean([values[f"mae_AU{unit}"] for unit in ("06", "10", "14", "17")]))


def test_bins_of_yaw_without_a_face_are_named(tmp_path: Path) -> None:
    found = measure("reconstruction", "mat", layouts.make_mat(tmp_path))
    metrics = {r.metric for r in found}
    empty = [name for name in ("yaw_0_30", "yaw_30_60", "yaw_60_90") if f"nme_2d_{name}" not in metrics]
    note = f"test: no face in {', '.join(empty)}: ..._balanced is the mean of the other bins"
    assert empty and note in found[0].notes


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


def test_a_crop_that_the_network_cannot_take_is_refused_at_once(tmp_path: Path) -> None:
    root, keys = layouts.make_csv(tmp_path), {"crop.size": 50}
    with pytest.raises(UsageError, match=r"--backbone random: refuses pictures of 50 x 50 .*--set crop\.size"):
        measure("emotion", "csv", root, backbone="random", arch="vit_s", overrides=keys)


def test_random_backbones_differ_by_seed(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path)
    found = run("emotion", "csv", "random", data=root, arch="resnet18", seeds=2, out=None, overrides=SMALL)
    assert len({r.backbone_digest for r in found}) == 2 and {r.seed for r in found} == {0, 1}


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
    found = run(task, dataset, tiny(), data=make(tmp_path), recipe=recipe, device="cpu", out=None)
    assert found and all(r.task == task for r in found)


def test_units_over_folds_are_pooled_and_by_fold(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path / "csv", "units", subjects=True, test=False)
    found = measure("action_units", "csv", root, mode="knn")
    metrics = {r.metric for r in found}
    assert {"icc", "icc_by_fold", "mse_by_fold", "mae"} <= metrics and not any(
        "AU" in m for m in metrics if "fold" in m
    )
    occurrence = layouts.make_disfa(tmp_path / "disfa")
    detected = measure("action_units", "disfa", occurrence, mode="linear", overrides={"data.labels": "occurrence"})
    assert {"f1", "f1_AU01", "f1_by_fold", "accuracy"} <= {r.metric for r in detected}
    assert {r.recipe.get("data.labels") for r in detected} == {"occurrence"}


def test_classes_can_weigh_alike(tmp_path: Path) -> None:
    root = layouts.make_csv(tmp_path)
    for mode in ("knn", "linear", "finetune"):
        found = measure("emotion", "csv", root, mode=mode, overrides={"split.balance": True})
        assert np.isfinite(value(found, "accuracy")) and found[0].recipe["split.balance"] is True


def test_errors_of_every_sample_are_kept(tmp_path: Path) -> None:
    """What a paired comparison of two backbones needs, for every task and target."""
    out = tmp_path / "out" / "r.jsonl"
    found = measure("emotion", "csv", layouts.make_csv(tmp_path / "csv"), out=out)
    (kept,) = curves.read(out.parent / "curves")
    assert len(kept.ids) == len(kept.errors) == found[0].n_test
    assert 1 - kept.errors.mean() == pytest.approx(value(found, "accuracy"))
    assert kept.groups.shape == (len(kept.ids), 1)


def test_errors_of_every_pair_are_kept_with_whom_they_show(tmp_path: Path) -> None:
    out = tmp_path / "out" / "r.jsonl"
    found = measure("recognition", "lfw", layouts.make_lfw(tmp_path / "lfw"), mode="knn", out=out)
    (kept,) = curves.read(out.parent / "curves")
    assert len(kept.errors) == len(kept.scores) == found[0].n_test
    assert 1 - kept.errors.mean() == pytest.approx(value(found, "accuracy"))
    assert ((kept.groups[:, 0] == kept.groups[:, 1]) == kept.same).all()
