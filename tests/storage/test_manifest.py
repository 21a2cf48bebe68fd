"""What a manifest says of itself goes to JSON and back; a file that is none is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import UsageError
from curate.storage import schemas
from curate.storage.manifest import ManifestMetadata, open_manifest, read_metadata
from curate.storage.parquet import write_table

METADATA = st.builds(
    ManifestMetadata,
    redundancy=st.floats(0, 1),
    redundancy_target=st.one_of(st.none(), st.just("natural"), st.floats(0, 0.99)),
    threshold=st.floats(0.1, 1),
    fps=st.one_of(st.none(), st.floats(0.1, 60)),
)


@given(METADATA)
def test_metadata_come_back_as_they_went(metadata: ManifestMetadata) -> None:
    assert ManifestMetadata.from_dict(metadata.to_dict()) == metadata
    assert ManifestMetadata.from_dict({**metadata.to_dict(), "of a later version": 1}) == metadata


def test_metadata_that_say_too_little_are_no_manifest(tmp_path: Path) -> None:
    empty = schemas.MANIFEST.empty_table()
    row = pa.table({f.name: pa.array([None if f.name == "row" else "x"]).cast(f.type, safe=False)
                    for f in schemas.MANIFEST if f.name in ("face_id", "video_id", "file")}
                   | {"cluster": [0], "row": pa.array([None], pa.int64())})  # fmt: skip
    for number, (table, metadata, what) in enumerate(
        [(empty, {}, "the manifest has no faces"), (row, {}, "faces without a file or a row")]
    ):
        path = tmp_path / f"{number}.parquet"
        write_table(path, table, metadata)
        with pytest.raises(UsageError, match=what):
            open_manifest(path)
        with pytest.raises(UsageError, match=r"says nothing of build, redundancy, .*; cut it again"):
            read_metadata(path)
    with pytest.raises(UsageError, match="there is no such manifest"):
        read_metadata(tmp_path / "none.parquet")
