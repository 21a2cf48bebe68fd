"""Lines of results: what they tell, what is one measurement, and files that are torn or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.errors import StorageError, UsageError
from curate.evaluate import Result, load_recipe, read_results, results, summarise
from curate.evaluate.protocol import Mode, decisive_keys
from curate.evaluate.samples import TaskName
from tests.evaluate import layouts
from tests.evaluate.test_benchmark import measure
from tests.evaluate.test_features import Counting

FIELDS = (
    "backbone", "method", "manifest", "task", "dataset", "split", "metric", "value", "fraction", "mode", "seed",
    "n_train", "n_test", "seconds",
)  # fmt: skip


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
    task: TaskName, mode: Mode, keys: dict[str, Any], told: dict[str, Any]
) -> None:
    assert decisive_keys(mode, task, load_recipe(None, keys)) == told


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
