from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.storage.parquet import rows_where, table_digest


@given(st.lists(st.booleans(), max_size=20))
def test_rows_of_any_type_are_kept(keep: list[bool]) -> None:
    texts = [str(place) for place in range(len(keep))]
    kept = [text for text, stays in zip(texts, keep, strict=True) if stays]
    table = pa.table(
        {"plain": texts, "view": pa.array(texts, pa.string_view())},
        pa.schema([("plain", pa.string()), ("view", pa.string_view())]),
    )
    assert rows_where(table, keep).to_pydict() == {"plain": kept, "view": kept}
    assert rows_where(table.select([]), keep).num_rows == len(kept)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_digest_is_of_rows_and_types_not_of_pieces(pieces: int) -> None:
    table = pa.table({"a": pa.chunked_array([*([place] for place in range(pieces)), [*range(pieces, 3)]])})
    whole = pa.table({"a": pa.array(range(3))})
    assert table_digest(table) == table_digest(whole) != table_digest(whole.cast(pa.schema([("a", pa.int32())])))
