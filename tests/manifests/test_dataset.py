"""A manifest as a torch data set."""

from __future__ import annotations

import pytest

from curate.manifests.candidates import candidates
from curate.manifests.dataset import FaceDataset
from curate.storage.build import Build


def test_a_manifest_is_read_from_inside_its_folder(build: Build, monkeypatch: pytest.MonkeyPatch):
    candidates(build).cut(build.path / "manifests" / "mine.parquet", 9, 0.0)
    monkeypatch.chdir(build.path / "manifests")
    faces = FaceDataset("mine.parquet")
    assert len(faces) == 9 and {faces.jpeg(place) for place in range(9)} == {b"jpeg"}
