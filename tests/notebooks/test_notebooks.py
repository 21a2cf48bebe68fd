"""The notebooks run from top to bottom on the demo's build, and each pair says the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import pytest

from curate import recipe
from curate.run.build import build
from curate.run.cluster import Executor
from curate.study.config import StudyRecipe
from curate.study.execute import run
from tests.evaluate import layouts

FOLDER = Path(__file__).parents[2] / "notebooks"
CLIPS = ("source", "astronaut", "admiral", "actor", "cut-off")
SCRIPTS = sorted(FOLDER.glob("[0-9]_*.py"))


@pytest.fixture(scope="session")
def demo_build(demo_clips: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build of half of the demo's clips, at two frames a second."""
    folder = tmp_path_factory.mktemp("demo")
    lines = demo_clips[0].read_text(encoding="utf-8").splitlines(keepends=True)
    few = demo_clips[0].with_name("few.csv")
    few.write_text("".join(line for line in lines if line.startswith(CLIPS)), encoding="utf-8")
    return build(str(few), folder / "build", recipe.load(None, {"fps": 2.0}), Executor(1)).build.path


@pytest.fixture(scope="session")
def study(demo_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two arms, two seeds and one update on that build."""
    folder = tmp_path_factory.mktemp("study")
    keys: dict[str, Any] = {"batch": 8, "crop_size": 32, "crops": [{"count": 2}], "probe.images": 0}
    keys |= {"swav.prototypes": 4, "swav.queue": 0, "swav.assign_views": 1, "swav.freeze_prototypes_steps": 0}
    data = str(layouts.make_pts(folder / "pts"))
    chosen = {
        "builds": {"main": str(demo_build)},
        "faces": [{"rule": ["cover", "random"], "size": 12}, {"rule": "full"}],
        "methods": {"swav": {"method": "swav", "arch": "resnet18", "set": keys}},
        "budgets": [{"updates": 1}],
        "tasks": {
            "points": {
                "task": "landmarks", "dataset": "pts", "data": data, "fraction": [1.0, 0.5], "set": {"crop.size": 32},
            }
        },
        "seeds": [0, 1],
        "device": "cpu",
    }  # fmt: skip
    outcome = run(StudyRecipe.model_validate(chosen), folder / "out", workers=1)
    assert not outcome.failures
    return folder / "out"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_demo(script: Path, demo_build: Path, study: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "CURATE_BUILD": str(demo_build),
        "CURATE_STUDY": str(study),
        "CURATE_RESULTS": str(study / "results.jsonl"),
        "TMPDIR": str(tmp_path),
    }
    ran = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", script.name], cwd=FOLDER, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_pair_says_the_same_and_its_outputs_are_kept(script: Path) -> None:
    notebook = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert cells == [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in code)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))  # run once, in order
    assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]


def test_the_first_two_show_faces_and_the_others_none() -> None:
    """Those of the demo's clips with people in the public domain: `python notebooks/keep.py` says which build."""
    shown = [script.with_suffix(".ipynb").read_text(encoding="utf-8").count('"image/jpeg"') for script in SCRIPTS]
    assert shown[0] == 1 and shown[1] == 2 and shown[2:] == [0, 0]


def test_there_are_four_notebooks_that_define_nothing() -> None:
    assert len(SCRIPTS) == 4 == len(list(FOLDER.glob("*.ipynb")))
    for script in SCRIPTS:
        assert not [line for line in script.read_text().splitlines() if line.startswith(("def ", "class ", "    def "))]
