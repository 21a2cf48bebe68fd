"""Plans: what is shared, what a change leaves alone, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate.errors import UsageError
from curate.storage.build import Build
from curate.study.config import StudyRecipe, load
from curate.study.grid import Plan, plan
from tests.evaluate import layouts


def planned(recipe: dict[str, Any], **changes: Any) -> Plan:
    return plan(StudyRecipe.model_validate(recipe | changes))


def keys_of(found: Plan) -> set[str]:
    return {cell.key for cell in found.cells}


def test_what_a_rule_does_not_use_is_not_multiplied(recipe: dict[str, Any]) -> None:
    grid = {"rule": ["cover", "random", "uniform"], "size": [10, 20], "redundancy": [0, 0.5], "threshold": [0.8, None]}
    found = planned(recipe, faces=[grid], seeds=[0, 1])
    rules = [selection.rule for selection in found.selections]
    assert rules.count("cover") == 2 * 2 * 2 * 2 and rules.count("random") == 2 * 2 and rules.count("uniform") == 2


def test_equal_parts_are_planned_once(recipe: dict[str, Any], build: Build) -> None:
    twice = recipe["faces"] + [{"rule": "cover", "size": 16, "threshold": 0.9, "fps": 5.0}]
    assert keys_of(planned(recipe)) == keys_of(planned(recipe, faces=twice))
    assert keys_of(planned(recipe)) == keys_of(planned(recipe, methods={"other name": recipe["methods"]["swav"]}))


def test_a_seed_a_task_or_a_size_that_is_added_leaves_the_others_alone(recipe: dict[str, Any]) -> None:
    before = keys_of(planned(recipe))
    assert before < keys_of(planned(recipe, seeds=[0, 1]))
    assert before < keys_of(planned(recipe, faces=[{"rule": ["cover", "random"], "size": [16, 20]}]))
    task = recipe["tasks"]["points"]
    assert before < keys_of(planned(recipe, tasks={"points": task | {"fraction": [1.0, 0.5]}}))
    assert before < keys_of(planned(recipe, tasks={"points": task, "again": task | {"mode": "knn"}}))


def test_whatever_decides_a_number_changes_its_key(recipe: dict[str, Any]) -> None:
    before = keys_of(planned(recipe))
    swav, task = recipe["methods"]["swav"], recipe["tasks"]["points"]
    changes: list[dict[str, Any]] = [
        {"budgets": [{"updates": 2}]},
        {"methods": {"swav": swav | {"set": swav["set"] | {"swav.dim": 32}}}},
        {"tasks": {"points": task | {"set": {"crop.size": 48}}}},
        {"tasks": {"points": task | {"set": {"crop.size": 32, "extract.mirror": False}}}},
        {"faces": [{"rule": ["cover", "random"], "size": 17}]},
        {"seeds": [1]},
    ]
    for change in changes:
        assert not before & keys_of(planned(recipe, **change)), change


def test_keys_of_training_count_where_a_head_is_trained(recipe: dict[str, Any]) -> None:
    def points(**keys: Any) -> set[str]:
        task = recipe["tasks"]["points"]
        return keys_of(planned(recipe, tasks={"points": task | {"set": {"crop.size": 32} | keys}}))

    heatmap, fewer = {"heads.linear_landmarks": "heatmap"}, {"finetune.epochs": 2}
    assert points() == points(**fewer)
    assert not points(**heatmap) & points(**heatmap, **fewer)


def test_people_to_learn_from_count_by_their_folder(recipe: dict[str, Any], tmp_path: Path) -> None:
    pairs = layouts.make_pairs(tmp_path / "pairs")
    people = layouts.make_pairs(tmp_path / "people", train=True)
    (tmp_path / "moved").symlink_to(people)

    def lfw(train: Path) -> set[str]:
        task = {"task": "recognition", "dataset": "pairs", "data": str(pairs), "set": {"train": str(train)}}
        return keys_of(planned(recipe, tasks={"lfw": task}))

    before = lfw(people)
    assert before == lfw(tmp_path / "moved")
    (people / "more.txt").write_text("others")
    assert not before & lfw(people)
    with pytest.raises(UsageError, match=r"gone: .*tasks\.\*\.set\.train"):
        lfw(tmp_path / "gone")


def test_what_decides_no_number_does_not(recipe: dict[str, Any], tmp_path: Path) -> None:
    before = keys_of(planned(recipe))
    moved = tmp_path / "elsewhere"
    moved.symlink_to(recipe["tasks"]["points"]["data"])
    task = recipe["tasks"]["points"] | {"data": str(moved)}
    assert keys_of(planned(recipe, tasks={"points": task}, device="auto", keep_checkpoints=True)) == before
    batches = {"crop.size": 32, "extract.batch": 3, "extract.chunk": 5, "extract.cache": str(tmp_path / "cache")}
    assert keys_of(planned(recipe, tasks={"points": task | {"set": batches}})) == before
    swav = recipe["methods"]["swav"]
    assert keys_of(planned(recipe, methods={"swav": swav | {"set": swav["set"] | {"log.every": 3}}})) == before


def test_shares_are_counted_and_all_is_full(recipe: dict[str, Any], build: Build) -> None:
    found = planned(recipe, faces=[{"rule": ["random", "full"], "size": [0.1, "all"]}])
    faces = len(build.faces(["face_id"]))
    assert {(s.rule, s.size) for s in found.selections} == {("random", round(0.1 * faces)), ("full", None)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"builds": {}}, "build main is not among builds"),
        ({"budgets": []}, "need methods and budgets"),
        ({"budgets": [{"updates": 1, "passes": 1}]}, "one of updates, passes, images"),
        ({"faces": [], "methods": {}}, "nothing to measure"),
        ({"faces": [{"rule": "guess"}]}, "faces"),
        ({"faces": [{"size": 1.5}]}, "faces"),
        ({"faces": [{"size": True}]}, "faces"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": {"x": {"task": "emotion", "dataset": "lfw", "data": "."}}}, "lfw is for recognition"),
        ({"tasks": {"x": {"task": "emotion", "dataset": "lfwx", "data": "."}}}, "lfwx is none of"),
        ({"sedes": 3}, "did you mean seeds"),
        ({"compare": {"trainning": "x"}}, "compare names trainning"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    change: dict[str, Any], told: str, recipe: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | change))
    with pytest.raises(UsageError) as error:
        load(tmp_path / "r.yaml")
    assert told in str(error.value) and "\n" not in str(error.value) and "r.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"builds": {"main": "nowhere"}}, "nowhere"),
        ({"tasks": {"x": {"task": "landmarks", "dataset": "pts", "data": "gone"}}}, "gone"),
        ({"backbones": {"paper": {"file": "flr.pth"}}}, "flr.pth"),
        ({"methods": {"swav": {"set": {"batchh": 3}}}}, "did you mean batch"),
        ({"faces": [{"rule": "cover", "space": "taste"}]}, "taste"),
    ],
)
def test_what_is_not_there_is_refused_before_any_work(
    change: dict[str, Any], told: str, recipe: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=told):
        planned(recipe, **change)
