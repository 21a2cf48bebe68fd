"""What an export refuses; what it writes is tested with pictures in `tests/run/test_reading.py`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import UsageError
from curate.manifests.candidates import candidates
from curate.manifests.export import export
from curate.storage.build import Build
from curate.storage.parquet import metadata_of, write_table


def test_a_row_that_the_build_has_not_is_named(build: Build, tmp_path: Path):
    manifest = build.path / "manifests" / "mine.parquet"
    candidates(build).cut(manifest, 9, 0.0)
    table, told = pq.read_table(manifest), metadata_of(manifest)
    place = table.schema.get_field_index("row")
    write_table(manifest, table.set_column(place, "row", pa.array([*table["row"].to_pylist()[:-1], 9999])), told)
    with pytest.raises(UsageError, match=r"row 9999 of faces/part-00001\.parquet, which has 150"):
        export(manifest, "imagefolder", tmp_path / "out")
    assert not (tmp_path / "out").exists()
