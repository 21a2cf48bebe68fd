"""The example that `manifests/README.md` points to is what the page says it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.storage import schemas
from curate.storage.files import sha256_file
from curate.storage.parquet import metadata_of, read_table

EXAMPLE = Path(__file__).parents[2] / "manifests" / "example"
INDEX = json.loads((EXAMPLE / "index.json").read_text(encoding="utf-8"))["manifests"]


@pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["name"])
def test_the_example_keeps_its_word(entry: dict[str, object]) -> None:
    path = EXAMPLE / str(entry["file"])
    table, told = read_table(path), metadata_of(path)
    assert table.schema.names == schemas.MANIFEST.names and entry["sha256"] == sha256_file(path)
    assert {key: entry[key] for key in told} == told
    clusters = set(table["cluster"].to_pylist())
    assert table.num_rows == told["size"] and len(clusters) == told["unique"]
    assert told["redundancy"] == pytest.approx(1 - told["unique"] / told["size"])
    heads = [row["cluster"] for row in table.to_pylist() if row["representative"]]
    assert sorted(heads) == sorted(clusters)


def test_the_example_nests() -> None:
    ids = {entry["name"]: set(read_table(EXAMPLE / entry["file"])["face_id"].to_pylist()) for entry in INDEX}
    assert ids["unique"] < ids["natural"]
