from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate import recipe
from curate.run.summary import changes
from curate.storage.info import BackendInfo
from tests.builds import write_info

REDONE = "and all after it is redone"
BACKEND = {"name": "dlib", "models": [{"file": "a", "sha256": "0"}, {"file": "b", "sha256": "1"}]}


@pytest.mark.parametrize(
    ("overrides", "backend", "told"),
    [
        ({"embed.device": "cpu", "fetch.retries": 9}, {}, []),
        ({"faces.backend": "dlib", "faces.models": "elsewhere", "faces.pack": "small"}, {}, []),
        ({}, {"models": BACKEND["models"][::-1]}, []),
        ({"fps": 2}, {}, ["recipe: fps was 5.0, is 2.0: decoding " + REDONE]),
        ({"faces.min_size": 50}, {}, ["recipe: faces.min_size was 32.0, is 50.0: decoding " + REDONE]),
        ({"dedupe.threshold": 0.9}, {}, ["recipe: dedupe.threshold was 0.994, is 0.9: clusters " + REDONE]),
        ({"seed": 3}, {}, ["recipe: seed was 0, is 3: manifests " + REDONE]),
        (
            {"faces.backend": "insightface"},
            {"name": "insightface"},
            ["models: were those of dlib, are others of insightface: decoding " + REDONE],
        ),
    ],
)  # fmt: skip
def test_a_changed_recipe_says_what_is_done_again_and_no_more(
    overrides: dict[str, Any], backend: dict[str, Any], told: list[str], tmp_path: Path
) -> None:
    before = BackendInfo(**BACKEND)
    assert changes(tmp_path, recipe.BuildRecipe(), before) == []
    write_info(tmp_path, backend=before)
    assert changes(tmp_path, recipe.load(None, overrides), BackendInfo(**BACKEND | backend)) == told
