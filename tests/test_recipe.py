from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from curate import recipe, recipe_files
from curate.errors import UsageError
from curate.evaluate import config as evaluate
from curate.pretrain import config as pretrain
from curate.study import config as study

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"fpss": 3}, "did you mean fps"),
        ({"faces.min_sise": 3}, "did you mean faces.min_size"),
        ({"no.such": 1}, "no.such"),
        ({"fps": -3}, "fps = -3"),
        ({"fps": "many"}, "fps = 'many'"),
        ({"fps": float("nan")}, "fps"),
        ({"dedupe.threshold": 7}, "dedupe.threshold = 7"),
        ({"manifests.redundancies": [1.5]}, "manifests.redundancies"),
        ({"fps.deep": 1}, "fps is a key"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(overrides: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        recipe.load(None, {"fps": 2} | overrides if "fps.deep" in overrides else overrides)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\n", r"r\.yaml:2"),
        ("- 1\n", "mapping"),
        ("fpss: 1\n", "did you mean fps"),
        ("a: !!python/object:os.system {}", "no valid YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told) as error:
        recipe.load(path)
    assert "r.yaml" in str(error.value)


def test_a_file_is_not_blamed_for_what_was_set_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("fps: 2\nfaces: {min_size: small}\n")
    for key, blamed in (("fps", False), ("faces.min_score", True)):
        with pytest.raises(UsageError) as error:
            recipe.load(path, {"faces.min_size": 20, key: "many"} if key == "fps" else {key: 0.5})
        assert (str(path) in str(error.value)) == blamed


def test_overrides_win_over_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("fps: 2\nfaces: {min_size: 50}\n")
    loaded = recipe.load(path, {"faces.min_score": 0.7})
    assert (loaded.fps, loaded.faces.min_size, loaded.faces.min_score) == (2, 50, 0.7)


def test_an_empty_recipe_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("# nothing\n")
    assert recipe.load(tmp_path / "r.yaml") == recipe.BuildRecipe()


def test_an_empty_section_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("faces:\n  # min_size: 50\nfps: 2\n")
    assert recipe.load(tmp_path / "r.yaml") == recipe.load(None, {"fps": 2})
    assert recipe.load(tmp_path / "r.yaml", {"faces.min_size": 40}).faces.min_size == 40


def test_assignments_are_yaml_and_need_an_equals_sign() -> None:
    assert recipe_files.parse_assignment("manifests.sizes=[1, 2]") == ("manifests.sizes", [1, 2])
    assert recipe_files.parse_assignment("fetch.proxy=http://a=b") == ("fetch.proxy", "http://a=b")
    with pytest.raises(UsageError, match="key=value"):
        recipe_files.parse_assignment("fps")


def test_every_key_says_what_it_means() -> None:
    assert all(field.description for _, field in recipe_files.described(recipe.BuildRecipe))


BUILDS = sorted(path for path in PIPELINES.glob("*.yaml") if not path.stem.endswith("_study"))


@pytest.mark.parametrize("path", BUILDS, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert recipe.load(path) != recipe.BuildRecipe()


def test_a_recipe_of_an_older_build_is_read_without_the_key_that_did_nothing():
    assert recipe.BuildRecipe.model_validate({"embed": {"batch": 32, "identity": False}}).embed.identity is False


@pytest.mark.parametrize("kind", get_args(recipe_files.Kind))
def test_recipes_that_come_with_curate_have_names(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = {
        "build": recipe.BuildRecipe,
        "pretrain": pretrain.PretrainRecipe,
        "evaluate": evaluate.EvaluateRecipe,
        "study": study.StudyRecipe,
    }[kind]
    for name, path in recipe_files.shipped(kind).items():
        assert recipe_files.load_as(model, Path(name), None, kind) == recipe_files.load_as(model, path, None, kind)
    with pytest.raises(UsageError, match=rf"nosuch: there is no such recipe.*{next(iter(recipe_files.shipped(kind)))}"):
        recipe_files.load_as(model, Path("nosuch"), None, kind)


def test_each_recipe_of_the_folder_has_one_name_and_the_users_file_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for kind in get_args(recipe_files.Kind) for name in recipe_files.shipped(kind).values()]
    assert sorted(path.name for path in names) == sorted(path.name for path in PIPELINES.rglob("*.yaml"))
    monkeypatch.chdir(tmp_path)
    Path("quick_look").mkdir()
    assert recipe.load(Path("quick_look")).fps == 1
    Path("quick_look").rmdir()
    Path("quick_look").write_text("fps: 7")
    assert recipe.load(Path("quick_look")).fps == 7


def test_the_wheel_holds_them() -> None:
    settings = tomllib.loads((PIPELINES.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    held = {
        path for pattern in settings["package-data"]["curate"] for path in recipe_files.SHIPPED.parent.glob(pattern)
    }
    assert held >= {path for kind in get_args(recipe_files.Kind) for path in recipe_files.shipped(kind).values()}


def test_each_kind_of_vectors_has_its_threshold_and_one_that_is_given_stands() -> None:
    plain, network = recipe.load(None, {}), recipe.load(None, {"embed.descriptor": "network"})
    assert plain.dedupe.threshold == recipe.USUAL_THRESHOLD["spectrum"] != recipe.USUAL_THRESHOLD["network"]
    assert network.dedupe.threshold == recipe.USUAL_THRESHOLD["network"]
    given = {"embed.descriptor": "network", "dedupe.threshold": 0.9, "dedupe.identity_threshold": 0.5}
    assert recipe.load(None, given).dedupe == recipe.Dedupe(threshold=0.9, identity_threshold=0.5)
    assert recipe.BuildRecipe.model_validate(network.model_dump(mode="json")) == network
    with pytest.raises(UsageError, match=r"embed\.descriptor"):
        recipe.load(None, {"embed.descriptor": "networks"})
