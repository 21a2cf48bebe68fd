from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.dedupe.order import numbered, priority
from curate.storage import schemas
from curate.storage.parquet import named_in, read_table, rows_where, table_digest, take_rows, write_batches


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


def test_text_beyond_32_bit_offsets_passes() -> None:
    """As the ids of 45 million faces: more text than one array of Arrow holds, here of a few rows that share memory."""
    names = [f"v{number % 3}-{number}" + "x" * (1 << 20) for number in range(64)]
    ids = pa.chunked_array([pa.array(names)] * 33)
    with pytest.raises(pa.ArrowInvalid, match="overflow"):
        ids.combine_chunks()
    rows = np.arange(0, len(ids), 300)
    assert take_rows(ids, rows).to_pylist() == [names[row % 64] for row in rows.tolist()]
    texts, numbers = numbered(ids)
    assert texts == names and [texts[k] for k in numbers[:64]] == names
    table = pa.table({"face_id": ids, "quality": np.arange(len(ids)) % 100 / 100})
    assert priority(table).argmax() % 100 == 99


@given(st.lists(st.lists(st.text(max_size=3), max_size=4), max_size=4), st.data())
def test_rows_are_taken_across_chunks(chunks: list[list[str]], drawn: st.DataObject) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())
    every = column.to_pylist()
    rows = sorted(drawn.draw(st.lists(st.sampled_from(range(len(every))), unique=True))) if every else []
    assert take_rows(column, np.array(rows, np.int64)).to_pylist() == [every[row] for row in rows]
    names = [every[row] for row in rows]
    found = named_in(column, pa.chunked_array([pa.array(names, pa.string())]))
    assert found.tolist() == [text in names for text in every]


def test_rows_of_an_older_build_have_no_values_in_columns_that_came_later(tmp_path):
    kinds = {name: schemas.FACES.field(name).type for name in schemas.FACES.names}
    now = pa.table({name: pa.nulls(3, kind) for name, kind in kinds.items()}, schema=schemas.FACES)
    now = now.set_column(0, schemas.FACES.field("face_id"), pa.array(["a", "b", "c"]))
    write_batches(tmp_path / "faces.parquet", schemas.FACES, [now, now.drop_columns(list(schemas.LATER))])
    found = read_table(tmp_path / "faces.parquet")
    assert found.column_names == schemas.FACES.names and found["face_id"].to_pylist() == ["a", "b", "c"] * 2
    assert all(found[name].null_count == 6 for name in schemas.LATER)
    with pytest.raises(ValueError, match="field names"):
        write_batches(tmp_path / "faces.parquet", schemas.FACES, [now.drop_columns(["face_id"])])


def test_vectors_are_written_plain_and_names_by_a_dictionary(tmp_path):
    schema = schemas.embeddings(16)
    values = np.random.default_rng(0).standard_normal(64 * 16).astype(np.float16)
    names = pa.array([f"v-{k}" for k in range(64)])
    table = pa.table([names, pa.FixedSizeListArray.from_arrays(pa.array(values), 16)], schema=schema)
    write_batches(tmp_path / "vectors", schema, [table])
    name, vector = (pq.read_metadata(tmp_path / "vectors").row_group(0).column(k) for k in range(2))
    assert name.has_dictionary_page and not vector.has_dictionary_page
    assert read_table(tmp_path / "vectors").equals(table)
