from __future__ import annotations

from pathlib import Path

import pytest

from curate.storage.build import build_of


@pytest.mark.parametrize(
    ("inside", "manifest"),
    [
        (".", "build/manifests/m.parquet"),
        ("build", "manifests/m.parquet"),
        ("build", "./manifests/m.parquet"),
        ("build/manifests", "m.parquet"),
        ("build/manifests", "./m.parquet"),
        ("build/manifests/deep", "../m.parquet"),
        ("build/faces", "../manifests/m.parquet"),
        ("build/manifests", "deep/../m.parquet"),
    ],
)
def test_a_build_is_found_from_its_manifest_wherever_the_command_runs(
    inside: str, manifest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("build/manifests/deep", "build/faces"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / inside)
    assert Path(build_of(manifest, {})).resolve() == tmp_path / "build"
    assert Path(build_of(str(Path(manifest).absolute()), {})).resolve() == tmp_path / "build"


def test_a_manifest_may_say_where_its_build_lies() -> None:
    assert build_of("cuts/m.parquet", {"build_path": "../build"}) == "cuts/../build"
    assert build_of("m.parquet", {"build_path": "s3://bucket/build"}) == "s3://bucket/build"
    assert build_of("s3://bucket/build/manifests/m.parquet", {}) == "s3://bucket/build"
